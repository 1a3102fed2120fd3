"""Regions that are much warmer than their surroundings, have no class, and move."""

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ...pipeline.object_tracks import ObjectTracks
from .rules import WarmRule
from .view import Box, View

WIDTH = 320  # pixels at which it looks: noise averages out, and it takes a millisecond
SURROUNDINGS = 4  # of the width in one side of the window whose mean is compared with
NEAR_CLASS = 9  # pixels around a known object: its outline is warm too
REACH_S = 2.0  # for which positions are remembered
SURE_SHIFT = 0.1  # response of the phase correlation, below which the camera's motion is unknown
MOST_REGIONS = 64


@dataclass(frozen=True)
class WarmRegion:
    """A region in pixels of the visible frame."""

    area: int
    box: Box
    centroid: tuple[float, float]
    track: int


@dataclass(frozen=True)
class _Found:
    area: float
    box: Box
    centroid: tuple[float, float]


class WarmRegions:
    """Follows warm regions; one that has moved counts as moving until it is gone."""

    def __init__(self, rule: WarmRule) -> None:
        self._rule = rule
        self._tracks = ObjectTracks()
        self._last: NDArray[np.float32] | None = None
        self._camera = np.zeros(2)  # how far the picture has moved since the start, x and y
        self._ways: dict[int, deque[tuple[float, NDArray[np.float64]]]] = {}
        self._movers: set[int] = set()

    def moving(self, view: View) -> list[WarmRegion]:
        """The regions of a result that have moved."""
        if not view.shows_infrared:
            self._last = None
            return []
        pair, labels = view.result.result.prepared.pair, view.result.result.prediction.labels
        width = min(WIDTH, pair.infrared.shape[1])
        scale = view.size[1] / width
        size = width, max(1, round(view.size[0] / scale))
        small = np.asarray(cv2.resize(pair.infrared, size, interpolation=cv2.INTER_AREA), np.uint8)
        things = view.result.taxonomy.things
        known = np.isin(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST), things)
        self._follow_camera(np.asarray(small, np.float32))
        least = self._rule.min_area / 2 / scale**2
        found = _warm(small, known.astype(np.uint8), self._rule.contrast, least)
        tracks = self._tracks.follow([0] * len(found), [each.box for each in found])
        self._follow(view.result.stamp_ns / 1e9, tracks, found, size[0])
        return [
            _scaled(each, track, scale)
            for each, track in zip(found, tracks, strict=True)
            if track in self._movers
        ]

    def _follow_camera(self, small: NDArray[np.float32]) -> None:
        """Add how far the whole picture has moved; forget all ways if that is not known."""
        last, self._last = self._last, small
        if last is None or last.shape != small.shape:
            self._ways.clear()
            return
        window = cv2.createHanningWindow(small.shape[::-1], cv2.CV_32F)
        shift, response = cv2.phaseCorrelate(last, small, window)
        if response < SURE_SHIFT:
            self._ways.clear()
        self._camera += shift

    def _follow(self, now_s: float, tracks: list[int], found: list[_Found], width: int) -> None:
        ways = {track: self._ways.get(track, deque(maxlen=256)) for track in tracks}
        for track, each in zip(tracks, found, strict=True):
            way, place = ways[track], np.array(each.centroid) - self._camera
            while way and not 0 <= now_s - way[0][0] <= REACH_S:
                way.popleft()
            way.append((now_s, place))
            if np.hypot(*(place - way[0][1])) >= self._rule.min_move * width:
                self._movers.add(track)
        self._ways = ways  # a region that is hidden for one result begins anew
        # `ObjectTracks` may give a number again after some results; numbers rise.
        self._movers = set(sorted(self._movers)[-MOST_REGIONS:])


def _warm(
    small: NDArray[np.uint8], known: NDArray[np.uint8], contrast: int, least: float
) -> list[_Found]:
    """The regions of a small picture (h, w) that exceed their surroundings, without known ones."""
    window = max(3, small.shape[1] // SURROUNDINGS) | 1
    surroundings = cv2.blur(small, (window, window))
    beyond = cv2.subtract(small, surroundings)
    _, warm = cv2.threshold(beyond, contrast, 255, cv2.THRESH_BINARY)
    warm[cv2.dilate(known, np.ones((NEAR_CLASS, NEAR_CLASS), np.uint8)) > 0] = 0
    count, _, stats, centroids = cv2.connectedComponentsWithStats(warm, connectivity=8)
    areas = stats[1:count, cv2.CC_STAT_AREA]
    order = [n + 1 for n in np.argsort(areas)[::-1][:MOST_REGIONS].tolist() if areas[n] >= least]
    return [
        _Found(
            float(stats[n, cv2.CC_STAT_AREA]),
            (int(stats[n, 0]), int(stats[n, 1]), int(stats[n, 2]), int(stats[n, 3])),
            (float(centroids[n, 0]), float(centroids[n, 1])),
        )
        for n in order
    ]


def _scaled(each: _Found, track: int, scale: float) -> WarmRegion:
    left, top, width, height = (round(value * scale) for value in each.box)
    x, y = ((value + 0.5) * scale - 0.5 for value in each.centroid)
    return WarmRegion(round(each.area * scale**2), (left, top, width, height), (x, y), track)
