"""Who and what moves in a rendered street: from a place to painted polygons, far to near."""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from segmif.classes import MFNET

from .canvas import RGB, Paint, Shape

CAR, PERSON, BIKE, CURVE, CAR_STOP, GUARDRAIL, CONE, BUMP = (
    MFNET.names.index(name)
    for name in (
        "car",
        "person",
        "bike",
        "curve",
        "car_stop",
        "guardrail",
        "color_cone",
        "bump",
    )
)
ROAD_HALF_M = 4.0

Rng = np.random.Generator
Points = NDArray[np.float64]
Flat = Sequence[tuple[float, float]]  # (right, up) in metres about a foot point

SKIN, RUBBER, GLASS, STEEL = (196, 150, 122), (28, 28, 30), (48, 60, 72), (168, 172, 174)
CLOTHES: tuple[RGB, ...] = (
    (38, 42, 58),
    (70, 72, 78),
    (150, 42, 40),
    (44, 82, 134),
    (208, 204, 196),
    (92, 70, 50),
    (58, 92, 60),
    (22, 22, 26),
)
LACQUERS: tuple[RGB, ...] = (
    (216, 218, 220),
    (34, 36, 40),
    (128, 132, 138),
    (152, 28, 32),
    (36, 66, 128),
    (196, 190, 172),
    (62, 84, 72),
)


def tinted(colour: RGB, brightness: float) -> RGB:
    """A colour made brighter or darker, within 0..255."""
    red, green, blue = (min(255.0, channel * brightness) for channel in colour)
    return red, green, blue


def any_of(rng: Rng, colours: Sequence[RGB]) -> RGB:
    return colours[int(rng.integers(len(colours)))]


def upright(x: float, z: float, outline: Flat) -> Points:
    """A flat outline (right, up) stood on the ground at (x, z), facing the camera."""
    return np.array([(x + right, up, z) for right, up in outline])


def lengthwise(x: float, z: float, outline: Flat) -> Points:
    """A flat outline (ahead, up) stood along the street at (x, z)."""
    return np.array([(x, up, z + ahead) for ahead, up in outline])


def on_ground(x0: float, x1: float, z0: float, z1: float, up: float = 0.0) -> Points:
    return np.array([(x0, up, z0), (x1, up, z0), (x1, up, z1), (x0, up, z1)])


def box(left: float, right: float, low: float, high: float) -> Flat:
    return (left, low), (right, low), (right, high), (left, high)


def bar(start: tuple[float, float], end: tuple[float, float], width: float) -> Flat:
    """A straight limb or rod of a width, as four corners."""
    a, b = np.array(start), np.array(end)
    along = (b - a) / max(1e-9, float(np.hypot(*(b - a))))
    across = np.array([-along[1], along[0]]) * width / 2
    return [(float(p[0]), float(p[1])) for p in (a + across, b + across, b - across, a - across)]


def disc(centre: tuple[float, float], radius: float, corners: int = 14) -> Flat:
    return [(centre[0] + radius * u, centre[1] + radius * v) for u, v in _unit_circle(corners)]


@cache
def _unit_circle(corners: int) -> Flat:
    angles = [2 * math.pi * index / corners for index in range(corners)]
    return [(math.cos(angle), math.sin(angle)) for angle in angles]


def ring(centre: tuple[float, float], radius: float, width: float) -> Flat:
    """A hollow disc: along one circle, back along another; even-odd filling leaves the hole."""
    outer, inner = list(disc(centre, radius)), list(disc(centre, radius - width))
    return [*outer, outer[0], inner[0], *inner[:0:-1], inner[0]]


_TORSO: Flat = (
    *((-0.18, 0.84), (0.18, 0.84), (0.2, 1.1), (0.24, 1.36)),
    *((0.17, 1.46), (-0.17, 1.46), (-0.24, 1.36), (-0.2, 1.1)),
)


