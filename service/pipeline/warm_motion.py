"""Which warm pixels moved by themselves: by dense flow beyond the camera's motion."""

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
from .warm_regions import Bytes, WarmPicture, WarmRegion

LEAST_SIDE = 16  # [small px] of a picture: flow needs a few patches
NOISE = 1.5  # [small px] deviation of the blur before the flow
LEAST_PX = 1.5  # [small px] of a motion; less may be an error of the camera's
INSIDE = 5  # [small px] side of the window that must have been in the view
CHANGED = 0.4  # of a region's contrast: a pixel that changes by less is neither new nor left
LEAST_CHANGED = 0.06  # share of a region's pixels that must be new, and as many left behind
LEFT_OVER = 0.6  # of the change, once the region is put back where it was
MOST_CHANGED = 0.15  # of the view, by `MUCH` levels; beyond it the picture changed, not a thing
MUCH = 20
GAINS = 0.7, 1.4  # of a gain control between two looks

Flow = NDArray[np.float32]
Vector = tuple[float, float]


@dataclass(frozen=True)
class Look:
    """A pair as later ones look back at it, in small pictures (h, w)."""

    stamp_ns: int
    picture: WarmPicture
    guide: Bytes  # mean of both cameras: what either shows guides the camera's motion

    @cached_property
    def corners(self) -> Points:
        """Corners of the guide (n, 1, 2), without what is warm: that may move by itself."""
        boxes = [each.box for each in self.picture.regions(self.picture.warm, 1)]
        return corners_of(self.guide, boxes)

    @cached_property
    def blurred(self) -> Bytes:
        """Infrared (h, w) with less noise."""
        return _blurred(self.picture.infrared)


@dataclass(frozen=True)
class Sighting:
    """A warm region that moved by itself."""

    region: WarmRegion
    pace: Vector  # [small px/s] in the view, the camera's motion included
    speed: float  # widths of the view a second, beyond the camera's motion


def camera_between(before: Look, now: Look) -> Similarity | None:
    """The camera's motion (2, 3) from one look to the next; None: it is not known."""
    return camera_motion(before.guide, before.corners, now.guide)


def sightings(
    before: Look, now: Look, camera: Similarity, rules: UnknownRules, min_area: float
) -> list[Sighting]:
    """
    The warm regions of `min_area` small pixels that moved since an earlier look, by `rules`.

    Nothing if much of the view changed: that is a gain control, a cut or a shutter.
    """
    past, inside = _moved(_matched(before.picture.infrared, now.picture.infrared), camera)
    past = _blurred(past)
    inside[now.picture.infrared == 0] = 0  # no data
    changed = cv2.bitwise_and(cv2.absdiff(past, now.blurred), inside) >= MUCH
    if min(past.shape) < LEAST_SIDE or float(np.mean(changed)) > MOST_CHANGED:
        return []
    nowhere = np.zeros((*past.shape, 2), np.float32)
    flow = cast(Flow, _estimator().calc(now.blurred, past, nowhere))  # to the places before
    seconds = (now.stamp_ns - before.stamp_ns) / 1e9
    least = max(LEAST_PX, rules.speed * seconds * past.shape[1])
    moving = cv2.magnitude(flow[..., 0], flow[..., 1]) >= least
    marks = (now.picture.warm & (inside & moving)).astype(np.uint8)
    marks = cv2.morphologyEx(marks, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    regions = now.picture.regions(cast(Bytes, marks), min_area)
    strong = (each for each in regions if each.contrast >= rules.contrast)
    return [
        found for each in strong if (found := _sighting(each, flow, past, now, camera, seconds))
    ]


def _sighting(
    region: WarmRegion, flow: Flow, past: Bytes, now: Look, camera: Similarity, seconds: float
) -> Sighting | None:
    """
    A region if it moved as a whole.

    Its place was not as warm before, what it left no longer is, and put back it is what was there.
    """
    y, x = (each.astype(np.intp) for each in np.nonzero(region.pixels))
    x, y = x + region.box[0], y + region.box[1]
    back = np.median(flow[y, x], axis=0)
    x_then = np.clip(np.rint(x + back[0]).astype(np.intp), 0, past.shape[1] - 1)
    y_then = np.clip(np.rint(y + back[1]).astype(np.intp), 0, past.shape[0] - 1)
    levels = np.float32(CHANGED * region.contrast)
    today, then = now.blurred.astype(np.float32), past.astype(np.float32)
    new = today[y, x] - then[y, x]
    left = then[y_then, x_then] - today[y_then, x_then]
    if min((new >= levels).mean(), (left >= levels).mean()) < LEAST_CHANGED:
        return None
    if np.abs(today[y, x] - then[y_then, x_then]).mean() > LEFT_OVER * np.abs(new).mean():
        return None
    speed = float(np.hypot(*back)) / past.shape[1] / seconds
    here = np.array([*region.centroid, 1.0])
    pan = here[:2] - _inverse(camera) @ here
    pace = (pan - back) / seconds
    return Sighting(region, (float(pace[0]), float(pace[1])), speed)


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


def _blurred(picture: Bytes) -> Bytes:
    return cast(Bytes, cv2.GaussianBlur(picture, (0, 0), NOISE))


def _matched(before: Bytes, now: Bytes) -> Bytes:
    """A frame with the level and the deviation of another one, as if no gain control were."""
    (level, deviation), (level_now, deviation_now) = map(level_and_deviation, (before, now))
    gain = float(np.clip(deviation_now / max(deviation, 1e-3), *GAINS))
    levels = (np.arange(256) - level) * gain + level_now
    return cast(Bytes, cv2.LUT(before, np.clip(np.rint(levels), 0, 255).astype(np.uint8)))


def _moved(picture: Bytes, camera: Similarity) -> tuple[Bytes, Bytes]:
    """A picture (h, w) as the camera sees it now, and 255 where it was in the view."""
    height, width = picture.shape
    size = width, height
    moved = cv2.warpAffine(picture, camera, size, borderMode=cv2.BORDER_REPLICATE)
    whole = np.full((height, width), 255, np.uint8)
    inside = cv2.warpAffine(whole, camera, size, flags=cv2.INTER_NEAREST)
    window = np.ones((INSIDE, INSIDE), np.uint8)
    inside = cv2.erode(inside, window, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return cast(Bytes, moved), cast(Bytes, inside)
