"""Unknown objects of a stream: what is warm, moves by itself, and fits no class."""

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
from .warm_motion import Look, Sighting, camera_between, composed, sightings
from .warm_regions import (
    Bytes,
    WarmPicture,
    WarmRegion,
    of_a_class,
    small,
    warm_picture,
)

LOOK_NS = 190_000_000  # between two looks; below 0.2 s, which stamps miss by a little
SLOW_NS = 650_000_000  # to the earliest look that is compared: it shows what is slow
REACH_NS = 1_100_000_000  # of a look back: over longer, a scene changes
GAP_NS = 2_000_000_000  # without a pair, after which nothing before counts
LEAST_LOOKS = 2  # successive ones that must see an object move
HOLD_NS = 1_500_000_000  # for which something that moved and now rests is still listed
CLASS_NS = 1_000_000_000  # for which what had a class is not unknown
MARGIN = 4  # [small px] around a box: small things that are fast still overlap themselves
WHOLE = 0.5  # intersection over union of an object and a warm region, above it they are the same
LEAST_PART = 0.3  # of an object's area that must be warm where it is expected
MOST_TRACKS = 64
NEVER_NS = np.int64(-(2**62))


@dataclass
class _Track:
    """What is known of an object from pair to pair."""

    number: int
    region: WarmRegion
    stamp_ns: int  # of the region
    pace: tuple[float, float] = (0.0, 0.0)  # [small px/s] in the view, the camera's included
    speed: float = 0.0  # the highest, in widths of the view a second, beyond the camera's motion
    looks: int = 1  # successive ones that saw it move
    sighted_ns: int = 0  # when it was last seen to move
    moved_ns: int | None = None  # likewise, in as many successive looks as it takes
    known_ns: int | None = None  # when it last had a class

    def expected(self, stamp_ns: int) -> Box:
        """Its box at another time."""
        seconds = (stamp_ns - self.stamp_ns) / 1e9
        x, y, wide, high = self.region.box
        return round(x + self.pace[0] * seconds), round(y + self.pace[1] * seconds), wide, high

    def see(self, region: WarmRegion, stamp_ns: int) -> None:
        """Note where it is."""
        self.region, self.stamp_ns = region, stamp_ns
        if region.known:
            self.known_ns = stamp_ns

    def lives(self, now_ns: int) -> bool:
        """Whether it may still be found."""
        return now_ns - self.sighted_ns < HOLD_NS

    def shows(self, now_ns: int) -> bool:
        """Whether it is to be listed."""
        if self.known_ns is not None and now_ns - self.known_ns < CLASS_NS:
            return False
        here = self.stamp_ns == now_ns and self.moved_ns is not None
        return here and now_ns - (self.moved_ns or 0) < HOLD_NS