def person(rng: Rng, x: float, z: float) -> list[Shape]:
    """Someone on foot: skin warmest, clothes less, shoes and hair least."""
    size, warmth = rng.uniform(0.88, 1.06), rng.uniform(2, 22)
    coat, trousers = any_of(rng, CLOTHES), tinted(any_of(rng, CLOTHES), 0.7)
    stride, swing = rng.uniform(0.03, 0.26), rng.uniform(0.0, 0.16)
    facing = rng.choice([-1.0, 1.0])
    parts: list[tuple[Flat, RGB, float]] = [
        (bar((-0.08, 0.9), (-0.08 - stride, 0.08), 0.15), tinted(trousers, 0.85), 172),
        (bar((0.08, 0.9), (0.08 + stride * 0.8, 0.08), 0.16), trousers, 178),
        (bar((-0.14 - stride, 0.05), (0.06 - stride, 0.05), 0.1), RUBBER, 128),
        (bar((0.02 + stride * 0.8, 0.05), (0.24 + stride * 0.8, 0.05), 0.1), RUBBER, 128),
        (bar((-0.22, 1.4), (-0.25 - swing, 0.86), 0.1), tinted(coat, 0.8), 176),
        (bar((-0.05, 1.38), (0.05, 1.56), 0.11), SKIN, 226),
        (
            _TORSO,
            coat,
            184,
        ),
        (bar((0.22, 1.4), (0.24 + swing, 0.86), 0.1), tinted(coat, 0.9), 180),
        (disc((0.25 + swing, 0.83), 0.05, 8), SKIN, 214),
        (disc((0.0, 1.64), 0.11), SKIN, 232),
        (
            [(-0.11, 1.64), (0.11, 1.66), (0.09, 1.74), (0.0, 1.77), (-0.09, 1.74)],
            (34, 26, 22),
            176,
        ),
    ]
    return [
        Shape(
            upright(x, z, [(u * size * facing, v * size) for u, v in outline]),
            Paint(colour, heat + warmth, PERSON),
        )
        for outline, colour, heat in parts
    ]


def bike(rng: Rng, x: float, z: float, ridden: bool) -> list[Shape]:
    """A bicycle seen from the side, with or without its rider; cool metal under a warm body."""
    lacquer, facing = any_of(rng, LACQUERS), rng.choice([-1.0, 1.0])
    hub, saddle, bars = (0.0, 0.3), (-0.14, 0.92), (0.42, 1.0)
    rods = [(hub, saddle), (hub, (0.36, 0.82)), ((-0.1, 0.78), (0.36, 0.82))]
    rods += [((-0.52, 0.34), (-0.1, 0.78)), ((-0.52, 0.34), hub), ((0.52, 0.34), bars)]
    parts: list[tuple[Flat, RGB, float, int]] = []
    for wheel in (-0.52, 0.52):
        parts += [
            (disc((wheel, 0.34), 0.33, 18), (72, 72, 74), 96, BIKE),
            (ring((wheel, 0.34), 0.35, 0.06), RUBBER, 74, BIKE),
        ]
    parts += [(bar(a, b, 0.06), lacquer, 78, BIKE) for a, b in rods]
    parts += [(bar((-0.28, 0.95), (-0.04, 0.95), 0.07), RUBBER, 90, BIKE)]
    parts += [(bar((0.34, 1.02), (0.5, 1.0), 0.05), RUBBER, 80, BIKE)]
    if ridden:
        parts += _rider(rng)
    return [
        Shape(upright(x, z, [(u * facing, v) for u, v in outline]), Paint(colour, heat, label))
        for outline, colour, heat, label in parts
    ]


def _rider(rng: Rng) -> list[tuple[Flat, RGB, float, int]]:
    coat, trousers = any_of(rng, CLOTHES), tinted(any_of(rng, CLOTHES), 0.7)
    return [
        (bar((-0.12, 0.98), (0.14, 0.66), 0.16), trousers, 178, PERSON),
        (bar((0.14, 0.68), (0.02, 0.26), 0.13), trousers, 174, PERSON),
        (bar((-0.12, 0.92), (0.16, 1.46), 0.32), coat, 186, PERSON),
        (bar((0.12, 1.38), (0.42, 1.02), 0.1), tinted(coat, 0.85), 180, PERSON),
        (disc((0.24, 1.64), 0.12), SKIN, 230, PERSON),
        (disc((0.22, 1.7), 0.1), (40, 34, 30), 178, PERSON),
    ]


