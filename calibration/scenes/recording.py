"""Minutes of pairs as small frames, so many as memory bears."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from segmif.imaging.codecs import Pixels
from segmif.imaging.luma import luma
from segmif.imaging.sensor_format import cropped, infrared_picture
from segmif.thermal.camera_profile import Cameras

from ..io.live_sources import LivePair
from .estimate import Scenes
from .moving_targets import Small, small
from .target_search import Size

MOST_PAIRS = 1200  # kept; of longer recordings every second, every fourth ...
LEAST_APART_NS = 150_000_000  # neighbours show the same


class _Kept:
    """Small pairs in the order of time, thinned out when they become too many."""

    def __init__(self, cameras: Cameras) -> None:
        self.pairs: list[tuple[Small, Small]] = []
        self.sizes: tuple[Size, Size] | None = None
        self._cameras = cameras
        self._stride, self._count = 1, 0

    def take(self, visible: NDArray[np.uint8], infrared: Pixels) -> None:
        self._count += 1
        if (self._count - 1) % self._stride:
            return
        grey = cropped(luma(visible), self._cameras.visible.crop)
        heat = infrared_picture(infrared, self._cameras.infrared)
        sizes = (grey.shape[1], grey.shape[0]), (heat.shape[1], heat.shape[0])
        if self.sizes not in (None, sizes):
            raise ValueError(
                f"the sizes of visible and infrared frames change from {self.sizes} to {sizes}: "
                "one recording is of one mode of its cameras"
            )
        self.sizes = sizes
        self.pairs.append((small(grey), small(heat)))
        if len(self.pairs) == MOST_PAIRS:
            self.pairs, self._stride = self.pairs[::2], 2 * self._stride


def collect(pairs: Iterable[LivePair], cameras: Cameras, seconds: float) -> Scenes:
    """
    The first `seconds` of a stream of pairs; an interrupt ends it sooner.

    Raises ImageError for a crop that leaves nothing, and ValueError without a pair or if the size
    of frames changes.
    """
    kept = _Kept(cameras)
    first_ns, last_ns = None, 0
    try:
        for stamp_ns, visible, infrared in pairs:
            if first_ns is None:
                first_ns = stamp_ns
            elif stamp_ns - first_ns > seconds * 1e9:
                break
            elif stamp_ns - last_ns < LEAST_APART_NS:
                continue
            last_ns = stamp_ns
            kept.take(visible, infrared)
    except KeyboardInterrupt:
        print("stopped")
    if kept.sizes is None:
        raise ValueError("the two sources gave no pair")
    return Scenes([one for one, _ in kept.pairs], [two for _, two in kept.pairs], kept.sizes)
