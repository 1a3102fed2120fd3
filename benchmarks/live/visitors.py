"""
Streams for what has no class: animals and persons cut into panned, noisy, gain-drifting stills.

A still is a stream as in `benchmarks.live.events`. Every 10 s a visitor is there for 6 s: it
appears anywhere in the view and walks. Animals are drawn, `WARMER` than the still. Persons are as
warm as their pair shows them, so that not all of them stand out before a still of another camera.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from segmif.thermal.surroundings import level_and_deviation

from .events import HEIGHT, RATE, WIDTH, Cutout, Pixels, cutouts, panned, scene, sensed

CYCLE_S, COMES_S, GOES_S = 10.0, 2.0, 8.0
HIGH = {"animal": (0.08, 0.22), "person": (0.2, 0.42)}  # of the view's height
WARMER = 2.5  # mean deviations of the still's infrared, beyond its mean
SPEED = 0.04, 0.13  # of the view's width a second
PEOPLE = {"day": "msrs_more/*D.png", "night": "msrs_more/*N.png"}
# Outline of a four-footed animal that looks to the right, in units of its height.
BODY = np.array(
    [(0.0, 0.3), (0.15, 0.2), (1.0, 0.2), (1.15, 0.0), (1.45, 0.1), (1.4, 0.25), (1.2, 0.35)]
)
LEGS = np.array(
    [(1.15, 0.6), (1.15, 1.0), (1.03, 1.0), (1.0, 0.65), (0.3, 0.65), (0.25, 1.0), (0.12, 1.0)]
)


@dataclass(frozen=True)
class Visit:
    """One visitor, in pixels of the view."""

    kind: str
    cutout: Cutout
    from_s: float
    left: float  # when it comes
    bottom: float
    speed: float  # pixels a second, to the right

    def box(self, now_s: float) -> tuple[int, int, int, int] | None:
        """Left, top, right, bottom at a time; None: it is not there."""
        if not 0 <= now_s - self.from_s < GOES_S - COMES_S:
            return None
        height, width = self.cutout.mask.shape
        left = round(self.left + self.speed * (now_s - self.from_s))
        return left, round(self.bottom) - height, left + width, round(self.bottom)


def stream(
    data: Path, light: str, still: str, seed: int, seconds: float, *, visited: bool
) -> Iterator[tuple[Pixels, Pixels, Visit | None]]:
    """Frames of both cameras, and who is in them."""
    random = np.random.default_rng(seed)
    scenes, visit = scene(data, still), None
    for number in range(round(seconds * RATE)):
        now_s = number / RATE
        visible, infrared = panned(scenes, now_s)
        if visited and now_s % CYCLE_S == COMES_S:
            kind = ("animal", "person")[int(now_s / CYCLE_S) % 2]
            visit = drawn(data, light, kind, scenes[1], now_s, random)
        box = visit.box(now_s) if visit else None
        if visit and box:
            paste(visible, infrared, visit.cutout, box)
        yield *sensed(visible, infrared, light, now_s, random), visit if box else None


def drawn(
    data: Path, light: str, kind: str, heat: Pixels, now_s: float, random: np.random.Generator
) -> Visit:
    """A visitor of any size, place and speed, who goes to the side that is farther."""
    high = round(random.uniform(*HIGH[kind]) * HEIGHT)
    if kind == "animal":
        level, deviation = level_and_deviation(heat)
        cutout = animal(high, min(240.0, level + WARMER * deviation))
    else:
        people = cutouts(data, PEOPLE[light])
        cutout = scaled(people[int(random.integers(len(people)))], high)
    left, speed = random.uniform(0.1, 0.8) * WIDTH, random.uniform(*SPEED) * WIDTH
    bottom = random.uniform(0.65, 0.95) * HEIGHT
    return Visit(kind, cutout, now_s, left, bottom, speed if left < WIDTH / 2 else -speed)


def animal(high: int, warm: float) -> Cutout:
    """An animal `high` pixels tall, of `warm` levels, colder at its feet."""
    width = round(1.5 * high)
    mask = np.zeros((8 * high, 8 * width), np.uint8)
    cv2.fillPoly(mask, [np.rint(np.concatenate((BODY, LEGS)) * 8 * high).astype(np.int32)], 255)
    mask = np.asarray(cv2.resize(mask, (width, high), interpolation=cv2.INTER_AREA), np.uint8)
    heat = warm * (1 - 0.25 * np.linspace(0, 1, high) ** 2)[:, None, None] * np.ones((1, width, 1))
    visible = np.full((high, width, 3), (90, 75, 60), np.uint8)
    return Cutout(visible, heat.astype(np.uint8), mask)


def scaled(person: Cutout, high: int) -> Cutout:
    """A person made `high` pixels tall."""
    size = max(4, round(high * person.mask.shape[1] / person.mask.shape[0])), high
    parts = (
        cv2.resize(each, size, interpolation=cv2.INTER_AREA)
        for each in (person.visible, person.infrared, person.mask)
    )
    visible, infrared, mask = (np.asarray(each, np.uint8) for each in parts)
    return Cutout(visible, infrared[..., None], mask)


def paste(
    visible: Pixels, infrared: Pixels, cutout: Cutout, box: tuple[int, int, int, int]
) -> None:
    """Put a visitor into both frames, cut off at their sides."""
    left, top, right, _ = box
    first, last = max(0, -left), cutout.mask.shape[1] - max(0, right - WIDTH)
    if last <= first:
        return
    alpha = cutout.mask[:, first:last, None].astype(np.float32) / 255
    rows = slice(top, top + cutout.mask.shape[0])
    columns = slice(left + first, left + last)
    for frame, pixels in ((visible, cutout.visible), (infrared[..., None], cutout.infrared)):
        there = frame[rows, columns]
        there[:] = np.rint(there + alpha * (pixels[:, first:last] - there.astype(np.float32)))
