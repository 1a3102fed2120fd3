"""Luma of a colour frame in 8 bit; the network's form is `segmif.model.color.luma`."""

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray


def luma(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """BT.601 luma (H, W) uint8 of RGB (H, W, 3) uint8: 0.299 R + 0.587 G + 0.114 B, rounded."""
    return cast(NDArray[np.uint8], cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))
