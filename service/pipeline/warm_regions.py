"""Regions of infrared that are warmer than their surroundings, and whether they have a class."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.frames import Prediction
from segmif.thermal.surroundings import CELL, warmest_ordinary

Bytes = NDArray[np.uint8]
Box = tuple[int, int, int, int]  # left, top, width, height

WIDTH = 320  # pixels at which regions are looked for: noise averages out, and it is fast
MOST_REGIONS = 64
LEAST_CONFIDENCE = 128  # of 255: a label that is as likely wrong as right is no class
OF_CLASS = 0.2  # of a region's pixels; with more of a class, the region is that object
OUTLINE = 9  # [small pixels] side of the window around a class: its outline is warm too
OF_OUTLINE = 0.5  # of a region's pixels; with more beside a class of that size, it is its outline
CLOSED = 5  # [small pixels] side of the window within which parts are one thing


@dataclass(frozen=True)
class WarmRegion:
    """A region in pixels of a small picture."""

    box: Box
    area: int
    centroid: tuple[float, float]
    contrast: float  # mean levels of 255 above the surroundings
    known: bool  # it has a class, or is the outline of what has
    pixels: NDArray[np.bool_]  # within the box


def small(picture: Bytes) -> Bytes:
    """A picture (H, W) at `WIDTH` pixels, unless it is smaller."""
    height, width = picture.shape
    if width <= WIDTH:
        return picture
    size = WIDTH, max(1, round(height * WIDTH / width))
    return cast(Bytes, cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def warm_regions(
    infrared: Bytes,
    prediction: Prediction,
    things: Sequence[int],
    width: int,
    contrast: float,
    min_area: float,
) -> list[WarmRegion]:
    """
    The largest regions of small infrared (h, w) that stand out as warm by the rule of the tint.

    They also exceed their surroundings by `contrast` levels in the mean and have `min_area` small
    pixels. The network saw `width` pixels in a row. `things`: the ids of classes of objects.
    """
    ordinary, warmest = warmest_ordinary(infrared, CELL * infrared.shape[1] / width)
    beyond = infrared - ordinary
    warm = ((infrared > warmest) & (beyond >= contrast / 2)).astype(np.uint8)
    parts = np.ones((CLOSED, CLOSED), np.uint8)
    warm = cast(Bytes, cv2.morphologyEx(warm, cv2.MORPH_CLOSE, parts))
    classed = _classed(prediction, things, infrared.shape)
    around = cast(Bytes, cv2.dilate(classed, np.ones((OUTLINE, OUTLINE), np.uint8)))
    count, marks, stats, centroids = cv2.connectedComponentsWithStats(warm, connectivity=8)
    areas = stats[1:count, cv2.CC_STAT_AREA]
    largest = [int(n) + 1 for n in np.argsort(areas)[::-1][:MOST_REGIONS] if areas[n] >= min_area]
    found = []
    for n in largest:
        x, y, wide, high, area = (int(value) for value in stats[n])
        at = slice(y, y + high), slice(x, x + wide)
        pixels = marks[at] == n
        known = _is_known(pixels, classed[at], around[at])
        centroid = float(centroids[n, 0]), float(centroids[n, 1])
        mean = float(beyond[at][pixels].mean())
        found.append(WarmRegion((x, y, wide, high), area, centroid, mean, known, pixels))
    return [region for region in found if region.contrast >= contrast]


def _is_known(pixels: NDArray[np.bool_], classed: Bytes, around: Bytes) -> bool:
    """Whether a region has a class or is the outline of one; all planes are of its box."""
    if float(classed[pixels].mean()) >= OF_CLASS:
        return True
    beside = float(around[pixels].mean()) >= OF_OUTLINE
    return beside and int(classed.sum()) >= OF_OUTLINE * int(np.count_nonzero(pixels))


def _classed(prediction: Prediction, things: Sequence[int], shape: tuple[int, ...]) -> Bytes:
    """1 for pixels (h, w) of a class that is more likely right than wrong."""
    size, confidence = (shape[1], shape[0]), prediction.confidence
    labels = cv2.resize(prediction.labels, size, interpolation=cv2.INTER_NEAREST)
    classed = np.isin(labels, list(things))
    if confidence is not None:
        sure = cv2.resize(confidence, size, interpolation=cv2.INTER_NEAREST)
        classed &= sure >= LEAST_CONFIDENCE
    return classed.astype(np.uint8)
