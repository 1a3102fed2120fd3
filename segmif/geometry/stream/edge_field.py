"""
Edge fields: what a visible and an infrared frame have in common, at a small size.

An edge keeps its place across the spectra, not its sign. So a pixel holds the direction of its edge
at twice the angle, with a strength below 1 that hardly depends on contrast.
"""

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
Field = NDArray[np.float32]  # (h, w, 2): strength times cosine and sine of the doubled angle

WIDTH, HEIGHT = 160, 120  # of a field, at most
BLUR_PX = 0.6  # before and after the gradient
FLOOR = 0.25  # of a frame's typical gradient: weaker edges count less and less
LEVEL_PX = 25  # side of the square whose mean direction is taken off


def field_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Width and height of the fields of frames (H, W)."""
    factor = max(shape[1] / WIDTH, shape[0] / HEIGHT, 1.0)
    return max(round(shape[1] / factor), 1), max(round(shape[0] / factor), 1)


def doubled(frame: Grey, size: tuple[int, int]) -> Grey:
    """A frame at twice the width and height of its field, if it has so many pixels."""
    width, height = 2 * size[0], 2 * size[1]
    if frame.shape[1] <= width or frame.shape[0] <= height:
        return frame
    return cast(Grey, cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA))


def edge_field(frame: Grey, size: tuple[int, int], *, unseen_is_black: bool = False) -> Field:
    """
    The edge field of a frame that `doubled` gave, at `size` (width, height).

    Directions are taken at the larger size, because fine edges agree best between the spectra.
    With `unseen_is_black`, areas of exactly 0 have no edges, and no border.
    """
    smooth = cv2.GaussianBlur(frame, (3, 3), BLUR_PX)
    across, down = (each.astype(np.float32) for each in cv2.spatialGradient(smooth))
    length = cv2.magnitude(across, down)
    typical = float(np.sqrt(cv2.norm(length, cv2.NORM_L2SQR) / length.size))
    # In place: new planes of this size cost more than what is computed in them.
    weight = length + (FLOOR * typical + 1e-3)
    weight *= length
    weight += 1e-6
    np.reciprocal(weight, out=weight)  # strength, over the square of the length
    if unseen_is_black:
        weight[_unseen(frame)] = 0
    doubled_sine = np.multiply(across, down, out=length)
    doubled_sine *= 2
    across *= across
    down *= down
    across -= down  # the square of the length times the cosine
    across *= weight
    doubled_sine *= weight
    planes = across, doubled_sine
    small = [cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in planes]
    field = cv2.GaussianBlur(cv2.merge(small), (3, 3), BLUR_PX)
    # Most edges of a street are upright or level: without their mean, chance agrees less.
    return cast(Field, field - cv2.blur(field, (LEVEL_PX, LEVEL_PX)))


def _unseen(frame: Grey) -> NDArray[np.bool_]:
    """Black areas and some pixels around them."""
    black = cv2.morphologyEx((frame == 0).view(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3)))
    return cast(NDArray[np.bool_], cv2.dilate(black, np.ones((7, 7))).view(np.bool_))