class UnknownObjects:
    """Looks at the pairs of one stream, which come in their order."""

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
        self._looks: deque[tuple[Look, Similarity | None]] = deque()  # the camera's since the last
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

        `stamp_ns`: when the pair was taken. Stamps that fall, or a gap of two seconds, begin anew.
        """
        infrared = small(pair.infrared)
        scale = width / infrared.shape[1]
        classed = of_a_class(prediction, taxonomy.things, infrared.shape)
        with self._lock:
            if self._last_ns is not None and not 0 <= stamp_ns - self._last_ns <= GAP_NS:
                self._forget()
            self._last_ns = stamp_ns
            classed = self._lately_classed(classed, stamp_ns)
            picture = warm_picture(infrared, pair.infrared.shape[1], rules.contrast, classed)
            self._follow(picture, stamp_ns)
            if not self._looks or stamp_ns - self._looks[-1][0].stamp_ns >= LOOK_NS:
                guide = cv2.addWeighted(small(luma(pair.visible)), 0.5, infrared, 0.5, 0)
                now = Look(stamp_ns, picture, cast(Bytes, guide))
                self._look(now, rules, rules.min_area / scale**2)
            shown = [each for each in self._tracks if each.shows(stamp_ns)]
        shown.sort(key=lambda each: each.region.area, reverse=True)
        return tuple(_described(each, scale) for each in shown)

    def _lately_classed(self, classed: Bytes, stamp_ns: int) -> Bytes:
        """1 where something had a class within the last second, else 0."""
        if self._class_ns is None or self._class_ns.shape != classed.shape:
            self._class_ns = np.full(classed.shape, NEVER_NS)
        self._class_ns[classed > 0] = stamp_ns
        return (stamp_ns - self._class_ns < CLASS_NS).astype(np.uint8)

    def _follow(self, picture: WarmPicture, stamp_ns: int) -> None:
        """Find the objects of earlier pairs in the next one."""
        self._tracks = [each for each in self._tracks if each.lives(stamp_ns)]
        regions = picture.regions(picture.warm, 1) if self._tracks else []
        for track in self._tracks:
            box = track.expected(stamp_ns)
            found = _whole(box, regions) or picture.part(box)
            if found and found.area >= LEAST_PART * track.region.area:
                track.see(found, stamp_ns)

    def _look(self, now: Look, rules: UnknownRules, min_area: float) -> None:
        """Note what moved since earlier looks."""
        while self._looks and now.stamp_ns - self._looks[0][0].stamp_ns > REACH_NS:
            self._looks.popleft()
        before = self._looks[-1][0] if self._looks else None
        self._looks.append((now, camera_between(before, now) if before else None))
        if before:
            regions = now.picture.regions(now.picture.warm, 1)
            for sighting in self._sightings(now, rules, min_area):
                whole = _whole(sighting.region.box, regions)
                self._note(sighting, whole or sighting.region, now.stamp_ns, before.stamp_ns)
        self._settle(now.stamp_ns)

    def _sightings(self, now: Look, rules: UnknownRules, min_area: float) -> list[Sighting]:
        """What moved since the look before, or since an earlier one if it is slow."""
        looks = list(self._looks)
        newest = len(looks) - 2
        earliest = next(
            (at for at, (look, _) in enumerate(looks) if now.stamp_ns - look.stamp_ns <= SLOW_NS)
        )
        found: list[Sighting] = []
        for at in sorted({min(earliest, newest), newest}):
            steps = [step for _, step in looks[at + 1 :] if step is not None]
            if len(steps) < len(looks) - 1 - at:  # the camera's motion is not known
                continue
            seen = sightings(looks[at][0], now, composed(steps), rules, min_area)
            boxes = [each.region.box for each in found]
            found += [each for each in seen if _most(each.region.box, boxes)[1] < LEAST_IOU]
        return found

    def _note(self, sighting: Sighting, region: WarmRegion, now_ns: int, before_ns: int) -> None:
        """Note that something moved; `before_ns`: the stamp of the look before."""
        free = [each for each in self._tracks if each.sighted_ns < now_ns]
        boxes = [_enlarged(each.expected(now_ns)) for each in free]
        best, overlap = _most(_enlarged(region.box), boxes)
        if overlap >= LEAST_IOU:
            track = free[best]
            track.looks = track.looks + 1 if track.sighted_ns == before_ns else 1
        elif any(each.region.box == region.box for each in self._tracks):
            return  # another part of what is noted already
        else:
            track = _Track(self._next, region, now_ns)
            self._tracks, self._next = [*self._tracks, track][-MOST_TRACKS:], self._next + 1
        track.see(region, now_ns)
        track.sighted_ns, track.pace = now_ns, sighting.pace
        track.speed = max(track.speed, sighting.speed)
        if track.looks >= LEAST_LOOKS:
            track.moved_ns = now_ns

    def _settle(self, now_ns: int) -> None:
        """Let what was not seen to move rest, unless something that moved is where it was."""
        moved = [each.region.box for each in self._tracks if each.sighted_ns == now_ns]
        resting = [each for each in self._tracks if each.sighted_ns < now_ns]
        for track in resting:
            track.pace = 0.0, 0.0
            if _most(track.region.box, moved)[1] >= LEAST_IOU:
                self._tracks.remove(track)


def _whole(box: Box, regions: Sequence[WarmRegion]) -> WarmRegion | None:
    """The warm region that is about as large as a box and there."""
    best, overlap = _most(box, [each.box for each in regions])
    return regions[best] if overlap >= WHOLE else None


def _most(box: Box, boxes: Sequence[Box]) -> tuple[int, float]:
    """Which of some boxes overlaps a box most, and by what intersection over union."""
    if not boxes:
        return 0, 0.0
    overlaps = iou(np.array([box], float), np.array(boxes, float))[0]
    return int(overlaps.argmax()), float(overlaps.max())


def _enlarged(box: Box) -> Box:
    x, y, wide, high = box
    return x - MARGIN, y - MARGIN, wide + 2 * MARGIN, high + 2 * MARGIN


def _described(track: _Track, scale: float) -> UnknownObject:
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
