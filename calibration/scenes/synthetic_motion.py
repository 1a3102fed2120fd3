"""People and vehicles before two unlike cameras on a mast, rendered: the truth for `scenes`."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.geometry.rig import Camera, Floats, Rig

HEIGHT_M, PITCH = 4.0, np.radians(24.0)  # of the mast; the cameras look down
RATE = 4.0  # pairs a second
MIDDLE_M = 0.85  # above ground, of a person
SUBPIXELS = 4  # bits behind the point, of what is drawn

Picture = NDArray[np.float32]


@dataclass(frozen=True)
class Walker:
    """A person or a vehicle that crosses the scene on a straight line."""

    start: Floats  # (2,) on the ground [m]: to the right, ahead
    speed: Floats  # (2,) [m/s]
    size: Floats  # (2,) width, height [m]
    since_s: float
    shades: Floats  # (3,) [levels] of its upper and lower half, and of its warmth
    vehicle: bool

    def place(self, time_s: float) -> Floats | None:
        """Where it stands (2,) [m]; None if the cameras do not see it."""
        place = self.start + self.speed * (time_s - self.since_s)
        seen = time_s >= self.since_s and place[1] >= 2 and abs(place[0]) <= place[1] + 6
        return place if seen else None


def random_rig(random: np.random.Generator) -> Rig:
    """A colour camera of 640x480 and a thermal one of 320x256 with another lens, 6 cm apart."""
    visible = _camera(640, 480, random.uniform(540, 620))
    infrared = _camera(320, 256, random.uniform(250, 330))
    T = np.eye(4)
    T[:3, :3] = cv2.Rodrigues(np.radians(random.uniform(-3, 3, 3)))[0]
    T[:3, 3] = random.uniform(-0.06, 0.06, 3) * [1, 1, 0.2]
    return Rig(visible, infrared, T)


def _camera(width: int, height: int, focal: float) -> Camera:
    K = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    return Camera(width, height, K, np.zeros(5))


def walkers(random: np.random.Generator, seconds: float) -> list[Walker]:
    """Somebody new every few seconds, from either side, at all distances from 4 to 22 m."""
    found = []
    since_s = -8.0
    while since_s < seconds:
        since_s += random.exponential(3.0)
        vehicle = bool(random.random() < 0.25)
        far, side, turn = random.uniform(4, 22), random.choice([-1, 1]), random.normal(0, 0.25)
        pace = random.uniform(3, 6) if vehicle else random.uniform(0.9, 2.0)
        low, high = ((1.8, 1.3), (3.5, 1.8)) if vehicle else ((0.45, 1.55), (0.7, 1.9))
        found.append(
            Walker(
                start=np.array([side * (0.75 * far + 2), far]),
                speed=pace * np.array([-side * np.cos(turn), np.sin(turn)]),
                size=random.uniform(low, high),
                since_s=since_s,
                shades=random.uniform(0, 255, 3),
                vehicle=vehicle,
            )
        )
    return found


def render(
    rig: Rig, seconds: float, random: np.random.Generator, rate: float = RATE
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint16]]]:
    """Pairs: visible (480, 640) luma with shadows, infrared (256, 320) counts of 14 bit."""
    street, people = backgrounds(rig, random), walkers(random, seconds)
    banks = [random.normal(0, sigma, (700, 900)).astype(np.float32) for sigma in (2.0, 12.0)]
    for number in range(int(seconds * rate)):
        time_s = number / rate
        # The level of a thermal sensor drifts.
        visible, infrared = street[0].copy(), street[1] + np.float32(15 * np.sin(time_s / 9))
        draw(rig, people, time_s, visible, infrared)
        light = cv2.GaussianBlur(visible, (3, 3), 0.6) + _noise(banks[0], visible, random)
        warm = cv2.GaussianBlur(infrared, (5, 5), 0.9) + _noise(banks[1], infrared, random)
        yield np.clip(light, 0, 255).astype(np.uint8), np.clip(warm, 0, 16383).astype(np.uint16)


def draw(
    rig: Rig, people: list[Walker], time_s: float, visible: Picture, infrared: Picture
) -> list[tuple[Walker, Floats]]:
    """Draw who is there into both pictures, the farthest first; gives them with their places."""
    there = []
    for walker in sorted(people, key=lambda one: -one.start[1]):
        place = walker.place(time_s)
        if place is not None:
            _draw_visible(visible, rig, walker, place)
            _draw_infrared(infrared, rig, walker, place)
            there.append((walker, place))
    return there


def distance_m(walker: Walker, place: Floats) -> float:
    """Distance of the middle of a walker along the visible camera's axis."""
    below = HEIGHT_M - walker.size[1] / 2
    return float(below * np.sin(PITCH) + place[1] * np.cos(PITCH))


