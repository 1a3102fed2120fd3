"""
Unknown objects of a stream: what is warm, moves by itself, and fits no class.

Some pairs a second become keyframes, and `warm_motion` says what moved between two of them. Between
keyframes `warm_regions` finds the objects again.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.classes import Taxonomy
from segmif.frames import FramePair, Prediction
from segmif.imaging.luma import luma
from segmif.temporal.camera_motion import Similarity

from ..schemas.scene_objects import UnknownObject
from .object_tracks import LEAST_IOU, Box, iou
from .objects import UnknownRules
from .warm_motion import Keyframe, MovingRegion, Vector, camera_between, composed, moving_regions
from .warm_regions import Plane, WarmPicture, WarmRegion, class_mask, small, warm_picture

KEYFRAME_NS = 190_000_000  # between two; below 0.2 s, which stamps miss by a little
SLOW_NS = 650_000_000  # to the earliest keyframe that is compared: it shows what is slow
REACH_NS = 1_100_000_000  # for which a keyframe is kept: over longer, a scene changes
GAP_NS = 2_000_000_000  # without a pair, after which nothing before counts
LEAST_MOVES = 2  # successive keyframes that must see an object move
HOLD_NS = 1_500_000_000  # for which something that moved and now rests is still listed
CLASS_NS = 1_000_000_000  # for which what had a class is not unknown
MARGIN = 4  # [small px] around a box: small things that are fast still overlap themselves
SAME_IOU = 0.5  # of an object and a warm region, above which they are the same
LEAST_PART = 0.3  # of an object's area that must be warm where it is expected
MOST_TRACKS = 64
NEVER_NS = np.int64(-(2**62))


@dataclass
class _Track:
    """What is known of an object from pair to pair; stamps in nanoseconds."""

    number: int
    region: WarmRegion
    stamp_ns: int  # of the region
    velocity: Vector = (0.0, 0.0)  # [small px/s] in the view, the camera's included
    speed: float = 0.0  # the highest, in widths of the view a second, beyond the camera's motion
    moves: int = 1  # successive keyframes that saw it move
    moved_ns: int = 0  # the last of them
    confirmed_ns: int | None = None  # the last that completed `LEAST_MOVES`
    classed_ns: int | None = None  # when it last had a class

    def expected_box(self, stamp_ns: int) -> Box:
        """Its box at another time, by its velocity."""
        seconds = (stamp_ns - self.stamp_ns) / 1e9
        (x, y, wide, high), (right, down) = self.region.box, self.velocity
        return round(x + right * seconds), round(y + down * seconds), wide, high

    def update(self, region: WarmRegion, stamp_ns: int) -> None:
        """Note where it is."""
        self.region, self.stamp_ns = region, stamp_ns
        if region.known:
            self.classed_ns = stamp_ns

    def is_alive(self, now_ns: int) -> bool:
        """Whether it is still looked for."""
        return now_ns - self.moved_ns < HOLD_NS

    def is_listed(self, now_ns: int) -> bool:
        """Whether it is an unknown object of the pair taken at `now_ns`."""
        if self.classed_ns is not None and now_ns - self.classed_ns < CLASS_NS:
            return False
        here = self.stamp_ns == now_ns
        return here and self.confirmed_ns is not None and now_ns - self.confirmed_ns < HOLD_NS


class UnknownObjects:
    """Finds the unknown objects of one stream, whose pairs come in their order."""

    def __init__(self) -> None:
        self._next = 1
        self._lock = Lock()  # a jump of the stamps is noticed while earlier pairs are at work
        self._forget()

    def forget(self) -> None:
        """Begin anew: what comes next has nothing to be compared with."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        self._tracks: list[_Track] = []
        # Each with the camera's motion since the one before; None: not known, or the first.
        self._keyframes: deque[tuple[Keyframe, Similarity | None]] = deque()
        self._class_ns: NDArray[np.int64] | None = None  # (h, w): when a pixel last had a class
        self._last_ns: int | None = None

    def find(
        self,
        pair: FramePair,
        prediction: Prediction,
        taxonomy: Taxonomy,
        rules: UnknownRules,
        width: int,
        stamp_ns: int,
    ) -> tuple[UnknownObject, ...]:
        """
        The unknown objects of the next pair, the largest first, in pixels of a view `width` wide.

        `stamp_ns`: when the pair was taken. Stamps that fall, a gap of two seconds, or pairs of
        another size begin anew.
        """
        infrared = small(pair.infrared)
        scale = width / infrared.shape[1]
        classed = class_mask(prediction, taxonomy.things, infrared.shape)
        with self._lock:
            resized = self._class_ns is not None and self._class_ns.shape != infrared.shape
            late = self._last_ns is not None and not 0 <= stamp_ns - self._last_ns <= GAP_NS
            if resized or late:
                self._forget()
            self._last_ns = stamp_ns
            classed = self._lately_classed(classed, stamp_ns)
            picture = warm_picture(infrared, pair.infrared.shape[1], rules.contrast, classed)
            self._follow(picture, stamp_ns)
            if not self._keyframes or stamp_ns - self._keyframes[-1][0].stamp_ns >= KEYFRAME_NS:
                guide = cv2.addWeighted(small(luma(pair.visible)), 0.5, infrared, 0.5, 0)
                now = Keyframe(stamp_ns, picture, cast(Plane, guide))
                self._add_keyframe(now, rules, rules.min_area / scale**2)
            listed = [each for each in self._tracks if each.is_listed(stamp_ns)]
        listed.sort(key=lambda each: each.region.area, reverse=True)
        return tuple(_described(each, scale) for each in listed)

    def _lately_classed(self, classed: Plane, stamp_ns: int) -> Plane:
        """1 for pixels that had a class within the last second, else 0."""
        if self._class_ns is None:
            self._class_ns = np.full(classed.shape, NEVER_NS)
        self._class_ns[classed > 0] = stamp_ns
        return (stamp_ns - self._class_ns < CLASS_NS).astype(np.uint8)

    def _follow(self, picture: WarmPicture, stamp_ns: int) -> None:
        """Find the objects of earlier pairs in the next one."""
        self._tracks = [each for each in self._tracks if each.is_alive(stamp_ns)]
        for track in self._tracks:
            box = track.expected_box(stamp_ns)
            found = _same_region(box, picture.warm_regions) or picture.warm_part_of(box)
            if found and found.area >= LEAST_PART * track.region.area:
                track.update(found, stamp_ns)

    def _add_keyframe(self, now: Keyframe, rules: UnknownRules, min_area: float) -> None:
        """Note what moved since earlier keyframes; `min_area` in small pixels."""
        while self._keyframes and now.stamp_ns - self._keyframes[0][0].stamp_ns > REACH_NS:
            self._keyframes.popleft()
        before = self._keyframes[-1][0] if self._keyframes else None
        self._keyframes.append((now, camera_between(before, now) if before else None))
        if before:
            for found in self._moving_regions(now, rules, min_area):
                whole = _same_region(found.region.box, now.picture.warm_regions)
                self._note(found, whole or found.region, now.stamp_ns, before.stamp_ns)
        self._rest(now.stamp_ns)

    def _moving_regions(
        self, now: Keyframe, rules: UnknownRules, min_area: float
    ) -> list[MovingRegion]:
        """What moved since the keyframe before, or since an earlier one if it is slow."""
        keyframes = list(self._keyframes)
        newest = len(keyframes) - 2
        earliest = next(
            at for at, (each, _) in enumerate(keyframes) if now.stamp_ns - each.stamp_ns <= SLOW_NS
        )
        found: list[MovingRegion] = []
        for at in sorted({min(earliest, newest), newest}):
            steps = [step for _, step in keyframes[at + 1 :] if step is not None]
            if len(steps) < len(keyframes) - 1 - at:  # the camera's motion is not known
                continue
            more = moving_regions(keyframes[at][0], now, composed(steps), rules, min_area)
            boxes = [each.region.box for each in found]
            found += [each for each in more if _best_overlap(each.region.box, boxes)[1] < LEAST_IOU]
        return found

    def _note(self, moving: MovingRegion, region: WarmRegion, now_ns: int, before_ns: int) -> None:
        """
        Give the track of what moved, or a new one, its `region` of all warm pixels.

        `before_ns`: the stamp of the keyframe before.
        """
        free = [each for each in self._tracks if each.moved_ns < now_ns]
        boxes = [_enlarged(each.expected_box(now_ns)) for each in free]
        best, overlap = _best_overlap(_enlarged(region.box), boxes)
        if overlap >= LEAST_IOU:
            track = free[best]
            track.moves = track.moves + 1 if track.moved_ns == before_ns else 1
        elif any(each.region.box == region.box for each in self._tracks):
            return  # another part of what is noted already
        else:
            track = _Track(self._next, region, now_ns)
            self._tracks, self._next = [*self._tracks, track][-MOST_TRACKS:], self._next + 1
        track.update(region, now_ns)
        track.moved_ns, track.velocity = now_ns, moving.velocity
        track.speed = max(track.speed, moving.speed)
        if track.moves >= LEAST_MOVES:
            track.confirmed_ns = now_ns

    def _rest(self, now_ns: int) -> None:
        """Stop the tracks of what was not seen to move; drop those whose place a moving one has."""
        moving = [each.region.box for each in self._tracks if each.moved_ns == now_ns]
        resting = [each for each in self._tracks if each.moved_ns < now_ns]
        for track in resting:
            track.velocity = 0.0, 0.0
            if _best_overlap(track.region.box, moving)[1] >= LEAST_IOU:
                self._tracks.remove(track)


