"""Two frames of sources as the pipeline takes a pair."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmif.sources.frame import SourceFrame
from segmif.wire.raw_frames import Frame, Layout


def stated_of(
    visible: SourceFrame | None, infrared: SourceFrame | None, offset_ns: int
) -> dict[str, Any]:
    """What the frames themselves state, as fields of `PairOptions`."""
    stamps = {"visible_ns": visible.stamp_ns} if visible else {}
    stamps |= {"infrared_ns": infrared.stamp_ns + offset_ns} if infrared else {}
    usable = all(stamp >= 0 for stamp in stamps.values())
    stated: dict[str, Any] = dict(stamps) if usable else {}
    if not (visible and infrared):
        stated["sensors"] = "visible" if visible else "infrared"
    return stated | ({"shutter": True} if infrared and infrared.shutter else {})


def raw_frame(frame: SourceFrame | None) -> Frame | None:
    """A frame of a source as the pipeline takes pixels: without a copy; None if there is none."""
    if frame is None:
        return None
    pixels = np.ascontiguousarray(frame.pixels)
    height, width = pixels.shape[:2]
    if pixels.ndim == 3:
        return Frame(_bytes(pixels), Layout("rgb8", width, height))
    if pixels.dtype == np.uint16:
        return Frame(_bytes(pixels.astype("<u2", copy=False)), Layout("y16", width, height))
    return Frame(_bytes(pixels), Layout("y8", width, height))


def _bytes(pixels: NDArray[Any]) -> memoryview:
    return pixels.reshape(-1).view(np.uint8).data
