"""Which warm regions moved by themselves: by dense flow beyond the camera's motion."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.temporal.camera_motion import Points, Similarity, camera_motion, corners_of
from segmif.thermal.surroundings import level_and_deviation

from .objects import UnknownRules
from .warm_regions import Plane, WarmPicture, WarmRegion

LEAST_SIDE = 16  # [small px] of a picture: flow needs a few patches
NOISE = 1.5  # [small px] standard deviation of the blur before the flow
LEAST_PX = 1.5  # [small px] of a motion; less may be an error of the camera's
INSIDE = 5  # [small px] side of the window that must have been in the view
CHANGED = 0.4  # of a region's contrast: a pixel that changes by less is neither new nor left
LEAST_CHANGED = 0.06  # share of a region's pixels that must be new, and as many left behind
LEFT_OVER = 0.6  # of the change, once the region is put back where it was
MOST_CHANGED = 0.15  # of the view, by `MUCH` levels; beyond it the picture changed, not a thing
MUCH = 20
GAINS = 0.7, 1.4  # of a gain control between two keyframes

Flow = NDArray[np.float32]  # (h, w, 2): x, y [small px]
Vector = tuple[float, float]  # x, y


@dataclass(frozen=True)
class Keyframe:
    """A pair that later ones are compared with, in small pictures (h, w)."""

    stamp_ns: int
    picture: WarmPicture
    guide: Plane  # mean of both cameras: what either shows guides the camera's motion

    @cached_property
    def corners(self) -> Points:
        """Corners of the guide (n, 1, 2), without what is warm: that may move by itself."""
        return corners_of(self.guide, [each.box for each in self.picture.warm_regions])

    @cached_property
    def blurred(self) -> Plane:
        """Infrared with less noise."""
        return _blurred(self.picture.infrared)


@dataclass(frozen=True)
class MovingRegion:
    """A warm region that moved by itself."""

    region: WarmRegion
    velocity: Vector  # [small px/s] in the view, the camera's motion included
    speed: float  # widths of the view a second, beyond the camera's motion


def camera_between(before: Keyframe, now: Keyframe) -> Similarity | None:
    """The camera's motion (2, 3) from one keyframe to the next; None: it is not known."""
    return camera_motion(before.guide, before.corners, now.guide)


def moving_regions(
    before: Keyframe, now: Keyframe, camera: Similarity, rules: UnknownRules, min_area: float
) -> list[MovingRegion]:
    """
    The warm regions of at least `min_area` small pixels that moved since an earlier keyframe.

    `camera`: its motion since then. `rules`: their least contrast and speed. Nothing if much of the
    view changed: that is a gain control, a cut or a shutter.
    """
    past, in_view = _warped(_with_gain_of(now, before), camera)
    past = _blurred(past)
    in_view[now.picture.infrared == 0] = 0  # no data
    if min(past.shape) < LEAST_SIDE or _much_changed(past, now, in_view):
        return []
    nowhere = np.zeros((*past.shape, 2), np.float32)
    flow = cast(Flow, _estimator().calc(now.blurred, past, nowhere))  # to the places before
    seconds = (now.stamp_ns - before.stamp_ns) / 1e9
    least_px = max(LEAST_PX, rules.speed * seconds * past.shape[1])
    moving = cv2.magnitude(flow[..., 0], flow[..., 1]) >= least_px
    marks = (now.picture.warm & (in_view & moving)).astype(np.uint8)
    marks = cv2.morphologyEx(marks, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return [
        _described(region, back, camera, past.shape[1], seconds)
        for region in now.picture.regions(cast(Plane, marks), min_area)
        if region.contrast >= rules.contrast
        and (back := _way_back(region, flow, past, now.blurred)) is not None
    ]


def _much_changed(past: Plane, now: Keyframe, in_view: Plane) -> bool:
    changed = cv2.bitwise_and(cv2.absdiff(past, now.blurred), in_view) >= MUCH
    return float(np.mean(changed)) > MOST_CHANGED


def _way_back(region: WarmRegion, flow: Flow, past: Plane, today: Plane) -> Flow | None:
    """
    The motion (2,) from a region to where it was; None: it did not move as a whole.

    Its place was not as warm before, what it left no longer is, and put back it is what was there.
    `past` (h, w) is as the camera sees it `today`.
    """
    y, x = (each.astype(np.intp) for each in np.nonzero(region.pixels))
    x, y = x + region.box[0], y + region.box[1]
    back = cast(Flow, np.median(flow[y, x], axis=0))
    x_then = np.clip(np.rint(x + back[0]).astype(np.intp), 0, past.shape[1] - 1)
    y_then = np.clip(np.rint(y + back[1]).astype(np.intp), 0, past.shape[0] - 1)
    levels = np.float32(CHANGED * region.contrast)
    now, then = today.astype(np.float32), past.astype(np.float32)
    new = now[y, x] - then[y, x]
    left = then[y_then, x_then] - now[y_then, x_then]
    if min((new >= levels).mean(), (left >= levels).mean()) < LEAST_CHANGED:
        return None
    left_over = np.abs(now[y, x] - then[y_then, x_then]).mean()
    return None if left_over > LEFT_OVER * np.abs(new).mean() else back


def _described(
    region: WarmRegion, back: Flow, camera: Similarity, width: int, seconds: float
) -> MovingRegion:
    """A region that was at `back` from its place, `seconds` ago, in a view `width` wide."""
    speed = float(np.hypot(*back)) / width / seconds
    here = np.array([*region.centroid, 1.0])
    pan = here[:2] - _inverse(camera) @ here
    velocity = (pan - back) / seconds
    return MovingRegion(region, (float(velocity[0]), float(velocity[1])), speed)


def composed(steps: Sequence[Similarity]) -> Similarity:
    """Successive motions (2, 3) of the camera, the earliest first, as one."""
    whole = np.eye(3)
    for step in steps:
        whole = np.vstack((step, (0, 0, 1))) @ whole
    return whole[:2]


def _inverse(camera: Similarity) -> Similarity:
    return cast(Similarity, cv2.invertAffineTransform(camera))


def _estimator() -> cv2.DISOpticalFlow:
    """Dense inverse search (Kroeger et al., 2016); one a call, as it is not for many threads."""
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)


def _blurred(picture: Plane) -> Plane:
    return cast(Plane, cv2.GaussianBlur(picture, (0, 0), NOISE))


def _with_gain_of(now: Keyframe, before: Keyframe) -> Plane:
    """Infrared of `before` with the level and deviation of `now`: their gain controls differ."""
    infrared = before.picture.infrared
    level, deviation = level_and_deviation(infrared)
    level_now, deviation_now = level_and_deviation(now.picture.infrared)
    gain = float(np.clip(deviation_now / max(deviation, 1e-3), *GAINS))
    levels = (np.arange(256) - level) * gain + level_now
    return cast(Plane, cv2.LUT(infrared, np.clip(np.rint(levels), 0, 255).astype(np.uint8)))


def _warped(picture: Plane, camera: Similarity) -> tuple[Plane, Plane]:
    """A picture (h, w) as the camera sees it now, and 255 where it was in the view."""
    height, width = picture.shape
    size = width, height
    moved = cv2.warpAffine(picture, camera, size, borderMode=cv2.BORDER_REPLICATE)
    whole = np.full((height, width), 255, np.uint8)
    in_view = cv2.warpAffine(whole, camera, size, flags=cv2.INTER_NEAREST)
    window = np.ones((INSIDE, INSIDE), np.uint8)
    in_view = cv2.erode(in_view, window, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return cast(Plane, moved), cast(Plane, in_view)