def _same_region(box: Box, regions: Sequence[WarmRegion]) -> WarmRegion | None:
    """The warm region with about the place and size of a box; None: there is none."""
    best, overlap = _best_overlap(box, [each.box for each in regions])
    return regions[best] if overlap >= SAME_IOU else None


def _best_overlap(box: Box, boxes: Sequence[Box]) -> tuple[int, float]:
    """Which of some boxes overlaps a box most, and by what intersection over union."""
    if not boxes:
        return 0, 0.0
    overlaps = iou(np.array([box], float), np.array(boxes, float))[0]
    return int(overlaps.argmax()), float(overlaps.max())


def _enlarged(box: Box) -> Box:
    x, y, wide, high = box
    return x - MARGIN, y - MARGIN, wide + 2 * MARGIN, high + 2 * MARGIN


def _described(track: _Track, scale: float) -> UnknownObject:
    """A track in pixels of the visible frame, which are `scale` times smaller than small ones."""
    region = track.region
    left, top, width, height = (round(value * scale) for value in region.box)
    x, y = (round((value + 0.5) * scale - 0.5, 1) for value in region.centroid)
    return UnknownObject(
        box=(left, top, width, height),
        area=round(region.area * scale**2),
        centroid=(x, y),
        contrast=round(region.contrast, 1),
        speed=round(track.speed, 3),
        track=track.number,
    )
