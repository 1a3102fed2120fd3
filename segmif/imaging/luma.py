"""Luma of a colour frame in 8 bit; the network's form is `segmif.model.color.luma`."""

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray


def luma(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """BT.601 luma (...) uint8 of RGB (..., 3) uint8: 0.299 R + 0.587 G + 0.114 B, rounded."""
    rows = rgb.reshape(-1, *rgb.shape[-2:])  # of one frame or of many
    return cast(NDArray[np.uint8], cv2.cvtColor(rows, cv2.COLOR_RGB2GRAY).reshape(rgb.shape[:-1]))
