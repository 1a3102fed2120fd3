"""Street scenes made by rule, seen by a visible and an infrared camera, with labels.

They stand in where there are no recorded frames, and are the pictures that may ship with the
project. A street is laid out in metres, painted far to near on a canvas of colour, heat, label,
glow and distance, and exposed twice.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import road_users, roadside
from .canvas import CAMERA_HEIGHT_M, Canvas, Floats, Shape, View, blur, resize, shrink

_COARSE = 4  # light varies slowly: it is computed on every fourth pixel


@dataclass(frozen=True)
class Scene:
    """One rendered moment."""

    visible: NDArray[np.uint8]  # (H, W, 3) RGB
    infrared: NDArray[np.uint8]  # (H, W) white hot, pixel for pixel in the visible camera's view
    labels: NDArray[np.uint8]  # (H, W) ids of the taxonomy mfnet


@dataclass(frozen=True)
class _Light:
    place: tuple[float, float, float]  # right, up, ahead in metres
    colour: tuple[float, float, float]  # relative power of red, green, blue
    power: float  # brightness of a white surface one metre away, in full scales


@dataclass(frozen=True)
class _Thing:
    """Something at a distance: its shapes, the ground it shades, the light it sends."""

    z: float
    shapes: list[Shape]
    shaded: tuple[tuple[float, float, float], ...] = ()  # (right, half width, height) in metres
    lights: tuple[_Light, ...] = ()


def render(seed: int, height: int, width: int, night: bool) -> Scene:
    """The street of a seed as both cameras see it.

    The same seed, size and time of day give the same arrays on every run.

    Raises ValueError for frames smaller than 32 x 32 pixels.
    """
    if min(height, width) < 32:
        raise ValueError(f"a scene of {height}x{width} pixels was asked for: take at least 32x32")
    rng = np.random.default_rng(seed)
    vanishing = (width * rng.uniform(0.4, 0.6), height * rng.uniform(0.4, 0.5))
    canvas = Canvas(View(height, width, 0.85 * width, vanishing))
    road_heat = rng.uniform(96, 112) if night else rng.uniform(108, 126)
    _paint_ground_and_sky(canvas, rng, road_heat, night)
    things = sorted(_street(rng, night), key=lambda thing: -thing.z)
    if not night:
        _cast_shadows(canvas, rng, things)
    for thing in things:
        canvas.draw(thing.shapes)
    lights = [light for thing in things for light in thing.lights]
    if (
        rng.random() < 0.4
    ):  # our own headlamps, high and behind so that near ground is not burnt out
        lights.append(_Light((0.0, 2.0, -6.0), (1.0, 0.97, 0.9), rng.uniform(15, 50)))
    texture = _texture(rng, height, width)
    visible = _see_by_night(canvas, rng, texture, lights) if night else _see_by_day(canvas, texture)
    return Scene(
        _develop(visible, rng, grain=2.2 if night else 1.2),
        _see_heat(canvas, rng, texture, night),
        canvas.labels,
    )


def _street(rng: np.random.Generator, night: bool) -> list[_Thing]:
    things = []
    lamplight = rng.choice([1.0, 5.0, 14.0])  # a dark lane, a side street, a main street
    for side in (-1.0, 1.0):
        things += _houses(rng, side, night) + _furniture(rng, side, night, lamplight)
    return things + _traffic(rng, night) + _people(rng)


def _houses(rng: np.random.Generator, side: float, night: bool) -> list[_Thing]:
    things, z = [], rng.uniform(3, 7)
    while z < 90:
        length = rng.uniform(9, 22)
        if rng.random() < 0.72:
            shapes = roadside.building(rng, side, z, z + length, night)
        else:
            shapes = roadside.hedge(rng, side, z, z + length, night)
            things += [
                # Painted before the hedge, which stands nearer to the road.
                _Thing(z + length + 0.1, roadside.tree(rng, side * rng.uniform(9, 13), at, night))
                for at in np.arange(z + 2, z + length, 5.0)
            ]
        # Painted before all that stands on the footway beside it.
        things.append(_Thing(z + length, shapes))
        z += length + rng.uniform(0, 4)
    return things


def _furniture(
    rng: np.random.Generator, side: float, night: bool, lamplight: float
) -> list[_Thing]:
    things = []
    for z in np.arange(rng.uniform(9, 18), 80, 19.0):
        x = side * 4.7
        light = _Light(roadside.lamp_head(x, z), (1.0, 0.86, 0.6), lamplight)
        things.append(_Thing(z, roadside.lamp(x, z, night), ((x, 0.08, 5.6),), (light,)))
    for z in np.arange(rng.uniform(7, 16), 70, rng.uniform(9, 16)):
        if rng.random() < 0.6:
            x = side * rng.uniform(5.6, 6.4)
            things.append(_Thing(z, roadside.tree(rng, x, z, night), ((x, 1.6, 6.0),)))
    if rng.random() < 0.5:
        x, z = side * 4.5, rng.uniform(9, 24)
        things.append(_Thing(z, roadside.sign(rng, x, z), ((x, 0.2, 2.5),)))
    return things + _barriers(rng, side)


def _barriers(rng: np.random.Generator, side: float) -> list[_Thing]:
    kind, z = rng.random(), rng.uniform(5, 14)
    if kind < 0.22:
        length = rng.uniform(7, 16)
        return [_Thing(z + length, roadside.guardrail(side, z, z + length))]
    if kind < 0.5:
        places = [(side * 4.7, z + 2.2 * index) for index in range(int(rng.integers(2, 6)))]
        return [_Thing(at, roadside.car_stop(x, at), ((x, 0.4, 0.5),)) for x, at in places]
    if kind < 0.78:
        places = [(side * (3.3 - 0.12 * i), z + 1.7 * i) for i in range(int(rng.integers(2, 6)))]
        return [_Thing(at, roadside.cone(x, at), ((x, 0.14, 0.7),)) for x, at in places]
    x = side * rng.uniform(4.6, 5.4)
    return [_Thing(z, road_users.bike(rng, x, z, ridden=False), ((x, 0.5, 0.9),))]


def _traffic(rng: np.random.Generator, night: bool) -> list[_Thing]:
    """Cars that drive on the left: ours goes ahead of us, the others come on the right."""
    things = []
    for lane, oncoming in ((-1.9, False), (1.9, True)):
        z = rng.uniform(8, 20)
        while z < 70 and rng.random() < 0.75:
            x = lane + rng.uniform(-0.3, 0.3)
            # Dipped lamps, or full beam that dazzles the camera.
            beam = float(night) * (
                rng.uniform(35, 70) if rng.random() < 0.3 else rng.uniform(6, 14)
            )
            shapes = road_users.car(rng, x, z, oncoming, beam)
            pool = _Light((x, 0.3, z - 3.0), (1.0, 0.96, 0.86), 1.2 + beam / 20)
            lights = (pool,) if oncoming else ()
            things.append(_Thing(z, shapes, ((x, 0.9, 1.4),), lights))
            z += rng.uniform(9, 26)
    if rng.random() < 0.35:
        z = rng.uniform(5, 20)
        things.append(_Thing(z + 1, roadside.bump(z)))
    if rng.random() < 0.55:
        x, z = rng.uniform(-3.4, 3.4), rng.uniform(6, 20)
        things.append(_Thing(z, road_users.bike(rng, x, z, ridden=True), ((x, 0.5, 1.7),)))
    return things


def _people(rng: np.random.Generator) -> list[_Thing]:
    things = []
    for _ in range(int(rng.integers(2, 8))):
        z = rng.uniform(6, 28)
        on_footway = rng.random() < 0.75
        x = float(rng.choice([-1, 1])) * (
            rng.uniform(4.6, 6.4) if on_footway else rng.uniform(0.4, 3.4)
        )
        things.append(_Thing(z, road_users.person(rng, x, z), ((x, 0.22, 1.7),)))
    return things


def _paint_ground_and_sky(
    canvas: Canvas, rng: np.random.Generator, road_heat: float, night: bool
) -> None:
    height, horizon = canvas.view.height, canvas.view.vanishing_px[1]
    rise = np.clip(1 - np.arange(height) / horizon, 0, 1)[:, None]  # 0 at the horizon, 1 at the top
    low, high = ((226, 228, 226), (118, 164, 214)) if not night else ((36, 34, 40), (14, 16, 24))
    sky = np.array(low) * (1 - rise**0.7) + np.array(high) * rise**0.7
    ground = np.arange(height)[:, None] > horizon
    asphalt = np.array([96.0, 97.0, 100.0]) * rng.uniform(0.8, 1.15)
    canvas.surface[..., :3] = np.where(ground, asphalt, sky)[:, None]
    canvas.surface[..., 3] = np.where(ground, road_heat, 34 - 16 * rise)
    canvas.facts[..., 1] = np.where(ground, 0.0, 1.0)  # the sky shines by itself
    canvas.facts[..., 2] = canvas.view.ground_distance()[:, None]
    if not night:
        _paint_clouds(canvas, rng)
    canvas.draw(roadside.lane_marks(rng, road_heat))
    for side in (-1.0, 1.0):
        canvas.draw(roadside.pavement(side, road_heat))


def _paint_clouds(canvas: Canvas, rng: np.random.Generator) -> None:
    height, width = int(canvas.view.vanishing_px[1]), canvas.view.width
    cover = np.zeros((height, width), np.float32)
    for cells in (4, 8, 16):
        cover += resize(_noise(rng, cells, cells), height, width) * (1.6 / cells)
    sky = canvas.surface[:height, :, :3]
    sky[:] = sky + (246 - sky.astype(np.float32)) * cover.clip(0, 0.85)[..., None]


def _cast_shadows(canvas: Canvas, rng: np.random.Generator, things: list[_Thing]) -> None:
    # metres of shadow per metre of height
    across, along = rng.uniform(-1.2, 1.2), rng.uniform(0.2, 0.9)
    polygons = []
    for thing in things:
        for x, half, height in thing.shaded:
            tip_x, tip_z = x + across * height, thing.z + along * height
            foot = [(x - half, 0.0, thing.z), (x + half, 0.0, thing.z)]
            polygons.append(np.array([*foot, (tip_x + half, 0, tip_z), (tip_x - half, 0, tip_z)]))
    canvas.shade(polygons, brightness=0.58)


def _noise(rng: np.random.Generator, height: int, width: int) -> Floats:
    return rng.standard_normal((height, width), dtype=np.float32)


def _texture(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Unevenness of all surfaces about 1, (H, W), from stains down to grains."""
    fine = _noise(rng, height, width)
    middle = resize(_noise(rng, height // 4, width // 4), height, width)
    stains = resize(_noise(rng, 6, 8), height, width)
    return np.asarray(1 + 0.028 * fine + 0.03 * middle + 0.04 * stains, np.float32)


def _see_by_day(canvas: Canvas, texture: Floats) -> Floats:
    sky = canvas.glow >= 1
    haze = np.where(sky, 0, 1 - np.exp(canvas.distance / -220)).astype(np.float32)
    light = np.where(sky, 1.06, 1.12 * texture).astype(np.float32) * (1 - haze)
    sunlight = np.array([1.02, 1.0, 0.96], np.float32)
    seen = canvas.colour * light[..., None] + 214 * haze[..., None]
    return np.asarray(seen * sunlight, np.float32)


def _see_by_night(
    canvas: Canvas, rng: np.random.Generator, texture: Floats, lights: list[_Light]
) -> Floats:
    height, width = texture.shape
    light = resize(_illumination(canvas, rng, lights), height, width).clip(0) * texture[..., None]
    colour = canvas.colour.astype(np.float32)
    glow = canvas.glow[..., None]
    seen: Floats = colour * (light * (glow == 0) + glow)
    return seen + _bloom(seen - 255)


def _illumination(canvas: Canvas, rng: np.random.Generator, lights: list[_Light]) -> Floats:
    """Light on each coarse pixel, (H / 4, W / 4, 3), by the inverse square of the distance."""
    view, distance = canvas.view, canvas.distance[::_COARSE, ::_COARSE]
    y, x = (np.indices(distance.shape, np.float32) + 0.5) * _COARSE
    right = (x - view.vanishing_px[0]) * distance / view.focal_px
    up = CAMERA_HEIGHT_M - (y - view.vanishing_px[1]) * distance / view.focal_px
    total = np.full((*distance.shape, 3), rng.uniform(0.03, 0.09), np.float32)
    total *= np.array([0.8, 0.95, 1.15], np.float32)
    for light in lights:
        lx, ly, lz = light.place
        squared = (right - lx) ** 2 + (up - ly) ** 2 + (distance - lz) ** 2
        total += (light.power / (1.5 + squared))[..., None] * np.array(light.colour, np.float32)
    return blur(total, 1.0)


def _bloom(excess: Floats) -> Floats:
    """Light scattered in the lens around what is brighter than the sensor can hold."""
    height, width = excess.shape[:2]
    coarse = shrink(excess.clip(0), _COARSE)
    halo = 0.5 * blur(coarse, 1.5) + 0.4 * blur(coarse, 6.0) + 0.5 * blur(coarse, 22.0)
    return resize(np.asarray(halo, np.float32), height, width).clip(0)


def _develop(seen: Floats, rng: np.random.Generator, grain: float) -> NDArray[np.uint8]:
    """Lens softness, a shoulder for highlights, and sensor noise that grows with the light."""
    image = blur(seen, 0.7)
    over = (image - 180).clip(0)
    image -= over * over / (over + 75)
    height, width = image.shape[:2]
    field = _noise(rng, height + 2, width)  # three shifts of one field: as good as three to the eye
    noise = np.stack([field[shift : shift + height] for shift in range(3)], axis=-1)
    noise *= grain * 0.35 + grain * 0.65 / 16 * np.sqrt(image.clip(0))
    return (image + noise + 0.5).clip(0, 255).astype(np.uint8)


def _see_heat(
    canvas: Canvas, rng: np.random.Generator, texture: Floats, night: bool
) -> NDArray[np.uint8]:
    """Softer, of lower contrast, and with the column pattern of a microbolometer."""
    height, width = texture.shape
    gain, offset = rng.uniform(0.78, 1.0), rng.uniform(-6, 18)
    heat = canvas.heat.astype(np.float32)
    heat *= 1 + (0.4 if night else 0.8) * (texture - 1)
    image = blur(heat, 1.1) * gain + offset
    image += _noise(rng, 1, width) * 0.7 + _noise(rng, height, width) * 1.4
    return (image + 0.5).clip(0, 255).astype(np.uint8)
