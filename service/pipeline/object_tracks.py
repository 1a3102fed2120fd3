"""Numbers for objects that stay the same from pair to pair: by the overlap of their boxes."""

from collections.abc import Iterable, Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

LEAST_IOU = 0.1  # a person that is 10 px wide may walk 8 px a pair
KEPT_PAIRS = 10  # for which a track waits for its object
MOST_TRACKS = 256

Box = tuple[int, int, int, int]  # left, top, width, height


class ObjectTracks:
    """
    The tracks of one stream; threads may share it.

    A box gets the track of its class whose last box it overlaps most (intersection over union of
    at least 0.1), else a new one. A track that nothing overlapped in ten pairs ends. Nothing is
    predicted: what moves by more than its size between two pairs gets a new track.
    """

    def __init__(self) -> None:
        self._ids = np.zeros(0, np.int64)
        self._classes = np.zeros(0, np.int64)
        self._boxes = np.zeros((0, 4))
        self._ages = np.zeros(0, np.int64)  # pairs since it was seen
        self._next = 1
        self._lock = Lock()

    def follow(self, classes: Sequence[int], boxes: Sequence[Box]) -> list[int]:
        """The track of each object of the next pair: its class id and its box."""
        with self._lock:
            now, kinds = _array(boxes), np.array(classes, np.int64)
            same = kinds[:, None] == self._classes[None]
            overlaps = np.where(same, iou(now, self._boxes), 0.0)
            tracks = self._assign(overlaps)
            self._remember(tracks, kinds, now)
            return tracks

    def resume(self, tracks: Sequence[int], classes: Sequence[int], boxes: Sequence[Box]) -> None:
        """Take the tracks of a pair as they were given before."""
        with self._lock:
            self._next = max([self._next, *(track + 1 for track in tracks)])
            self._remember(tracks, np.array(classes, np.int64), _array(boxes))

    def forget(self) -> None:
        """End all tracks; their numbers are not given again."""
        with self._lock:
            self._remember([], np.zeros(0, np.int64), _array([]), keep=False)

    def _assign(self, overlaps: NDArray[np.float64]) -> list[int]:
        """Tracks by the largest overlap first; `overlaps` is (objects, tracks)."""
        chosen: dict[int, int] = {}
        taken: set[int] = set()
        for at in np.argsort(overlaps, axis=None)[::-1]:
            row, column = divmod(int(at), overlaps.shape[1])
            if overlaps[row, column] < LEAST_IOU:
                break
            if row not in chosen and column not in taken:
                chosen[row] = int(self._ids[column])
                taken.add(column)
        return [chosen[row] if row in chosen else self._new() for row in range(len(overlaps))]

    def _new(self) -> int:
        self._next += 1
        return self._next - 1

    def _remember(
        self,
        tracks: Sequence[int],
        classes: NDArray[np.int64],
        boxes: NDArray[np.float64],
        *,
        keep: bool = True,
    ) -> None:
        ids = np.array(tracks, np.int64)
        ages = self._ages + 1
        old = ~np.isin(self._ids, ids) & (ages <= KEPT_PAIRS) & keep
        self._ids = np.concatenate([ids, self._ids[old]])[:MOST_TRACKS]
        self._classes = np.concatenate([classes, self._classes[old]])[:MOST_TRACKS]
        self._boxes = np.concatenate([boxes, self._boxes[old]])[:MOST_TRACKS]
        self._ages = np.concatenate([np.zeros_like(ids), ages[old]])[:MOST_TRACKS]


def _array(boxes: Iterable[Box]) -> NDArray[np.float64]:
    return np.array(list(boxes), np.float64).reshape(-1, 4)


def iou(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of boxes (n, 4) and (m, 4): (n, m)."""
    ends = [
        np.minimum.outer(one[:, k] + one[:, k + 2], other[:, k] + other[:, k + 2]) for k in (0, 1)
    ]
    starts = [np.maximum.outer(one[:, k], other[:, k]) for k in (0, 1)]
    width, height = (np.maximum(end - start, 0) for end, start in zip(ends, starts, strict=True))
    shared = width * height
    areas = [boxes[:, 2] * boxes[:, 3] for boxes in (one, other)]
    return np.asarray(shared / np.maximum(np.add.outer(*areas) - shared, 1e-9))
