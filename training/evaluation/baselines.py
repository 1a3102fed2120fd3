"""Fusion without a network, on luma: the floor that a trained one has to leave behind."""

import numpy as np
from numpy.typing import NDArray

Luma = NDArray[np.uint8]  # (H, W)
Plane = NDArray[np.float64]  # (H, W)

PYRAMID_LEVELS = 5
DETAIL_GAIN = 1.15
MAXIMUM_SHARE, PYRAMID_SHARE = 0.7, 0.3

# Burt and Adelson, IEEE Trans. Commun. 31(4), 1983, with a = 3/8.
SMOOTHING = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def visible_only(visible: Luma, infrared: Luma) -> Luma:
    """The visible frame alone: what a fused one must beat."""
    return visible


def infrared_only(visible: Luma, infrared: Luma) -> Luma:
    """The infrared frame alone."""
    return infrared


def average(visible: Luma, infrared: Luma) -> Luma:
    """The mean of both, halves rounded to even."""
    return np.rint((visible.astype(np.float64) + infrared) / 2).astype(np.uint8)


def maximum(visible: Luma, infrared: Luma) -> Luma:
    """The brighter of both."""
    return np.maximum(visible, infrared)


def classical(visible: Luma, infrared: Luma) -> Luma:
    """0.7 of the maximum, 0.3 of a Laplacian pyramid that keeps and lifts the stronger detail."""
    *details_visible, fused = _pyramid(visible)
    *details_infrared, base = _pyramid(infrared)
    fused = np.maximum(fused, base)
    for seen, warm in zip(reversed(details_visible), reversed(details_infrared), strict=True):
        detail = np.where(np.abs(seen) >= np.abs(warm), seen, warm)
        fused = _expand(fused, seen.shape) + DETAIL_GAIN * detail
    pyramid = np.rint(np.clip(fused, 0, 255))
    mixed = MAXIMUM_SHARE * maximum(visible, infrared) + PYRAMID_SHARE * pyramid
    return mixed.astype(np.uint8)


BASELINES = {
    "visible": visible_only,
    "infrared": infrared_only,
    "average": average,
    "maximum": maximum,
    "classical": classical,
}


def _pyramid(image: Luma) -> list[Plane]:
    """Details from fine to coarse, then the base."""
    planes: list[Plane] = []
    plane = image.astype(np.float64)
    for _ in range(PYRAMID_LEVELS):
        coarse = _smooth(plane)[::2, ::2]
        planes.append(plane - _expand(coarse, plane.shape))
        plane = coarse
    return [*planes, plane]


def _expand(coarse: Plane, shape: tuple[int, ...]) -> Plane:
    """To twice the size: zeros between the pixels, smoothed with four times the weight."""
    sparse = np.zeros(shape)
    sparse[::2, ::2] = 4 * coarse
    return _smooth(sparse)


def _smooth(plane: Plane) -> Plane:
    for _ in range(2):
        framed = np.pad(plane, ((2, 2), (0, 0)), mode="reflect")
        smooth = np.zeros_like(plane)
        for tap, weight in enumerate(SMOOTHING):
            smooth += weight * framed[tap : tap + len(plane)]
        plane = smooth.T
    return plane
