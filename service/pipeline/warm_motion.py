"""Whether a warm region moved by itself: its place was not warm before, and what it left is not."""

from dataclasses import dataclass
from functools import cached_property
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.temporal.camera_motion import Points, Similarity, camera_motion, corners_of
from segmif.thermal.surroundings import level_and_deviation

from .warm_regions import Box, Bytes, WarmRegion

OFF = 5  # [small px] side of the window within which a misplaced pixel is nothing new
LEAST_CHANGED = 0.1  # share of a region's pixels that must be new, and as many left behind
LEAST_PIXELS = 4  # [small px] of either
BESIDE = 0.12  # of the width, around a region: what it left lies there
MOST_CHANGED = 0.15  # of the view; beyond it the picture changed, not a thing in it
GAINS = 0.7, 1.4  # of a gain control between two looks


@dataclass(frozen=True)
class Look:
    """A pair as later ones look back at it, in small pictures (h, w)."""

    stamp_ns: int
    infrared: Bytes
    guide: Bytes  # mean of both cameras: what either shows guides the camera's motion
    warm: tuple[Box, ...]  # the regions that may move by themselves

    @cached_property
    def corners(self) -> Points:
        """Corners of the guide (n, 1, 2)."""
        return corners_of(self.guide, self.warm)


@dataclass(frozen=True)
class Change:
    """What changed from one look to a later one, beyond the camera's own motion."""

    camera: Similarity  # (2, 3): from places then to places now
    new: NDArray[np.bool_]  # (h, w): warmer than before
    left: NDArray[np.bool_]  # (h, w): no longer as warm


def change_between(before: Look, now: Look, levels: float) -> Change | None:
    """
    What became warmer or colder by `levels` of 255 at least.

    None if the camera's motion is unknown, or if much of the view changed: that is a gain control,
    a cut or a shutter.
    """
    camera = camera_motion(before.guide, before.corners, now.guide)
    if camera is None:
        return None
    past, inside = _moved(_matched(before.infrared, now.infrared), camera)
    then, today = cv2.blur(past, (3, 3)), cv2.blur(now.infrared, (3, 3))
    window = np.ones((OFF, OFF), np.uint8)
    inside[now.infrared == 0] = 0  # no data
    new = cv2.bitwise_and(cv2.subtract(today, cv2.dilate(then, window)), inside) >= levels
    left = cv2.bitwise_and(cv2.subtract(then, cv2.dilate(today, window)), inside) >= levels
    if float(new.mean() + left.mean()) > MOST_CHANGED:
        return None
    return Change(camera, np.asarray(new), np.asarray(left))


def has_moved(region: WarmRegion, change: Change) -> bool:
    """Whether a part of a region is newly warm, and as large a part beside it no longer is."""
    x, y, wide, high = region.box
    least = max(LEAST_PIXELS, LEAST_CHANGED * region.area)
    if np.count_nonzero(change.new[y : y + high, x : x + wide] & region.pixels) < least:
        return False
    beside = round(BESIDE * change.left.shape[1])
    rows, columns = slice(max(0, y - beside), y + high + beside), slice(max(0, x - beside), None)
    there = change.left[rows, columns][:, : wide + 2 * beside]
    return int(np.count_nonzero(there)) >= least


def distance(before: Box, now: Box, camera: Similarity) -> float:
    """
    Pixels by which a box moved beyond the camera's own motion: as far as both its sides did.

    A region that grows, or becomes one with its neighbour, moves one side alone.
    """
    corners = camera[:, :2] @ _corners(before) + camera[:, 2:]
    ways = _corners(now) - corners  # (x and y, both corners)
    together = np.where(ways[:, 0] * ways[:, 1] > 0, np.abs(ways).min(axis=1), 0.0)
    return float(np.hypot(*together))


def _corners(box: Box) -> NDArray[np.float64]:
    """Left top and right bottom as columns."""
    left, top, width, height = box
    return np.array([[left, left + width], [top, top + height]], np.float64)


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
    window = np.ones((OFF, OFF), np.uint8)
    inside = cv2.erode(inside, window, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return cast(Bytes, moved), cast(Bytes, inside)
