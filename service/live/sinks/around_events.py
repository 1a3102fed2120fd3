"""Records results around events: some seconds before, all of the event, some seconds after."""

import logging
from collections import deque

from ..live_result import LiveResult
from .settings import AroundEvents
from .sink import Sink

CATCH_UP = 3  # results that are written for one that comes, until none waits

logger = logging.getLogger(__name__)


class EventRecording:
    """
    Keeps the newest results in bounded memory, and hands those around events to another sink.

    That sink is closed after each event, so that each has files of its own; events that overlap
    share them. The results before an event are written a few at a time, so that this sink keeps
    pace with its rig.
    """

    def __init__(self, sink: Sink, settings: AroundEvents) -> None:
        self.name = f"{sink.name} around events"
        self._sink = sink
        self._settings = settings
        self._before_ns = round(settings.before_s * 1e9)
        self._after_ns = round(settings.after_s * 1e9)
        self._most_bytes = settings.memory_mb * 1e6
        self._kept: deque[LiveResult] = deque()
        self._bytes = 0
        self._wanted = 0  # of the kept ones: the oldest, which are to be written
        self._until_ns: int | None = None  # stamp up to which results are wanted
        self._open = False  # the other sink has a file
        self._short = self._said = False  # memory was too small for `before_s`; the log has it
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """Results around events that were not written."""
        return self._dropped + self._sink.dropped

    def write(self, result: LiveResult) -> None:
        """Take a result; raises what the other sink raises."""
        self._keep(result)
        self._forget_old()
        self._forget_much()
        if result.in_event:
            if self._until_ns is None and not self._open:
                self._say_what_is_missing()
            self._until_ns = result.stamp_ns + self._after_ns
        # Stamps that go back end what was wanted, too.
        if self._until_ns is not None and 0 <= self._until_ns - result.stamp_ns <= self._after_ns:
            self._wanted = len(self._kept)
        else:
            self._until_ns = None
        for _ in range(min(CATCH_UP, self._wanted)):
            self._write_oldest()
        if self._open and not self._wanted and self._until_ns is None:
            self._close()

    def close(self) -> None:
        """Write what is wanted and close the other sink."""
        while self._wanted:
            self._write_oldest()
        self._close()

    def _say_what_is_missing(self) -> None:
        if not self._short or self._said:
            return
        self._said = True
        held_s = (self._kept[-1].stamp_ns - self._kept[0].stamp_ns) / 1e9
        wanted = self._settings
        logger.warning(
            "%s: memory_mb = %g holds %.1f s before an event, and before_s is %g: raise memory_mb",
            *(self.name, wanted.memory_mb, held_s, wanted.before_s),
        )

    def _keep(self, result: LiveResult) -> None:
        self._kept.append(result)
        self._bytes += result.nbytes

    def _forget_old(self) -> None:
        """Let go what is too old, unless it is to be written."""
        newest_ns = self._kept[-1].stamp_ns
        while not self._wanted and not 0 <= newest_ns - self._kept[0].stamp_ns <= self._before_ns:
            self._take()

    def _forget_much(self) -> None:
        """Let go what is too much; of what is to be written the oldest is dropped and counted."""
        while self._bytes > self._most_bytes and len(self._kept) > 1:
            self._take()
            if self._wanted:
                self._wanted -= 1
                self._dropped += 1
            else:
                self._short = True

    def _take(self) -> LiveResult:
        oldest = self._kept.popleft()
        self._bytes -= oldest.nbytes
        return oldest

    def _write_oldest(self) -> None:
        self._wanted -= 1
        self._open = True
        self._sink.write(self._take())

    def _close(self) -> None:
        self._open = False
        self._sink.close()
