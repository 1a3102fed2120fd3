"""A live source that is opened again when it ends or fails."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from segmif.backoff import Backoff
from segmif.sources.base import SourceBase
from segmif.sources.frame import Source, SourceError, SourceFrame
from segmif.sources.stamps import LATE_NS, RisingStamps

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 1.0  # a camera that is back must not wait for long
JITTER = 0.5  # share of a pause that is left to chance


@dataclass(frozen=True)
class SourceEvent:
    """A live source gave its first frame (again), or was lost."""

    kind: Literal["connected", "lost"]
    address: str
    why: str = ""  # it was lost
    clock_restarted: bool = False  # its stamps went back; they go on after the last one


def reconnecting(open_it: Callable[[], Source], on_event: Callable[[SourceEvent], None]) -> Source:
    """
    A source that opens a live one again and again; a recording is given as it is.

    `on_event` is called in the thread that reads. Raises SourceError if `open_it` does so at once.
    """
    first = open_it()
    return Reconnecting(first, open_it, on_event) if first.live else first


class Reconnecting(SourceBase):
    """A live source with pauses of 0.25 to 1 s between the tries; its stamps always rise."""

    live = True

    def __init__(
        self,
        first: Source,
        open_it: Callable[[], Source],
        on_event: Callable[[SourceEvent], None],
    ) -> None:
        super().__init__(first.address)
        self._source, self._open, self._on_event = first, open_it, on_event
        self._stamps = RisingStamps(1_000_000, LATE_NS, time.monotonic_ns)
        self._backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S, JITTER)

    def close(self) -> None:
        """End `frames` soon; may be called from any thread."""
        super().close()
        self._source.close()

    def frames(self) -> Iterator[SourceFrame]:
        """Give the newest frames of the source, as long as it is not closed."""
        opened = True  # `first` is
        while not self.closed.is_set():
            why = "it ended"
            try:
                if not opened:
                    self._source = self._open()
                if self.closed.is_set():  # meanwhile: `close` has closed the one before
                    return
                yield from self._connected()
            except SourceError as error:
                why = str(error)
            finally:
                self._source.close()
            if self.closed.is_set():
                return
            self._on_event(SourceEvent("lost", self.address, why))
            self.closed.wait(self._backoff.next_s())
            opened = False

    def _connected(self) -> Iterator[SourceFrame]:
        before = self.dropped - self._stamps.late, self.damaged
        restarts, first = self._stamps.restarts, True
        try:
            for frame in self._source.frames():
                stamp_ns = self._stamps.next(frame.stamp_ns)
                self._count(*before)
                if first:
                    restarted = self._stamps.restarts > restarts
                    self._on_event(SourceEvent("connected", self.address, "", restarted))
                    self._backoff.reset()
                    first = False
                if stamp_ns is not None:
                    yield frame if stamp_ns == frame.stamp_ns else replace(frame, stamp_ns=stamp_ns)
        finally:
            self._count(*before)  # what was lost after the last frame

    def _count(self, dropped: int, damaged: int) -> None:
        """Add what this source and the stamps passed over to the counts before it."""
        self.dropped = dropped + self._source.dropped + self._stamps.late
        self.damaged = damaged + self._source.damaged
