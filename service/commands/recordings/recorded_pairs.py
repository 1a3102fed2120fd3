"""The pairs of two recordings, by their stamps."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from segmif.geometry.time_sync import half_period_ns
from segmif.sources.frame import Part, Source, SourceFrame

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
        self._frames, self._seen = iter(reading), deque[SourceFrame]()

    def peek(self, at: int = 0) -> SourceFrame | None:
        """The next frame, or one of those behind it; None: there is no such frame."""
        while len(self._seen) <= at:
            frame = next(self._frames, None)
            if frame is None:
                return None
            self._seen.append(frame)
        return self._seen[at]

    def take(self) -> SourceFrame:
        """The next frame, which `peek` has shown."""
        return self._seen.popleft()

    def drop(self) -> None:
        """Pass over the next frame: it has no partner."""
        self._seen.popleft()
        self.unpaired += 1

    def stamps(self, count: int) -> list[int]:
        """The shifted stamps of the next frames, if there are so many [ns]."""
        frames = [self.peek(at) for at in range(count)]
        return [frame.stamp_ns + self.shift_ns for frame in frames if frame]


class RecordedPairs:
    """
    Pairs of frames that are each other's nearest in time, within a tolerance.

    Equal recordings always give equal pairs. `offset_ns` is added to infrared stamps; a
    `tolerance_ns` of None is half the period of the faster camera.
    """

    def __init__(
        self, sources: Mapping[Part, Source], offset_ns: int = 0, tolerance_ns: int | None = None
    ) -> None:
        """Begin to read; `close` ends it."""
        self.offset_ns, self.tolerance_ns = offset_ns, tolerance_ns
        self.cameras: dict[Part, Camera] = {
            part: Camera(ReadAhead(source, f"read-{part}"), offset_ns * (part == "infrared"))
            for part, source in sources.items()
        }
        self.least_gap_ns: int | None = None  # infrared less visible, of frames that did not pair

    def __iter__(self) -> Iterator[RecordedPair]:
        visible, infrared = self.cameras["visible"], self.cameras["infrared"]
        tolerance_ns = self._tolerance_ns()
        sequence = 0
        while (first := visible.peek()) and (second := infrared.peek()):
            skew_ns = second.stamp_ns + self.offset_ns - first.stamp_ns
            older = visible if skew_ns > 0 else infrared
            if abs(skew_ns) <= tolerance_ns and not self._is_nearer(older, skew_ns):
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

    def _is_nearer(self, older: Camera, skew_ns: int) -> bool:
        """Whether the older camera's following frame is nearer to the other camera's."""
        now, after = older.peek(), older.peek(1)
        assert now
        return bool(after and abs(after.stamp_ns - now.stamp_ns - abs(skew_ns)) < abs(skew_ns))

    def _tolerance_ns(self) -> int:
        if self.tolerance_ns is None:
            stamps = [each.stamps(PERIODS + 1) for each in self.cameras.values()]
            try:
                self.tolerance_ns = half_period_ns(*(np.array(each) for each in stamps))
            except ValueError:
                self.tolerance_ns = SINGLE_TOLERANCE_NS
        return self.tolerance_ns
