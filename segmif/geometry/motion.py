"""How much the picture of a camera changes from frame to frame: what two clocks are compared by."""

from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOTION_ROWS = 60  # frames are compared at this height: noise averages out, motion stays


def downscaled(frame: NDArray[Any]) -> Floats:
    """A frame (H, W) at 60 rows or fewer."""
    scale = min(MOTION_ROWS / frame.shape[0], 1.0)
    small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cast(Floats, small.astype(np.float64))


def change(before: Floats, after: Floats) -> float:
    """
    Change between two frames (H, W) of a recording, in the square root of their unit.

    The square root keeps one large motion from drowning the small ones. A change of the whole
    frame's level, as by a shutter or a gain control, is no motion.
    """
    difference = after - before
    return float(np.sqrt(np.mean(np.abs(difference - np.median(difference)))))
