"""The pictures that a sink can show of a result."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segmif.classes import colorize
from segmif.imaging.codecs import resize

from ..live_result import LiveResult

PictureName = Literal["fused", "overlay", "mosaic", "visible", "infrared", "mask"]


def picture(result: LiveResult, name: PictureName) -> NDArray[np.uint8]:
    """
    A picture of a result, (H, W, 3) RGB in the visible view and of the visible frame's size.

    `mosaic` is (2H, 2W, 3): visible and infrared above fused and overlay. Visible and infrared are
    those that the network saw: a frame that shows nothing is black.
    """
    pair = result.result.prepared.pair
    match name:
        case "fused":
            return _full_size(result, result.result.prediction.fused)
        case "overlay":
            return _full_size(result, result.overlay)
        case "mask":
            return colorize(labels(result), result.taxonomy)
        case "visible":
            return _full_size(result, pair.visible)
        case "infrared":
            return np.repeat(_full_size(result, pair.infrared)[..., None], 3, axis=2)
        case "mosaic":
            upper = [picture(result, "visible"), picture(result, "infrared")]
            lower = [picture(result, "fused"), picture(result, "overlay")]
            return np.vstack([np.hstack(upper), np.hstack(lower)])


def labels(result: LiveResult) -> NDArray[np.uint8]:
    """Class ids (H, W) of the visible frame's size."""
    return _full_size(result, result.result.prediction.labels, nearest=True)


def _full_size(
    result: LiveResult, pixels: NDArray[np.uint8], *, nearest: bool = False
) -> NDArray[np.uint8]:
    """Undo the half size of a rig that is short of time: a stream and a file have one size."""
    return resize(pixels, *result.result.prepared.full_size, nearest=nearest)
