"""The pictures that a sink can show of a result."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segmif.classes import colorize

from ..live_result import LiveResult

PictureName = Literal["fused", "overlay", "mosaic", "visible", "infrared", "mask"]


def picture(result: LiveResult, name: PictureName) -> NDArray[np.uint8]:
    """
    A picture of a result, (H, W, 3) RGB in the visible view.

    `mosaic` is (2H, 2W, 3): visible and infrared above fused and overlay. Visible and infrared are
    those that the network saw: a frame that shows nothing is black.
    """
    match name:
        case "fused":
            return result.result.prediction.fused
        case "overlay":
            return result.overlay
        case "mask":
            return colorize(result.result.prediction.labels, result.taxonomy)
        case "visible":
            return result.result.prepared.pair.visible
        case "infrared":
            return _grey(result.result.prepared.pair.infrared)
        case "mosaic":
            return _mosaic(result)


def _mosaic(result: LiveResult) -> NDArray[np.uint8]:
    upper = [picture(result, "visible"), picture(result, "infrared")]
    lower = [picture(result, "fused"), picture(result, "overlay")]
    return np.vstack([np.hstack(upper), np.hstack(lower)])


def _grey(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(levels[..., None], 3, axis=2)
