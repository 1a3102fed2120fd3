"""What a rendered street is built of: walls, trees, lamps, kerbs, marks and small barriers."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from .canvas import RGB, Paint, Shape
from .road_users import (
    BUMP,
    CAR_STOP,
    CONE,
    CURVE,
    GUARDRAIL,
    ROAD_HALF_M,
    STEEL,
    Points,
    Rng,
    any_of,
    bar,
    box,
    disc,
    lengthwise,
    on_ground,
    tinted,
    upright,
)

KERB_UP_M = 0.16
FACADES: tuple[RGB, ...] = (
    (168, 152, 134),
    (150, 84, 66),
    (186, 180, 168),
    (120, 112, 108),
    (202, 188, 152),
    (142, 150, 156),
)
POSTERS: tuple[RGB, ...] = (
    (214, 52, 44),
    (236, 184, 40),
    (40, 112, 180),
    (60, 150, 88),
    (240, 240, 236),
)
LAMPLIGHT: RGB = (255, 226, 170)


def stretches(start: float, end: float) -> Iterator[tuple[float, float]]:
    """A long strip along the street in pieces of about one distance each, far first."""
    edges = [start]
    while edges[-1] < end:
        edges.append(min(end, edges[-1] * 1.25 + 0.3))
    return reversed(list(pairwise(edges)))


def pavement(side: float, heat: float) -> list[Shape]:
    """Footway and kerb of one side, to the vanishing point; the kerb is the class curve."""
    edge, shapes = side * ROAD_HALF_M, []
    for index, (z0, z1) in enumerate(stretches(1.2, 90)):
        stone = tinted((150, 144, 136), 0.96 + 0.06 * (index % 2))
        footway = on_ground(edge, edge + side * 14, z0, z1, KERB_UP_M)
        kerb_top = on_ground(edge, edge + side * 0.22, z0, z1, KERB_UP_M)
        kerb_face = lengthwise(edge, z0, box(0, z1 - z0, 0, KERB_UP_M))
        shapes += [
            Shape(footway, Paint(stone, heat + 8)),
            Shape(kerb_top, Paint((182, 180, 174), heat + 14, CURVE)),
            Shape(kerb_face, Paint((126, 124, 120), heat + 20, CURVE)),
        ]
    for z in np.arange(2.0, 40.0, 1.5)[::-1]:
        joint = on_ground(edge + side * 0.22, edge + side * 4, z, z + 0.02 + z * 0.002, KERB_UP_M)
        shapes.append(Shape(joint, Paint((116, 110, 104), heat + 8)))
    return shapes


def lane_marks(rng: Rng, heat: float) -> list[Shape]:
    """Dashed middle, solid edges and perhaps a crossing: paint that infrared hardly sees."""
    paint = Paint((226, 224, 214), heat + 2)
    marks = [
        on_ground(side * 3.55 - 0.07, side * 3.55 + 0.07, z0, z1)
        for side in (-1, 1)
        for z0, z1 in stretches(1.2, 90)
    ]
    offset = rng.uniform(0, 7)
    marks += [on_ground(-0.07, 0.07, z, z + 3) for z in np.arange(1.5 + offset, 80, 7)]
    if rng.random() < 0.45:
        z = rng.uniform(9, 22)
        marks += [on_ground(x, x + 0.5, z, z + 3) for x in np.arange(-3.3, 3.2, 1.05)]
    return [Shape(mark, paint) for mark in marks]


def building(rng: Rng, side: float, z0: float, z1: float, night: bool) -> list[Shape]:
    """A house: the front along the footway, bay by bay, and the gable towards the camera."""
    x, height = side * rng.uniform(7.5, 9.0), float(rng.integers(2, 7)) * 3.1 + 0.8
    colour, heat = any_of(rng, FACADES), rng.uniform(66, 96)
    wall = Paint(tinted(colour, 0.82 if side > 0 else 1.0), heat)
    bays = np.linspace(z0, z1, max(2, round((z1 - z0) / 3.2)) + 1)
    shapes = []
    for near, far in zip(bays[-2::-1], bays[:0:-1], strict=True):
        shapes.append(Shape(lengthwise(x, near, box(0, far - near, 0, height)), wall))
        shapes += _bay(rng, x, near, far - near, height, wall, night)
    gable = Paint(tinted(colour, 0.7 if side > 0 else 0.86), heat - 4)
    corners = upright(x, z0, [(0, 0), (side * 14, 0), (side * 14, height), (0, height)])
    shapes.append(Shape(corners, gable))
    for floor in np.arange(1.2, height - 1.8, 3.1):
        for right in np.arange(1.2, 12, 2.8):
            outline = [(side * right + u, floor + v) for u, v in box(0, 1.3, 0, 1.5)]
            shapes.append(Shape(upright(x, z0, outline), _window(rng, heat, night)))
    return shapes


def _bay(
    rng: Rng, x: float, z: float, depth: float, height: float, wall: Paint, night: bool
) -> list[Shape]:
    cornice = Paint(tinted(wall.colour, 1.18), wall.heat + 6)
    shapes = [Shape(lengthwise(x, z, box(0, depth, height - 0.3, height)), cornice)]
    frame = Paint(tinted(wall.colour, 1.25), wall.heat + 4)
    for floor in np.arange(3.1, height - 1.5, 3.1):
        shapes.append(Shape(lengthwise(x, z, box(0, depth, floor - 0.1, floor + 0.06)), cornice))
        low, left = floor + 0.8, 0.22 * depth
        hole = box(left - 0.12, depth - left + 0.12, low - 0.12, low + 1.62)
        shapes.append(Shape(lengthwise(x, z, hole), frame))
        pane = box(left, depth - left, low, low + 1.5)
        shapes.append(Shape(lengthwise(x, z, pane), _window(rng, wall.heat, night)))
        middle = box(depth / 2 - 0.05, depth / 2 + 0.05, low, low + 1.5)
        shapes.append(Shape(lengthwise(x, z, middle), frame))
    return shapes + _ground_floor(rng, x, z, depth, wall, night)


def _ground_floor(
    rng: Rng, x: float, z: float, depth: float, wall: Paint, night: bool
) -> list[Shape]:
    kind = rng.random()
    if kind < 0.35:  # a shop: window, then its sign above
        window = _window(rng, wall.heat, night, lit=0.55)
        sign = Paint(any_of(rng, POSTERS), wall.heat, 0, 0.5 if window.glow else 0.0)
        return [
            Shape(lengthwise(x, z, box(0.2, depth - 0.2, 0.5, 2.3)), window),
            Shape(lengthwise(x, z, box(0.1, depth - 0.1, 2.4, 2.9)), sign),
        ]
    if kind < 0.6:  # posters: colours at the temperature of the wall
        return [
            Shape(
                lengthwise(x, z, box(left, left + 0.7, 1.0, 2.0)),
                Paint(any_of(rng, POSTERS), wall.heat),
            )
            for left in np.arange(0.3, depth - 0.8, 0.9)
        ]
    if kind < 0.8:
        return [
            Shape(lengthwise(x, z, box(0.9, 2.0, 0.1, 2.3)), Paint((72, 52, 40), wall.heat + 10))
        ]
    return [
        Shape(lengthwise(x, z, box(0.5, depth - 0.5, 0.9, 2.2)), _window(rng, wall.heat, night))
    ]


def _window(rng: Rng, wall_heat: float, night: bool, lit: float = 0.25) -> Paint:
    if night and rng.random() < lit:
        tone: RGB = (255, rng.uniform(206, 240), rng.uniform(130, 214))
        return Paint(tone, wall_heat + 34, 0, rng.uniform(0.35, 0.95))
    shine = rng.uniform(0.7, 1.5)
    return Paint(tinted((74, 88, 100), shine), wall_heat - rng.uniform(4, 22))


def tree(rng: Rng, x: float, z: float, night: bool) -> list[Shape]:
    """A trunk and a crown of leaves, lighter above; leaves are as warm as the air."""
    height, warmth = rng.uniform(4.5, 8.0), 86.0 if night else 74.0
    trunk = Paint((74, 58, 44), warmth + 16)
    lean = rng.uniform(-0.3, 0.3)
    shapes = [Shape(upright(x, z, bar((0, 0), (lean, height * 0.7), 0.32)), trunk)]
    for branch in (-1, 1):
        outline = bar((lean * 0.5, height * 0.42), (branch * 1.3, height * 0.75), 0.14)
        shapes.append(Shape(upright(x, z, outline), trunk))
    green: RGB = (rng.uniform(58, 96), rng.uniform(92, 124), rng.uniform(36, 56))
    crown = _crown(rng, count=int(np.clip(2600 / z, 40, 200)))
    light = 0.8 + 0.22 * crown[:, 0, 1] + rng.uniform(-0.26, 0.26, len(crown))
    heat = warmth + rng.uniform(-12, 12, len(crown))
    corners = crown * (2.4, 0.34 * height, 1.5) + (x + lean, height * 0.78, z)
    leaves = zip(corners, light.tolist(), heat.tolist(), strict=True)
    return shapes + [
        Shape(leaf, Paint(tinted(green, bright), warm)) for leaf, bright, warm in leaves
    ]


def _crown(rng: Rng, count: int) -> Points:
    """Ragged clumps of leaves in the unit ball, (count, 7, 3); the fewer, the larger."""
    around, reach = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.random(count))
    # The rim bulges in a few lobes, as branches do.
    reach *= 0.82 + 0.18 * np.sin(around * rng.integers(3, 6) + rng.uniform(0, 6))
    centres = np.stack(
        [reach * np.cos(around), reach * np.sin(around), rng.uniform(-1, 1, count)], 1
    )
    corners = np.linspace(0, 2 * np.pi, 7, endpoint=False)
    radii = rng.uniform(0.35, 1.0, (count, 7)) * 1.9 / np.sqrt(count)
    offsets = np.stack([radii * np.cos(corners), radii * np.sin(corners), np.zeros_like(radii)], 2)
    return np.asarray(centres[:, None] + offsets)


def hedge(rng: Rng, side: float, z0: float, z1: float, night: bool) -> list[Shape]:
    """A clipped hedge along the footway with a ragged top."""
    x, warmth = side * 7.2, 84.0 if night else 76.0
    shapes = []
    for near, far in stretches(z0, z1):
        green = tinted((66, 92, 44), rng.uniform(0.85, 1.1))
        top = rng.uniform(1.05, 1.2)
        panel = lengthwise(x, near, box(0, far - near, 0, top))
        shapes.append(Shape(panel, Paint(green, warmth)))
        for _ in range(12):
            spot = disc(
                (rng.uniform(0, far - near), rng.uniform(0.1, top)), rng.uniform(0.08, 0.2), 6
            )
            paint = Paint(tinted(green, rng.uniform(0.65, 1.3)), warmth + rng.uniform(-9, 9))
            shapes.append(Shape(lengthwise(x, near, spot), paint))
    return shapes


def lamp(x: float, z: float, night: bool) -> list[Shape]:
    """A street lamp leaning over the road; `lamp_head` says where its light is."""
    pole, (head_x, head_up, _) = Paint((96, 100, 100), 92), lamp_head(x, z)
    reach = head_x - x
    bulb = Paint(LAMPLIGHT, 226 if night else 96, 0, 7.0 if night else 0.0)
    return [
        Shape(upright(x, z, bar((0, 0), (0, 5.6), 0.13)), pole),
        Shape(upright(x, z, bar((0, 5.5), (reach, head_up + 0.12), 0.09)), pole),
        Shape(upright(x, z, bar((reach - 0.35, head_up), (reach + 0.35, head_up), 0.16)), bulb),
    ]


def lamp_head(x: float, z: float) -> tuple[float, float, float]:
    """Where the bulb of the lamp at (x, z) hangs, (right, up, ahead) in metres."""
    return x - float(np.sign(x)) * 1.4, 5.7, z


def sign(rng: Rng, x: float, z: float) -> list[Shape]:
    """A round traffic sign on a post: red or blue to the eye, one cold disc in infrared."""
    rim: RGB = (206, 30, 36) if rng.random() < 0.5 else (30, 76, 170)
    return [
        Shape(upright(x, z, bar((0, 0), (0, 2.4), 0.07)), Paint(STEEL, 84)),
        Shape(upright(x, z, disc((0, 2.5), 0.34)), Paint(rim, 70)),
        Shape(upright(x, z, disc((0, 2.5), 0.24)), Paint((236, 236, 232), 70)),
    ]


def cone(x: float, z: float) -> list[Shape]:
    """An orange traffic cone with a white collar, as cool as the air."""
    orange, white = Paint((238, 84, 30), 64, CONE), Paint((236, 234, 228), 60, CONE)
    return [
        Shape(upright(x, z, box(-0.22, 0.22, 0, 0.07)), orange),
        Shape(upright(x, z, [(-0.17, 0.06), (0.17, 0.06), (0.04, 0.74), (-0.04, 0.74)]), orange),
        Shape(upright(x, z, [(-0.12, 0.3), (0.12, 0.3), (0.08, 0.48), (-0.08, 0.48)]), white),
    ]


def car_stop(x: float, z: float) -> list[Shape]:
    """A knee-high concrete block that keeps cars off."""
    face, top = Paint((172, 168, 160), 124, CAR_STOP), Paint((198, 194, 186), 132, CAR_STOP)
    band = Paint((214, 178, 40), 126, CAR_STOP)
    return [
        Shape(on_ground(x - 0.45, x + 0.45, z, z + 0.35, up=0.5), top),
        Shape(upright(x, z, [(-0.5, 0), (0.5, 0), (0.45, 0.5), (-0.45, 0.5)]), face),
        Shape(upright(x, z, box(-0.47, 0.47, 0.28, 0.36)), band),
    ]


def guardrail(side: float, z0: float, z1: float) -> list[Shape]:
    """A steel rail on posts along the kerb."""
    x, shapes = side * (ROAD_HALF_M + 0.3), []
    for near, far in stretches(z0, z1):
        rail, shadow = Paint((196, 198, 196), 58, GUARDRAIL), Paint((128, 132, 132), 70, GUARDRAIL)
        length = far - near
        shapes += [
            Shape(lengthwise(x, far - 0.1, box(0, 0.1, 0, 0.8)), shadow),
            Shape(lengthwise(x, near, box(0, length, 0.46, 0.82)), rail),
            Shape(lengthwise(x, near, box(0, length, 0.6, 0.68)), shadow),
        ]
    return shapes


def bump(z: float) -> list[Shape]:
    """A speed bump across the road, yellow and black."""
    return [
        Shape(
            on_ground(x, x + 0.58, z, z + 0.7, 0.05),
            Paint((226, 182, 34) if index % 2 else (44, 42, 40), 134, BUMP),
        )
        for index, x in enumerate(np.arange(-3.5, 3.4, 0.58))
    ]
