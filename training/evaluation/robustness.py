"""
How masks and fused frames bear what a rig in use does: infrared that lies off, a slow pan, noise.

All results are counts and sums, so that those of several sets add up to those of their union.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.classes import IGNORE
from segmif.frames import MULTIPLE, FramePair, Prediction
from segmif.imaging.luma import luma
from segmif.metrics import ConfusionMatrix

from ..data.datasets import LabelledPair
from .fusion_quality import Predict

Bytes = NDArray[np.uint8]

DIRECTIONS: Mapping[str, tuple[int, int]] = {
    "right": (1, 0),
    "right down": (1, 1),
    "down": (0, 1),
    "left down": (-1, 1),
    "left": (-1, 0),
    "left up": (-1, -1),
    "up": (0, -1),
    "right up": (1, -1),
}
STEPS = "steps of depth"
BANDS = 4  # of `in_steps`: the ground is nearer the lower it is seen
BINS = 20  # of confidence, for its calibration
NOISE = 2.0  # [levels] deviation of each sensor's noise in a pan
PAN = 5  # frames of a pan
FLIP_STEP, NOISE_STEP = 2, 1  # [px] by which the view moves between two frames


def moved(infrared: Bytes, right: float, down: float) -> Bytes:
    """Infrared (H, W) moved by so many pixels; what comes in at the edge repeats the edge."""
    matrix = np.array([[1, 0, right], [0, 1, down]], np.float64)
    size = infrared.shape[::-1]
    return np.asarray(
        cv2.warpAffine(infrared, matrix, size, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def in_steps(infrared: Bytes, farthest: float) -> Bytes:
    """Infrared (H, W) moved right in BANDS of rows: the top by 0 px, the lowest by `farthest`."""
    bounds = np.linspace(0, len(infrared), BANDS + 1).round().astype(int)
    shares = np.linspace(0, 1, BANDS)
    bands = [
        moved(infrared[top:bottom], share * farthest, 0)
        for top, bottom, share in zip(bounds[:-1], bounds[1:], shares, strict=True)
    ]
    return np.concatenate(bands)


def misaligned(infrared: Bytes, distance: float) -> Iterator[tuple[str, Bytes]]:
    """Infrared moved by `distance` px in each direction, and by as much in steps of depth."""
    for name, (right, down) in DIRECTIONS.items():
        unit = distance / np.hypot(right, down)
        yield name, moved(infrared, right * unit, down * unit)
    yield STEPS, in_steps(infrared, distance)


def misaligned_masks(
    predict: Predict, frame: LabelledPair, distance: float, classes: int
) -> dict[str, ConfusionMatrix]:
    """What the mask of one frame is worth by direction of the misalignment."""
    empty = ConfusionMatrix.empty(classes)
    return {
        name: empty.add(predict(FramePair(frame.visible, infrared)).labels, frame.labels)
        for name, infrared in misaligned(frame.infrared, distance)
    }


@dataclass(frozen=True)
class Calibration:
    """Pixels by confidence: how many, their summed confidence, how many were labelled rightly."""

    sums: NDArray[np.float64]  # (3, BINS)

    @classmethod
    def empty(cls) -> "Calibration":
        """Of no pixel."""
        return cls(np.zeros((3, BINS)))

    def add(self, prediction: Prediction, truth: Bytes) -> "Calibration":
        """With the labelled pixels of one frame that the mask says are objects."""
        if prediction.confidence is None:
            return self
        valid = (truth != IGNORE) & (prediction.labels > 0)
        confidence = prediction.confidence[valid] / 255
        place = np.minimum((confidence * BINS).astype(int), BINS - 1)
        right = prediction.labels[valid] == truth[valid]
        weights = (np.ones_like(confidence), confidence, right.astype(np.float64))
        counted = [np.bincount(place, weight, BINS) for weight in weights]
        return Calibration(self.sums + np.stack(counted))

    def __add__(self, other: "Calibration") -> "Calibration":
        return Calibration(self.sums + other.sums)

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of confidence and share of right labels."""
        return float(np.abs(self.sums[1] - self.sums[2]).sum() / max(self.sums[0].sum(), 1))


@dataclass(frozen=True)
class Stability:
    """Sums over pans; `flips` and the changes are ratios of them."""

    flipped: int = 0  # pixels that are an object in one of two frames and got another label
    objects: int = 0  # pixels that are an object in one of two frames
    fused: float = 0.0  # [levels] change of fused luma, summed over pixels
    visible: float = 0.0  # [levels] of visible luma
    pixels: int = 0

    def __add__(self, other: "Stability") -> "Stability":
        return Stability(
            self.flipped + other.flipped,
            self.objects + other.objects,
            self.fused + other.fused,
            self.visible + other.visible,
            self.pixels + other.pixels,
        )

    @property
    def flips(self) -> float:
        """Share of the object pixels that change their label from frame to frame."""
        return self.flipped / max(self.objects, 1)

    @property
    def noise(self) -> tuple[float, float]:
        """Mean change [levels] of fused and of visible luma once the motion is undone."""
        return self.fused / max(self.pixels, 1), self.visible / max(self.pixels, 1)


def stability(predict: Predict, pair: FramePair, seed: int) -> Stability:
    """Of two pans over one pair, each frame with noise of its own on both sensors."""
    random = np.random.default_rng(seed)
    flipped = objects = pixels = 0
    for earlier, later in _neighbours(predict, pair, FLIP_STEP, random):
        before, after = earlier[1].labels, later[1].labels
        seen = (before > 0) | (after > 0)
        flipped, objects = flipped + int((before != after).sum()), objects + int(seen.sum())
    fused = visible = 0.0
    for earlier, later in _neighbours(predict, pair, NOISE_STEP, random):
        fused += _change(earlier[1].fused, later[1].fused)
        visible += _change(earlier[0].visible, later[0].visible)
        pixels += earlier[1].labels.size
    return Stability(flipped, objects, fused, visible, pixels)


Seen = tuple[FramePair, Prediction]


def _neighbours(
    predict: Predict, pair: FramePair, step: int, random: np.random.Generator
) -> Iterator[tuple[Seen, Seen]]:
    """Successive frames of a pan to the right and their predictions, cut to what both show."""
    height = pair.infrared.shape[0] // MULTIPLE * MULTIPLE
    width = (pair.infrared.shape[1] - PAN * step) // MULTIPLE * MULTIPLE
    before: Seen | None = None
    for number in range(PAN):
        view = slice(number * step, number * step + width)
        shown = FramePair(
            _noisy(pair.visible[:height, view], random),
            _noisy(pair.infrared[:height, view], random),
        )
        after = shown, predict(shown)
        if before:
            yield _cut(before, slice(step, None)), _cut(after, slice(None, -step))
        before = after


def _cut(seen: Seen, columns: slice) -> Seen:
    pair, prediction = seen
    return (
        FramePair(pair.visible[:, columns], pair.infrared[:, columns]),
        Prediction(prediction.fused[:, columns], prediction.labels[:, columns]),
    )


def _noisy(image: Bytes, random: np.random.Generator) -> Bytes:
    noisy = image + random.normal(0, NOISE, image.shape)
    return np.asarray(noisy.round().clip(0, 255), np.uint8)


def _change(before: Bytes, after: Bytes) -> float:
    return float(cv2.absdiff(luma(before), luma(after)).sum(dtype=np.float64))
