"""What is ordinary warmth around each pixel of infrared; the rule of the tint, without torch."""

import cv2
import numpy as np
from numpy.typing import NDArray

# A warm thing is smaller than about REACH cells of CELL x CELL pixels; a road or the sky is larger.
CELL, REACH = 16, 5
# In mean deviations of infrared:
BESIDE = 1.0  # a pixel nearer to its surroundings is neither warm nor cold
OVERALL = 0.5  # nor is one nearer to the mean of the frame, or within MIN_DEVIATION
# Values beyond are clipped for the mean: a warm object that enters must not cool the rest.
OUTLIER = 2.0
MIN_DEVIATION = 6 / 255  # a smaller one is a sensor's noise, or no sensor
NO_DATA = 1 / 512  # of a cell: weight of the frame's mean, half a pixel

Field = NDArray[np.float32]


def level_and_deviation(infrared: NDArray[np.uint8]) -> tuple[float, float]:
    """Mean and mean deviation [levels] of a frame (H, W), outliers clipped; 0 is no data."""
    counts = cv2.calcHist([infrared], [0], None, [256], [0, 256]).ravel().astype(np.float64)
    counts[0] = 0
    levels, pixels = np.arange(256.0), max(float(counts.sum()), 1.0)
    level, deviation = _moments(levels, counts, pixels)
    clipped = levels.clip(level - OUTLIER * deviation, level + OUTLIER * deviation)
    return _moments(clipped, counts, pixels)


def warmest_ordinary(infrared: NDArray[np.uint8], cell: float = CELL) -> tuple[Field, Field]:
    """
    The surroundings of each pixel and the warmest level that is ordinary there, both (H, W).

    In levels of 255, for a frame (H, W) in which the tint's cells have a side of `cell` pixels.
    Surroundings are an opening of cells (Serra, 1982), as in docs/decisions/0027-tint.md.
    """
    level, deviation = level_and_deviation(infrared)
    deviation = max(deviation, 255 * MIN_DEVIATION)
    height, width = infrared.shape
    few = max(1, round(width / cell)), max(1, round(height / cell))
    known = np.asarray(infrared > 0, np.float32)
    data = cv2.resize(known, few, interpolation=cv2.INTER_AREA)
    sums = cv2.resize(infrared.astype(np.float32), few, interpolation=cv2.INTER_AREA)
    cells = (sums + NO_DATA * level) / (data + NO_DATA)  # without data: the frame's mean
    opened = cv2.morphologyEx(cells, cv2.MORPH_OPEN, np.ones((REACH, REACH), np.uint8))
    least = level + max(OVERALL * deviation, 255 * MIN_DEVIATION)
    warmest = np.maximum(opened + BESIDE * deviation, least)
    both = cv2.resize(np.dstack((opened, warmest)), (width, height))
    return np.asarray(both[..., 0], np.float32), np.asarray(both[..., 1], np.float32)


def _moments(
    levels: NDArray[np.float64], counts: NDArray[np.float64], pixels: float
) -> tuple[float, float]:
    level = float(levels @ counts) / pixels
    return level, float(np.abs(levels - level) @ counts) / pixels