def car(rng: Rng, x: float, z: float, oncoming: bool, beam: float) -> list[Shape]:
    """A car along the street: engine and tyres warm, glass cold; lamps glow by `beam`, 0 is off."""
    body = Paint(any_of(rng, LACQUERS), rng.uniform(64, 96), CAR)
    glass, tyre = Paint(GLASS, body.heat - 24, CAR), Paint(RUBBER, 176, CAR)
    # How high the lid in front of the nearer pane begins, and where the roof begins and ends.
    edge, roof = (0.8, (1.55, 3.2)) if oncoming else (0.98, (1.1, 2.7))
    pane = roof[0] - 0.75
    face = [(-0.8, 0.24), (0.8, 0.24), (0.88, 0.4), (0.84, edge), (-0.84, edge), (-0.88, 0.4)]
    return [
        Shape(on_ground(x - 0.95, x + 0.95, z - 0.1, z + 4.4), Paint((22, 22, 24), 132)),
        *_flank(x - 0.86 * float(np.sign(x)), z, edge, roof, body),
        *(Shape(upright(x, z, box(u - 0.11, u + 0.11, 0, 0.3)), tyre) for u in (-0.7, 0.7)),
        Shape(_between(x, z, (0.84, edge, 0.0), (0.74, 0.98, pane)), body),
        Shape(_between(x, z, (0.74, 0.98, pane), (0.58, 1.44, roof[0])), body),
        Shape(_between(x, z, (0.66, 1.02, pane + 0.05), (0.54, 1.39, roof[0] - 0.06)), glass),
        Shape(upright(x, z, face), body),
        *(_front if oncoming else _rear)(x, z, edge, beam),
    ]


def _flank(x: float, z: float, edge: float, roof: tuple[float, float], body: Paint) -> list[Shape]:
    """The side of a car that the camera sees, at x: panels, windows and two wheels."""
    start, end = roof
    panels = [(0, 0.26), (0, edge), (start - 0.75, 0.98), (start, 1.44), (end, 1.44)]
    panels += [(end + 0.7, 0.98), (4.2, 0.86), (4.2, 0.26)]
    windows = [(start - 0.45, 1.0), (start + 0.1, 1.38), (end - 0.1, 1.38), (end + 0.4, 1.0)]
    shapes = [
        Shape(lengthwise(x, z, panels), Paint(tinted(body.colour, 0.82), body.heat - 4, CAR)),
        Shape(lengthwise(x, z, windows), Paint(GLASS, body.heat - 24, CAR)),
    ]
    for hub in ((3.4, 0.32), (0.8, 0.32)):
        shapes += [
            Shape(lengthwise(x, z, disc(hub, 0.33)), Paint(RUBBER, 176, CAR)),
            Shape(lengthwise(x, z, disc(hub, 0.19)), Paint(STEEL, 190, CAR)),
        ]
    return shapes


def _between(
    x: float, z: float, near: tuple[float, float, float], far: tuple[float, float, float]
) -> Points:
    """A pane from edge to edge, each (half its width, up, ahead of z)."""
    (w0, up0, ahead0), (w1, up1, ahead1) = near, far
    return np.array(
        [
            (x - w0, up0, z + ahead0),
            (x + w0, up0, z + ahead0),
            (x + w1, up1, z + ahead1),
            (x - w1, up1, z + ahead1),
        ]
    )


def _front(x: float, z: float, nose: float, beam: float) -> list[Shape]:
    grille = Paint((30, 32, 34), 206, CAR)
    lamp = Paint((255, 250, 232), 170, CAR, beam)
    shapes = [
        Shape(upright(x, z, box(-0.5, 0.5, 0.44, nose - 0.16)), grille),
        Shape(upright(x, z, box(-0.7, 0.7, 0.27, 0.36)), Paint((40, 42, 44), 168, CAR)),
        Shape(upright(x, z, box(-0.22, 0.22, 0.36, 0.46)), Paint((224, 224, 218), 110, CAR)),
    ]
    return shapes + [
        Shape(upright(x, z, bar((u - 0.13, nose - 0.14), (u + 0.13, nose - 0.14), 0.14)), lamp)
        for u in (-0.66, 0.66)
    ]


def _rear(x: float, z: float, top: float, beam: float) -> list[Shape]:
    lamp = Paint((226, 24, 22), 118, CAR, min(beam, 2.6))
    shapes = [
        Shape(upright(x, z, box(-0.78, 0.78, 0.26, 0.42)), Paint((44, 46, 48), 150, CAR)),
        Shape(upright(x, z, box(0.4, 0.56, 0.24, 0.32)), Paint((20, 20, 20), 236, CAR)),
        Shape(upright(x, z, box(-0.24, 0.24, 0.56, 0.68)), Paint((224, 224, 218), 84, CAR)),
    ]
    return shapes + [
        Shape(upright(x, z, box(u - 0.14, u + 0.14, top - 0.3, top - 0.12)), lamp)
        for u in (-0.68, 0.68)
    ]
