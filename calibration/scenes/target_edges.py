"""
Where a moving target of the visible frame lies in the infrared frame, by the edges of both.

Boxes are too coarse: a shadow belongs to the visible box and not to the warm one. The outlines of
what moves agree, whatever lies within. So directions of edges at twice the angle are correlated,
as in `segmif.geometry.stream.edge_field`, in the difference to the background.
"""

from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.geometry.rig import Floats

from .moving_targets import Difference

Field = NDArray[np.float32]  # (h, w, 2): strength times cosine and sine of the doubled angle

MARGIN = 3  # [px] around a box
LEAST_SIDE = 6  # [px] of a box that has edges to compare
FLOOR = 4.0  # [deviations of noise] of a gradient that counts half
LEAST_LIKENESS = 0.35  # of the correlation at its peak


def shifted(
    visible: Difference, infrared: Difference, A: Floats, box: Floats, reach: int
) -> Floats | None:
    """
    The infrared position (2,) of the middle of a visible box (left, top, right, bottom).

    `A` (2, 3) is visible -> infrared near the box; the position is within `reach` [px of visible]
    of it. None if the edges do not agree. All of small frames.
    """
    low = np.floor(box[:2]).astype(int) - MARGIN
    high = np.ceil(box[2:]).astype(int) + MARGIN + 1
    height, width = visible.picture.shape
    if (box[2:] - box[:2]).min() < LEAST_SIDE or (low < 0).any():
        return None
    if high[0] > width or high[1] > height:
        return None
    own = visible.picture[low[1] : high[1], low[0] : high[0]]
    size = high - low + 2 * reach
    start = np.column_stack([A[:, :2], A[:, :2] @ (low - reach) + A[:, 2]])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warm = cv2.warpAffine(infrared.picture, start, (int(size[0]), int(size[1])), flags=how)
    fields = _edges(warm, infrared.noise), _edges(own, visible.noise)
    shift = _peak(cv2.matchTemplate(*fields, cv2.TM_CCORR_NORMED), reach)
    if shift is None:
        return None
    middle = (box[:2] + box[2:]) / 2 + shift
    return A[:, :2] @ middle + A[:, 2]


def _edges(picture: NDArray[Any], noise: float) -> Field:
    across = cv2.Sobel(picture, cv2.CV_32F, 1, 0, scale=0.125)
    down = cv2.Sobel(picture, cv2.CV_32F, 0, 1, scale=0.125)
    strength, angle = cv2.cartToPolar(across, down)
    strength = np.maximum(strength - noise, 0)
    strength /= strength + FLOOR * noise
    return cast(Field, cv2.merge(cv2.polarToCart(strength, 2 * angle)))


def _peak(likeness: NDArray[Any], reach: int) -> Floats | None:
    """Shift (2,) of the highest place, between pixels; None if it is low or at the rim."""
    row, column = np.unravel_index(int(np.nan_to_num(likeness).argmax()), likeness.shape)
    if likeness[row, column] < LEAST_LIKENESS:
        return None
    if not (0 < row < 2 * reach and 0 < column < 2 * reach):
        return None
    fine = [
        _vertex(*likeness[row, column - 1 : column + 2]),
        _vertex(*likeness[row - 1 : row + 2, column]),
    ]
    return np.array([column - reach, row - reach]) + fine


def _vertex(left: float, middle: float, right: float) -> float:
    bend = left - 2 * middle + right
    return float(np.clip((left - right) / (2 * bend), -0.5, 0.5)) if bend < 0 else 0.0
