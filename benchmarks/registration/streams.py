"""Streams whose infrared lies off by a known displacement: warped pairs, drifts, depth steps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.frames import FramePair

Bytes = NDArray[np.uint8]
Field = NDArray[np.float32]  # (H, W, 2) px: visible pixel p lies at p + field in infrared
Generator = np.random.Generator

NOISE = 2.0  # [levels] deviation of each sensor's noise
PAN = 2  # [px] to the right from pair to pair
PAIRS = 10
DRIFTS = (0, 8, 16, 24)  # [px]
NEAR_STEP = 6, 10  # [px at 640 columns] of near things beyond the rest
GROUND = 0.72  # of the height, below which the ground is near
BOX = 0.22, 0.5  # of width and height: a near object


@dataclass(frozen=True)
class Scene:
    """A pair of one view and what was done to its infrared."""

    name: str
    visible: Bytes  # (H, W) luma
    infrared: Bytes  # as its set has it
    moved: Bytes  # the same, displaced
    truth: Field
    near: NDArray[np.bool_]  # (H, W) what lies at another depth


def known_warps(root: Path) -> Iterator[Scene]:
    """The pairs of `known_warp`, whose infrared was bent."""
    for kind in ("msrs", "roadscene"):
        folder = root / "known_warp" / kind
        for path in sorted((folder / "displacement").glob("*.npz")):
            visible, infrared, moved = (
                grey(next((folder / name).glob(f"{path.stem}.*")))
                for name in ("visible", "infrared", "infrared_warped")
            )
            truth = inverse(np.load(path)["displacement_px"].astype(np.float32))
            near = np.zeros(visible.shape, np.bool_)
            yield Scene(f"{kind}/{path.stem}", visible, infrared, moved, truth, near)


def inverse(displacement: Field) -> Field:
    """The displacement from visible to warped pixels; the files state it the other way round."""
    height, width = displacement.shape[:2]
    y, x = np.indices((height, width), np.float32)
    found = -displacement
    for _ in range(12):
        there = x + found[..., 0], y + found[..., 1]
        border = cv2.BORDER_REPLICATE
        found = -cv2.remap(displacement, *there, cv2.INTER_LINEAR, borderMode=border)
    return found.astype(np.float32)


def drifts(root: Path, sets: dict[str, int], seed: int = 5) -> Iterator[Scene]:
    """Pairs of some sets whose infrared drifted, with the ground and one object nearer."""
    random = np.random.default_rng(seed)
    for number, (name, visible, infrared) in enumerate(pairs_of(root, sets)):
        height, width = visible.shape
        far = DRIFTS[number % len(DRIFTS)] * _direction(random)
        step = random.uniform(*NEAR_STEP) * width / 640 * _direction(random)
        ground = np.zeros((height, width), np.uint8)
        ground[int(GROUND * height) :] = 255
        left, top = int(random.uniform(0.1, 0.6) * width), int(0.2 * height)
        box = np.zeros_like(ground)
        box[top : top + int(BOX[1] * height), left : left + int(BOX[0] * width)] = 255
        moved = translated(cv2.inpaint(infrared, box, 3, cv2.INPAINT_TELEA).astype(np.uint8), far)
        for near in (ground, box):
            where = translated(near, far + step, cv2.INTER_NEAREST) > 0
            moved[where] = translated(infrared, far + step)[where]
        near_mask = (ground | box) > 0
        truth = np.where(near_mask[..., None], far + step, far).astype(np.float32)
        yield Scene(name, visible, infrared, moved, truth, near_mask)


def pairs_of(root: Path, sets: dict[str, int]) -> Iterator[tuple[str, Bytes, Bytes]]:
    """So many pairs of each set, evenly chosen, at most 640 px wide: name, visible, infrared."""
    for name, count in sets.items():
        paths = sorted((root / name / "visible").iterdir())
        for path in paths[:: max(len(paths) // count, 1)][:count]:
            visible, infrared = grey(path), grey(root / name / "infrared" / path.name)
            width = min(visible.shape[1], 640)
            size = width, round(visible.shape[0] * width / visible.shape[1])
            shown = [
                cv2.resize(each, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
                for each in (visible, infrared)
            ]
            yield f"{name}/{path.stem}", shown[0], shown[1]


def panned(
    visible: Bytes, infrared: Bytes, random: Generator, count: int = PAIRS
) -> Iterator[tuple[slice, Bytes, Bytes]]:
    """Views ever further to the right, with noise: columns, visible, infrared."""
    width = (visible.shape[1] - PAN * count) // 4 * 4
    for number in range(count):
        view = slice(PAN * number, PAN * number + width)
        yield view, noisy(visible[:, view], random), noisy(infrared[:, view], random)


def panned_pair(pair: FramePair, random: Generator, width: int) -> Iterator[FramePair]:
    """The same of a coloured pair."""
    for number in range(PAIRS):
        view = slice(PAN * number, PAN * number + width)
        yield FramePair(noisy(pair.visible[:, view], random), noisy(pair.infrared[:, view], random))


def noisy(image: Bytes, random: Generator) -> Bytes:
    """An image with noise of `NOISE` levels; the black that a camera does not see stays black."""
    noise = NOISE * random.standard_normal(image.shape, np.float32)
    shown = cv2.add(image, noise, dtype=cv2.CV_8U)  # rounds and clips
    shown[image == 0] = 0
    return np.asarray(shown, np.uint8)


def translated(image: Bytes, by: Sequence[float] | Field, how: int = cv2.INTER_LINEAR) -> Bytes:
    """An image moved by some px to the right and down; 0 where it shows nothing."""
    there = np.array([[1, 0, by[0]], [0, 1, by[1]]], np.float64)
    return np.asarray(cv2.warpAffine(image, there, image.shape[1::-1], flags=how), np.uint8)


def grey(path: Path) -> Bytes:
    """A picture file (H, W), whatever its format and channels."""
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8)


def _direction(random: Generator) -> Field:
    angle = random.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)], np.float32)