def true_pixels(rig: Rig, pixels: Floats, up_m: float = MIDDLE_M) -> Floats:
    """
    Infrared pixels (N, 2) of what stands at visible pixels (N, 2): the plane `up_m` above ground.

    Beyond that plane's horizon, of what is infinitely far.
    """
    rays = rig.visible.rays(pixels)
    falls = rays @ np.array([0, np.cos(PITCH), np.sin(PITCH)])
    depth = np.where(falls > 0.02, (HEIGHT_M - up_m) / np.maximum(falls, 0.02), np.inf)
    return rig.infrared.project(rays @ rig.R.T + rig.t / depth[:, None])


def _noise(bank: Picture, like: Picture, random: np.random.Generator) -> Picture:
    """A part of a larger picture of noise, which costs less than fresh noise."""
    height, width = like.shape
    top = random.integers(0, bank.shape[0] - height)
    left = random.integers(0, bank.shape[1] - width)
    part: Picture = bank[top : top + height, left : left + width]
    return part


def backgrounds(rig: Rig, random: np.random.Generator) -> tuple[Picture, Picture]:
    """Visible levels and infrared counts of a street; they have nothing in common."""

    def texture(camera: Camera, blur: float, middle: float, span: float) -> Picture:
        noise = cv2.GaussianBlur(random.normal(0, 1, (camera.height, camera.width)), (0, 0), blur)
        spread: Picture = (middle + span * noise / noise.std()).astype(np.float32)
        return spread

    return texture(rig.visible, 4, 110, 25), texture(rig.infrared, 9, 7500, 60)


def box_of(
    rig: Rig, place: Floats, size: Floats, *, infrared: bool, high: float = 1.0
) -> tuple[Floats, Floats]:
    """Corners (2,), (2,) [px] of an upright rectangle of a size [m], up to the share `high`."""
    x, down = place[0] + np.array([-0.5, 0.5]) * size[0], HEIGHT_M - np.array([0, high]) * size[1]
    points = np.array(
        [
            [
                across,
                below * np.cos(PITCH) - place[1] * np.sin(PITCH),
                below * np.sin(PITCH) + place[1] * np.cos(PITCH),
            ]
            for across in x
            for below in down
        ]
    )
    K = rig.infrared.K if infrared else rig.visible.K
    rays = (points @ rig.R.T + rig.t if infrared else points) @ K.T
    pixels = rays[:, :2] / rays[:, 2:]
    return pixels.min(0), pixels.max(0)


def _fill(picture: Picture, low: Floats, high: Floats, value: float, *, oval: bool) -> None:
    def fine(corner: Floats) -> tuple[int, int]:
        x, y = np.rint(corner * 2**SUBPIXELS).astype(int).tolist()
        return x, y

    if oval:
        middle, half = fine((low + high) / 2), fine(np.maximum((high - low) / 2, 0.5))
        cv2.ellipse(picture, middle, half, 0, 0, 360, value, -1, cv2.LINE_8, SUBPIXELS)
    else:
        cv2.rectangle(picture, fine(low), fine(high), value, -1, cv2.LINE_8, SUBPIXELS)


def _draw_person(
    picture: Picture, low: Floats, high: Floats, shades: tuple[float, float], inset: float
) -> None:
    """An oval above a rectangle, whose sides lie `inset` of the width within."""
    waist, width = (low[1] + high[1]) / 2, high[0] - low[0]
    _fill(picture, low, np.array([high[0], waist + 2]), shades[0], oval=True)
    legs = np.array([low[0] + inset * width, waist - 2]), high - [inset * width, 0]
    _fill(picture, *legs, shades[1], oval=False)


def _draw_visible(picture: Picture, rig: Rig, walker: Walker, place: Floats) -> None:
    low, high = box_of(rig, place, walker.size, infrared=False)
    shadow = np.array([high[0] - low[0], 0.12 * (high[1] - low[1])])
    start = np.array([low[0], high[1] - shadow[1]])
    _fill(picture, start, high + shadow * [0.4, 0.3], 70, oval=True)
    if walker.vehicle:
        _fill(picture, low, high, walker.shades[0], oval=False)
    else:
        _draw_person(picture, low, high, (walker.shades[0], walker.shades[1]), 0.15)


def _draw_infrared(picture: Picture, rig: Rig, walker: Walker, place: Floats) -> None:
    low, high = box_of(rig, place, walker.size, infrared=True)
    if walker.vehicle:
        _fill(picture, low, high, 7650 + walker.shades[2] / 2, oval=False)
        _fill(picture, *box_of(rig, place, walker.size, infrared=True, high=0.35), 8200, oval=False)
    else:
        _draw_person(picture, low, high, (8300, 8000), 0.2)
