"""The pairs of two recordings, by their stamps."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from segmif.geometry.time_sync import half_period_ns
from segmif.sources.frame import Part, SourceFrame

from .clock import Openers
from .read_ahead import ReadAhead

PERIODS = 8  # of each camera, from which the default tolerance is taken
SINGLE_TOLERANCE_NS = 50_000_000  # if neither has a second frame


@dataclass(frozen=True)
class RecordedPair:
    """Two frames of one moment."""

    sequence: int  # of the pairs of the recordings, from 0
    visible: SourceFrame
    infrared: SourceFrame

    @property
    def name(self) -> str:
        """The visible stamp in digits that sort as time does."""
        return f"{self.visible.stamp_ns:019d}"


class Camera:
    """The frames of one camera, and a look at those to come."""

    def __init__(self, reading: ReadAhead, shift_ns: int) -> None:
        self.reading, self.unpaired = reading, 0
        self.shift_ns = shift_ns  # added to its stamps
        self.passed_ns: int | None = None  # shifted stamp of the last frame taken or dropped
        self._frames, self._seen = iter(reading), deque[SourceFrame]()

    def peek(self, at: int = 0) -> SourceFrame | None:
        """The next frame, or one of those behind it; None: there is no such frame."""
        while len(self._seen) <= at:
            frame = next(self._frames, None)
            if frame is None:
                return None
            self._seen.append(frame)
        return self._seen[at]

    def stamp_ns(self, at: int = 0) -> int | None:
        """The shifted stamp of the frame that `peek` shows [ns]."""
        frame = self.peek(at)
        return frame.stamp_ns + self.shift_ns if frame else None

    def take(self) -> SourceFrame:
        """The next frame, which `peek` has shown."""
        self.passed_ns = self.stamp_ns()
        return self._seen.popleft()

    def drop(self) -> None:
        """Pass over the next frame: it has no partner."""
        self.take()
        self.unpaired += 1

    def stamps(self, count: int) -> list[int]:
        """The shifted stamps of the next frames, if there are so many [ns]."""
        stamps = [self.stamp_ns(at) for at in range(count)]
        return [stamp_ns for stamp_ns in stamps if stamp_ns is not None]


class RecordedPairs:
    """
    Pairs of frames that are each other's nearest in time, within a tolerance.

    Equal recordings always give equal pairs. `offset_ns` is added to infrared stamps; a
    `tolerance_ns` of None is half the period of the faster camera.
    """

    def __init__(
        self, openers: Openers, offset_ns: int = 0, tolerance_ns: int | None = None
    ) -> None:
        """Begin to read; `close` ends it."""
        self.offset_ns, self.tolerance_ns = offset_ns, tolerance_ns
        self.cameras: dict[Part, Camera] = {
            part: Camera(ReadAhead(open_it(), f"read-{part}"), offset_ns * (part == "infrared"))
            for part, open_it in openers.items()
        }
        self.least_gap_ns: int | None = None  # infrared less visible, of frames that did not pair

    def __iter__(self) -> Iterator[RecordedPair]:
        visible, infrared = self.cameras["visible"], self.cameras["infrared"]
        tolerance_ns = self.settle_tolerance()
        sequence = 0
        while (first := visible.stamp_ns()) is not None:
            if (second := infrared.stamp_ns()) is None:
                return
            skew_ns = second - first
            older, newer = (visible, infrared) if skew_ns > 0 else (infrared, visible)
            if abs(skew_ns) <= tolerance_ns and are_nearest(older, newer):
                yield RecordedPair(sequence, visible.take(), infrared.take())
                sequence += 1
                continue
            if self.least_gap_ns is None or abs(skew_ns) < abs(self.least_gap_ns):
                self.least_gap_ns = skew_ns
            older.drop()

    def close(self) -> None:
        """End reading."""
        for camera in self.cameras.values():
            camera.reading.close()

    def settle_tolerance(self) -> int:
        """The largest skew of a pair [ns], from the first frames if it is not stated."""
        if self.tolerance_ns is None:
            stamps = [each.stamps(PERIODS + 1) for each in self.cameras.values()]
            try:
                self.tolerance_ns = half_period_ns(*(np.array(each) for each in stamps))
            except ValueError:
                self.tolerance_ns = SINGLE_TOLERANCE_NS
        return self.tolerance_ns


def are_nearest(older: Camera, newer: Camera) -> bool:
    """Whether the next frames of two cameras are each other's nearest; of two the earlier one."""
    first, second = older.stamp_ns(), newer.stamp_ns()
    assert first is not None and second is not None
    gap_ns, after = second - first, older.stamp_ns(1)
    if after is not None and abs(after - second) < gap_ns:
        return False
    return newer.passed_ns is None or first - newer.passed_ns > gap_ns
