"""Thermal frames saved in colour: grey with a coloured mark, or false colours."""

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.imaging.headers import ImageError

Colours = NDArray[np.uint8] | NDArray[np.uint16]

# Differences of the channels, as shares of full scale, and the share of pixels that may have them.
# JPEG smears the colour of a cross-hair or a caption over blocks of 16x16 pixels.
TINTED, TINTED_SHARE = 8 / 255, 0.10
COLOURED, COLOURED_SHARE = 48 / 255, 0.02


def monochrome(pixels: Colours) -> Colours:
    """
    The grey (H, W) of a frame (H, W, 3 or 4); a coloured mark gets its brightest channel.

    Raises ImageError for false colours, which cannot be turned back into temperatures.
    """
    first, grey, last = (pixels[..., channel] for channel in range(3))
    spread = cv2.max(cv2.absdiff(grey, first), cv2.absdiff(grey, last))
    full = int(np.iinfo(pixels.dtype).max)
    tinted = spread > TINTED * full
    if not tinted.any():
        return cast(Colours, np.ascontiguousarray(grey))
    coloured = float((spread > COLOURED * full).mean())
    if tinted.mean() > TINTED_SHARE or coloured > COLOURED_SHARE:
        raise ImageError(
            "channels",
            "the infrared frame has 3 different channels, expected 1 (white hot), in "
            f"{tinted.mean():.1%} of its pixels; send it without false colours, and check that the "
            "two files are not swapped; `segmif infer` and `run` read the counts of a radiometric "
            "JPEG that is a source",
        )
    return cast(Colours, np.where(tinted, pixels[..., :3].max(axis=2), grey))
