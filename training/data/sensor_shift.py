"""How far two sensors are apart, estimated from their edges."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.imaging.codecs import resize
from segmif.imaging.luma import luma

REACH = 16  # [px] at 640 px; larger shifts are not looked for
WORKING_SIDE = 640  # [px] larger frames are made smaller for the search
SMOOTH = 1.5  # [px] edges of both sensors never lie on the very same pixels

Edges = NDArray[np.float32]  # (H, W)


def shift(visible: NDArray[np.uint8], infrared: NDArray[np.uint8]) -> float:
    """
    The distance [px] by which infrared (H, W) as a whole lies beside visible (H, W, 3).

    It is where the edges of both correlate best. Frames without edges, as visible ones at night
    may be, give anything: look at many pairs, never one.
    """
    scale: float = max(1.0, max(infrared.shape) / WORKING_SIDE)
    height, width = (round(side / scale) for side in infrared.shape)
    seen, warm = (_edges(resize(image, height, width)) for image in (luma(visible), infrared))
    reach = min(REACH, height // 4, width // 4)
    inner = warm[reach : height - reach, reach : width - reach]
    likeness = cv2.matchTemplate(seen, inner, cv2.TM_CCOEFF_NORMED)  # (2 reach + 1) squared
    row, column = divmod(int(np.argmax(likeness)), likeness.shape[1])
    return scale * math.hypot(row - reach, column - reach)


def _edges(image: NDArray[np.uint8]) -> Edges:
    """Strength of the gradient; its root, lest a few lamps decide."""
    smooth = cv2.GaussianBlur(image, (0, 0), SMOOTH)
    right, down = (cv2.Sobel(smooth, cv2.CV_32F, x, 1 - x) for x in (1, 0))
    return np.sqrt(np.hypot(right, down)).astype(np.float32)
