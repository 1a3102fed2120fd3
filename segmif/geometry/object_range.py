"""
How far objects are, from the parallax of a calibrated rig.

Infrared is aligned for one plane. What stands before or behind it lies off along one direction, by
an amount that is linear in 1 / distance. For each object that amount is measured by the edges of
both frames, and refused if it is no more than its own error.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.geometry.cameras import Floats, Rig

Grey = NDArray[np.uint8]
Field = NDArray[np.float32]  # (h, w, 2): strength times cosine and sine of the doubled angle
Box = tuple[int, int, int, int]  # left, top, width, height [px of visible]

NEAREST_M = 1.5
MARGIN = 2  # [px] around a box
LEAST_SIDE = 12  # [px] of a box with enough edges
ACROSS = 3  # [px] that a match is searched across the parallax, at least
STD_PX = 1.2  # of a match at 640 columns: outlines that differ between the spectra
UNKNOWN_BASELINE = 0.05  # relative deviation of a baseline whose own is not stated
SIGNIFICANT = 2.0  # deviations from which on a disparity, or a baseline, is more than its error
MOST_ACROSS = 2.5  # deviations across the parallax, beyond which a match is of something else
LEAST_LIKENESS = 0.3
EDGE_FLOOR = 0.5  # of a patch's typical gradient: weaker edges count less and less


@dataclass(frozen=True)
class Range:
    """Distance along the visible camera's axis, and its standard deviation [m]."""

    distance_m: float
    std_m: float


def object_range(rig: Rig, plane_m: float, visible: Grey, aligned: Grey, box: Box) -> Range | None:
    """
    The range of what fills a box, from visible luma (H, W) and infrared aligned for `plane_m`.

    None if the box is small or at the rim, if its edges do not agree, or if the disparity or the
    baseline is within its error.
    """
    relative = UNKNOWN_BASELINE
    if rig.baseline_std_m is not None:
        relative = rig.baseline_std_m / rig.baseline_m
    left, top, width, height = box
    if min(width, height) < LEAST_SIDE or relative * SIGNIFICANT >= 1:
        return None
    middle = np.array([left + (width - 1) / 2, top + (height - 1) / 2])
    far, near = (_shift(rig, plane_m, middle, each) for each in (np.inf, NEAREST_M))
    by_inverse = (near - far) * NEAREST_M  # [px] for each 1/m
    std_px = STD_PX * visible.shape[1] / 640
    slope = float(np.linalg.norm(by_inverse))
    found = _match(visible, aligned, box, far, near, std_px) if slope > 0 else None
    if found is None:
        return None
    inverse = float((found - far) @ by_inverse) / slope**2
    across = float(np.linalg.norm(found - far - inverse * by_inverse))
    std = std_px / slope  # [1/m]
    if inverse < SIGNIFICANT * std or across > MOST_ACROSS * std_px:
        return None
    distance = 1 / inverse
    return Range(distance, float(np.hypot(distance**2 * std, distance * relative)))


def _shift(rig: Rig, plane_m: float, pixel: Floats, distance_m: float) -> Floats:
    """How far (2,) [px] infrared of a point at a distance lies off if `plane_m` is aligned."""
    ray, position = rig.visible.rays(pixel[None])[0], rig.infrared_position_m
    # From infrared's place through the point onto the plane, over the point's distance.
    sight = ray - position / distance_m
    depth = 1 / plane_m
    onto = position * depth + sight * (1 - position[2] * depth) / sight[2]
    return np.asarray(rig.visible.project(onto[None])[0] - pixel, np.float64)


def _match(
    visible: Grey, aligned: Grey, box: Box, far: Floats, near: Floats, std_px: float
) -> Floats | None:
    """The shift (2,) at which the edges of a box agree best, between those of far and near."""
    reach = np.ceil(ACROSS * max(std_px, 1.0))
    low = np.floor(np.minimum(far, near) - reach).astype(int)
    high = np.ceil(np.maximum(far, near) + reach).astype(int)
    start = np.array(box[:2]) - MARGIN
    end = start + np.array(box[2:]) + 2 * MARGIN
    frame = np.array(visible.shape[1::-1])
    if (np.minimum(start, start + low) < 0).any() or (np.maximum(end, end + high) > frame).any():
        return None
    own = visible[start[1] : end[1], start[0] : end[0]]
    other = aligned[start[1] + low[1] : end[1] + high[1], start[0] + low[0] : end[0] + high[0]]
    likeness = cv2.matchTemplate(_edges(other), _edges(own), cv2.TM_CCORR_NORMED)
    row, column = np.unravel_index(int(np.nan_to_num(likeness).argmax()), likeness.shape)
    inside = 0 < row < likeness.shape[0] - 1 and 0 < column < likeness.shape[1] - 1
    if not inside or likeness[row, column] < LEAST_LIKENESS:
        return None
    right = column + _vertex(*likeness[row, column - 1 : column + 2])
    down = row + _vertex(*likeness[row - 1 : row + 2, column])
    return np.asarray(low + np.array([right, down]), np.float64)


def _edges(patch: Grey) -> Field:
    smooth = cv2.GaussianBlur(patch, (3, 3), 0.6)
    across, down = (each.astype(np.float32) for each in cv2.spatialGradient(smooth))
    strength, angle = cv2.cartToPolar(across, down)
    strength /= strength + EDGE_FLOOR * float(np.sqrt(np.mean(strength**2))) + 1e-3
    return np.asarray(cv2.merge(cv2.polarToCart(strength, 2 * angle)), np.float32)


def _vertex(left: float, middle: float, right: float) -> float:
    """Place, -0.5 to 0.5, of the top of the parabola through three values."""
    bend = left - 2 * middle + right
    return float(np.clip((left - right) / (2 * bend), -0.5, 0.5)) if bend < 0 else 0.0
