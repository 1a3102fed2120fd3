"""Detects a closed shutter: a frame without structure, in any unit of the counts."""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.thermal.gain_window import percentiles
from segmif.thermal.invalid_counts import Validity

BLOCK = 8  # [px] side of the blocks whose means show structure, less for small frames
NOISES = 3.0  # block means of noise and of unequal columns differ less
MIN_STRUCTURE = 0.35  # [counts] left by rounding a smooth surface to counts
# Spread of a shutter over its noise: the lens adds a smooth gradient.
SHUTTER_SPREAD = 40.0
MAX_SPREAD = {
    "uint8": 2,
    "uint16": 4000,
}  # [counts] at any noise; cameras stretch 8 bit


def shows_shutter(pixels: NDArray[np.uint8] | NDArray[np.uint16], validity: Validity) -> bool:
    """Whether an infrared frame (H, W) shows a closed shutter instead of a scene."""
    low, high = percentiles(validity.histogram)
    if high - low > MAX_SPREAD[pixels.dtype.name] or pixels.shape[1] < 2:
        return high <= low
    values = pixels.astype(np.float32)
    if validity.invalid is not None:
        values[validity.invalid > 0] = percentiles(validity.histogram, 50, 50)[0]
    # A few far pixels may be valid, and are no noise.
    np.clip(values, low, high, out=values)
    noise = float(np.sqrt(np.square(np.diff(values, axis=1)).mean() / 2 + 1 / 12))
    if high - low > SHUTTER_SPREAD * max(noise, 0.5):
        return False
    side = int(np.clip(min(values.shape) // BLOCK, 1, BLOCK))
    size = max(values.shape[1] // side, 1), max(values.shape[0] // side, 1)
    means = np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), np.float64)
    surfaces, fit = _smooth_surfaces(*size)
    structure = float((means.ravel() - surfaces @ (fit @ means.ravel())).std())
    return structure <= max(NOISES * noise / side, MIN_STRUCTURE)


@lru_cache(4)
def _smooth_surfaces(width: int, height: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Smooth surfaces (N, 7) over N = width * height blocks, and the (7, N) that fits them."""
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    radius = x * x + y * y
    surfaces = [np.ones_like(x), x, y, x * x, x * y, y * y, radius * radius]
    basis = np.stack([each.ravel() for each in surfaces], axis=1)
    return basis, np.asarray(np.linalg.pinv(basis), np.float64)
