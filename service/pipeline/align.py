"""The alignment of the two cameras: the operator's rig file, and the warps made from it."""

import logging
import math
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock, Thread
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from segmif.geometry.alignment import Alignment, align, check_sizes, parallax_direction, parallax_px
from segmif.geometry.registration import Drift, DriftMonitor
from segmif.geometry.rig import Rig, open_rig
from segmif.imaging.codecs import Pixels
from segmif.imaging.luma import luma

from ..errors import BadPair, BadParameter

KEPT_WARPS = 8  # depths of requests in use at a time; each takes 7 bytes a visible pixel
NEAR_SHARE = 0.5  # of the plane's depth: there an object counts as near
NEAR_M = 10.0  # the same if the plane is at infinity
CHECK_EVERY_S = 60.0  # a check takes a core for one or two seconds

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RigAlignment:
    """How an infrared frame was brought into the visible view."""

    sha256: str  # of the rig file
    depth_m: (
        float | None
    )  # of the plane that is aligned; None: infinity, or as the homography has it
    covered: float  # share of the visible view that infrared sees
    near_m: float | None = None
    near_parallax_px: float | None = None  # how far an object at near_m is off
    far_parallax_px: float | None = None  # how far an object at infinity is off
    residual_px: float | None = None  # measured in the last pairs checked, across the parallax
    moved: bool | None = None  # the rig has moved since its file was made; None: not known yet


Warp = tuple[Alignment, RigAlignment]


class RigAligner:
    """A rig file in use."""

    def __init__(self, path: Path, depth_m: float) -> None:
        """`depth_m` of the plane to align unless a request says otherwise; raises as `read_rig`."""
        (self.rig, self.sha256), self.depth_m, self.path = open_rig(path), depth_m, path
        self._others: OrderedDict[float, Warp] = OrderedDict()  # by depth, the last used at the end
        self._lock = Lock()
        self._drift: Drift | None = None
        self._watch = DriftMonitor(parallax_direction(self.rig))
        self._checking, self._checked = Lock(), -math.inf
        # What every request needs is made, and checked, before the first; it is never replaced.
        self._own = self._make_warp(depth_m)

    @property
    def visible_shape(self) -> tuple[int, int]:
        """(H, W) of the visible camera."""
        if isinstance(self.rig, Rig):
            return self.rig.visible.height, self.rig.visible.width
        return self.rig.visible_size[1], self.rig.visible_size[0]

    @property
    def moved(self) -> bool:
        """Whether pairs have shown that the rig moved since its file was made."""
        return self._drift is not None and self._drift.moved

    def knows(self, depth_m: float | None) -> bool:
        """Whether the warp of a depth (None: that of the operator) is there already."""
        return self._is_own(depth_m) or depth_m in self._others

    def _is_own(self, depth_m: float | None) -> bool:
        return depth_m in (None, self.depth_m) or not isinstance(self.rig, Rig)

    def _warp(self, depth_m: float | None) -> Warp:
        if depth_m is None or self._is_own(depth_m):
            return self._own
        with self._lock:
            if depth_m in self._others:
                self._others.move_to_end(depth_m)
                return self._others[depth_m]
        made = self._make_warp(depth_m)
        with self._lock:
            self._others[depth_m] = made
            if len(self._others) > KEPT_WARPS:
                self._others.popitem(last=False)
        return made

    def _make_warp(self, depth_m: float) -> Warp:
        warp = align(self.rig, depth_m)
        covered = float(warp.seen.mean())
        if not isinstance(self.rig, Rig):
            return warp, RigAlignment(self.sha256, None, covered)
        near_m = NEAR_SHARE * depth_m if math.isfinite(depth_m) else NEAR_M
        return warp, RigAlignment(
            self.sha256,
            depth_m if math.isfinite(depth_m) else None,
            covered,
            near_m,
            parallax_px(self.rig, depth_m, near_m),
            parallax_px(self.rig, depth_m, math.inf),
        )

    def nearest(self, infrared: Pixels, depth_m: float | None) -> Pixels:
        """A frame (H, W) that `align` has taken, by its nearest pixels; 0 outside its view."""
        warp, _ = self._warp(depth_m)
        return warp.apply(infrared, nearest=True)

    def align(
        self, visible: NDArray[np.uint8], infrared: NDArray[np.uint8], depth_m: float | None
    ) -> tuple[NDArray[np.uint8], RigAlignment]:
        """
        Infrared (H, W) in the pixels of visible (H, W, 3), 0 outside its camera's view.

        Raises BadPair for frames of other sizes than the rig's, BadParameter for a depth at which
        the infrared camera sees nothing of the visible view.
        """
        sizes = [(image.shape[1], image.shape[0]) for image in (visible, infrared)]
        try:
            check_sizes(self.rig, *sizes)
        except ValueError as error:
            raise BadPair(str(error)) from error
        try:
            warp, rig_alignment = self._warp(depth_m)
        except ValueError as error:
            raise BadParameter(f"depth_m: {error}") from error
        aligned = warp.apply(infrared)
        if monotonic() - self._checked > CHECK_EVERY_S and self._checking.acquire(blocking=False):
            self._checked = monotonic()
            # No daemon: killed within OpenCV it takes the process down in a crash.
            Thread(target=self._check, args=(visible, aligned), name="rig check").start()
        if drift := self._drift:
            rig_alignment = replace(rig_alignment, residual_px=drift.residual_px, moved=drift.moved)
        return aligned, rig_alignment

    def _check(self, visible: NDArray[np.uint8], aligned: NDArray[np.uint8]) -> None:
        """Check, beside the requests, whether the rig has moved since its file was made."""
        try:
            self._drift = self._watch.see(luma(visible), aligned)
            if self._drift and self._drift.moved:
                logger.warning("%s", self._drift)
        finally:
            self._checking.release()
