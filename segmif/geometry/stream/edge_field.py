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
    strength, angle = cv2.cartToPolar(across, down)
    typical = float(np.sqrt(cv2.norm(strength, cv2.NORM_L2SQR) / strength.size))
    # In place: new planes of this size cost more than what is computed in them.
    np.add(strength, FLOOR * typical + 1e-3, out=across)
    np.divide(strength, across, out=strength)
    if unseen_is_black:
        strength *= _seen(frame)
    angle *= 2
    planes = cv2.polarToCart(strength, angle, across, down)
    small = [cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in planes]
    field = cv2.GaussianBlur(cv2.merge(small), (3, 3), BLUR_PX)
    # Most edges of a street are upright or level: without their mean, chance agrees less.
    return cast(Field, field - cv2.blur(field, (LEVEL_PX, LEVEL_PX)))


def _seen(frame: Grey) -> Grey:
    """0 in black areas and some pixels around them, else 1."""
    black = cv2.morphologyEx((frame == 0).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3)))
    return cast(Grey, 1 - cv2.dilate(black, np.ones((7, 7))))
