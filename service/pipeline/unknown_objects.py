"""Unknown objects of a stream: what is warm, moves by itself, and fits no class."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import cast

import cv2

from segmif.classes import Taxonomy
from segmif.frames import FramePair, Prediction
from segmif.imaging.luma import luma

from ..schemas.scene_objects import UnknownObject
from .object_tracks import ObjectTracks
from .objects import UnknownRules
from .warm_motion import Change, Look, change_between, distance, has_moved
from .warm_regions import Box, Bytes, WarmRegion, small, warm_regions

LOOK_NS = 190_000_000  # between two looks; below 0.2 s, which stamps miss by a little
REACH_NS = 1_100_000_000  # of a look back: over longer, a scene changes
GAP_NS = 2_000_000_000  # without a pair, after which nothing before counts
LEAST_LOOKS = 2  # successive ones that must see a region move
HOLD_NS = 1_500_000_000  # for which something that moved and now rests is still listed
CLASS_NS = 1_000_000_000  # for which a region that had a class is not unknown
CHANGED = 0.5  # of the contrast: a pixel that changes by less is neither new nor left
MARGIN = 4  # [small px] around a box: small things that are fast still overlap themselves
MOST_TRACKS = 256


@dataclass
class _Track:
    """What is known of a region that overlaps itself from pair to pair."""

    number: int
    places: deque[tuple[int, Box]] = field(default_factory=deque)  # by looks
    known_ns: int | None = None  # when it last had a class
    moved_ns: int | None = None  # when it last moved
    looks: int = 0  # successive ones that saw it move
    speed: float = 0.0  # the highest, in widths of the view a second

    def shows(self, now_ns: int) -> bool:
        """Whether it is to be listed."""
        if self.known_ns is not None and now_ns - self.known_ns < CLASS_NS:
            return False
        return self.moved_ns is not None and now_ns - self.moved_ns < HOLD_NS


class UnknownObjects:
    """Looks at the pairs of one stream, which come in their order."""

    def __init__(self) -> None:
        self._numbers = ObjectTracks()
        self._tracks: dict[int, _Track] = {}
        self._looks: deque[Look] = deque()
        self._last_ns: int | None = None
        self._lock = Lock()  # a jump of the stamps is noticed while earlier pairs are at work

    def forget(self) -> None:
        """Begin anew: what comes next has nothing to be compared with."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        self._numbers.forget()
        self._tracks, self._looks, self._last_ns = {}, deque(), None

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
        regions = warm_regions(
            infrared,
            prediction,
            taxonomy.things,
            pair.infrared.shape[1],
            rules.contrast,
            rules.min_area / scale**2,
        )
        with self._lock:
            tracks = self._follow(regions, stamp_ns)
            if not self._looks or stamp_ns - self._looks[-1].stamp_ns >= LOOK_NS:
                guide = cv2.addWeighted(small(luma(pair.visible)), 0.5, infrared, 0.5, 0)
                warm = tuple(map(_enlarged, regions))
                now = Look(stamp_ns, infrared, cast(Bytes, guide), warm)
                self._look(now, list(zip(tracks, regions, strict=True)), rules)
        return tuple(
            _described(region, track, scale)
            for track, region in zip(tracks, regions, strict=True)
            if track.shows(stamp_ns)
        )

    def _follow(self, regions: Sequence[WarmRegion], stamp_ns: int) -> list[_Track]:
        """The tracks of the next pair's regions."""
        if self._last_ns is not None and not 0 <= stamp_ns - self._last_ns <= GAP_NS:
            self._forget()
        self._last_ns = stamp_ns
        numbers = self._numbers.follow([0] * len(regions), [_enlarged(each) for each in regions])
        tracks = [self._tracks.setdefault(number, _Track(number)) for number in numbers]
        for track, region in zip(tracks, regions, strict=True):
            if region.known:
                track.known_ns = stamp_ns
        self._tracks = dict(sorted(self._tracks.items())[-MOST_TRACKS:])  # numbers rise
        return tracks

    def _look(
        self, now: Look, seen: Sequence[tuple[_Track, WarmRegion]], rules: UnknownRules
    ) -> None:
        """Note which regions moved since an earlier look."""
        while self._looks and now.stamp_ns - self._looks[0].stamp_ns > REACH_NS:
            self._looks.popleft()
        changes: dict[int, Change | None] = {}  # since the look of that stamp
        for track, region in seen:
            before = self._first_of(track)
            if before and not region.known:
                if before.stamp_ns not in changes:
                    levels = CHANGED * rules.contrast
                    changes[before.stamp_ns] = change_between(before, now, levels)
                _note_motion(track, region, now, changes[before.stamp_ns], rules.speed)
            track.places.append((now.stamp_ns, region.box))
        self._looks.append(now)

    def _first_of(self, track: _Track) -> Look | None:
        """The earliest look within reach that has a region; its place is then the first."""
        for look in self._looks:
            while track.places and track.places[0][0] < look.stamp_ns:
                track.places.popleft()
            if track.places and track.places[0][0] == look.stamp_ns:
                return look
        return None


def _note_motion(
    track: _Track, region: WarmRegion, now: Look, change: Change | None, least: float
) -> None:
    """Note whether a region moved since its first place, by `least` widths a second or faster."""
    moved = change is not None and has_moved(region, change)
    if change is not None and moved:
        stamp_ns, place = track.places[0]
        way = distance(place, region.box, change.camera) / now.infrared.shape[1]
        speed = way / (now.stamp_ns - stamp_ns) * 1e9
        moved, track.speed = speed >= least, max(track.speed, speed)
    track.looks = track.looks + 1 if moved else 0
    if track.looks >= LEAST_LOOKS:
        track.moved_ns = now.stamp_ns


def _enlarged(region: WarmRegion) -> Box:
    x, y, wide, high = region.box
    return x - MARGIN, y - MARGIN, wide + 2 * MARGIN, high + 2 * MARGIN


def _described(region: WarmRegion, track: _Track, scale: float) -> UnknownObject:
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
