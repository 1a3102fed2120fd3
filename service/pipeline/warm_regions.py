"""Regions of infrared that are warmer than their surroundings, and whether they have a class."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.frames import Prediction
from segmif.thermal.surroundings import CELL, warmest_ordinary

from .object_tracks import Box

Plane = NDArray[np.uint8]  # (h, w) of a small picture

WIDTH = 320  # pixels at which regions are looked for: noise averages out, and it is fast
MOST_REGIONS = 64
LEAST_CONFIDENCE = 128  # of 255: a label that is as likely wrong as right is no class
OF_CLASS = 0.2  # of a region's pixels; with more of a class, the region is that object
OUTLINE = 9  # [small px] side of the window around a class: its outline is warm too
OF_OUTLINE = 0.5  # of a region's pixels; with more beside a class of that size, it is its outline
CLOSED = 5  # [small px] side of the window within which parts are one thing


@dataclass(frozen=True)
class WarmRegion:
    """A region in pixels of a small picture."""

    box: Box
    area: int  # [small px]
    centroid: tuple[float, float]  # x, y
    contrast: float  # mean levels of 255 above the surroundings
    known: bool  # it has a class, or is the outline of what has
    pixels: NDArray[np.bool_]  # (height, width) of the box


@dataclass(frozen=True)
class WarmPicture:
    """What is warm in small infrared, and what has a class; all planes are (h, w)."""

    infrared: Plane
    excess: NDArray[np.float32]  # levels of 255 above the surroundings
    warm: Plane  # 1: it stands out by the rule of the tint, and by half of the contrast asked for
    classed: Plane  # 1: a class that is more likely right than wrong

    @cached_property
    def _near_class(self) -> Plane:
        return cast(Plane, cv2.dilate(self.classed, np.ones((OUTLINE, OUTLINE), np.uint8)))

    @cached_property
    def warm_regions(self) -> list[WarmRegion]:
        """The largest connected regions of all that is warm."""
        return self.regions(self.warm, 1)

    def regions(self, marks: Plane, min_area: float) -> list[WarmRegion]:
        """
        The largest connected regions (8 neighbours) of marked pixels, the largest first.

        `marks` (h, w) are 0 or 1. Gaps of a few pixels are closed first. At most `MOST_REGIONS`.
        """
        window = np.ones((CLOSED, CLOSED), np.uint8)
        closed = cast(Plane, cv2.morphologyEx(marks, cv2.MORPH_CLOSE, window))
        count, numbers, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
        areas = stats[1:count, cv2.CC_STAT_AREA]
        largest = [int(n) + 1 for n in np.argsort(areas)[::-1][:MOST_REGIONS]]
        found = []
        for n in largest:
            x, y, wide, high, area = (int(value) for value in stats[n])
            if area >= min_area:
                pixels = numbers[y : y + high, x : x + wide] == n
                found.append(self._region((x, y, wide, high), pixels))
        return found

    def warm_part_of(self, box: Box) -> WarmRegion | None:
        """The warm pixels within a box as one region; None: there are none."""
        left, top = max(0, box[0]), max(0, box[1])
        inside = self.warm[top : max(0, box[1] + box[3]), left : max(0, box[0] + box[2])]
        x, y, wide, high = cv2.boundingRect(inside) if inside.size else (0, 0, 0, 0)
        if not wide:
            return None
        pixels = inside[y : y + high, x : x + wide] > 0
        return self._region((left + x, top + y, wide, high), pixels)

    def _region(self, box: Box, pixels: NDArray[np.bool_]) -> WarmRegion:
        x, y, wide, high = box
        at = slice(y, y + high), slice(x, x + wide)
        down, across = np.nonzero(pixels)
        centroid = x + float(across.mean()), y + float(down.mean())
        contrast = float(self.excess[at][pixels].mean())
        known = _is_known(pixels, self.classed[at], self._near_class[at])
        return WarmRegion(box, len(down), centroid, contrast, known, pixels)


def small(picture: Plane) -> Plane:
    """A picture (H, W) at `WIDTH` pixels, unless it is smaller."""
    height, width = picture.shape
    if width <= WIDTH:
        return picture
    size = WIDTH, max(1, round(height * WIDTH / width))
    return cast(Plane, cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def warm_picture(infrared: Plane, width: int, contrast: float, classed: Plane) -> WarmPicture:
    """
    What stands out as warm in small infrared (h, w) by the rule of the tint.

    A warm pixel exceeds its surroundings by at least half of `contrast`, in levels of 255.
    `width`: that of the frame which the network saw. `classed`: as `class_mask`.
    """
    surroundings, warmest = warmest_ordinary(infrared, CELL * infrared.shape[1] / width)
    excess = infrared - surroundings
    warm = ((infrared > warmest) & (excess >= contrast / 2)).astype(np.uint8)
    return WarmPicture(infrared, excess, warm, classed)


def class_mask(prediction: Prediction, things: Sequence[int], shape: tuple[int, ...]) -> Plane:
    """
    1 for pixels of a class that is more likely right than wrong, else 0; of `shape` (h, w).

    `things`: the ids of classes of objects.
    """
    size, confidence = (shape[1], shape[0]), prediction.confidence
    labels = cv2.resize(prediction.labels, size, interpolation=cv2.INTER_NEAREST)
    classed = np.isin(labels, list(things))
    if confidence is not None:
        sure = cv2.resize(confidence, size, interpolation=cv2.INTER_NEAREST)
        classed &= sure >= LEAST_CONFIDENCE
    return classed.astype(np.uint8)


def _is_known(pixels: NDArray[np.bool_], classed: Plane, near_class: Plane) -> bool:
    """Whether a region has a class or is the outline of one; all planes are of its box."""
    if float(classed[pixels].mean()) >= OF_CLASS:
        return True
    beside = float(near_class[pixels].mean()) >= OF_OUTLINE
    return beside and int(classed.sum()) >= OF_OUTLINE * int(np.count_nonzero(pixels))
