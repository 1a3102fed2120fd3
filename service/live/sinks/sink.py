"""A sink takes results; a bounded queue of its own keeps it from holding up the others."""

import time
from collections.abc import Callable
from queue import Empty, Full, Queue
from threading import Thread
from typing import Protocol

from ..live_result import LiveResult
from .sink_error import SinkError as SinkError

WAITING = 8  # results that a sink may be behind
CLOSE_S = 10.0  # for what waits when a sink is closed
CLOSE_LOSSLESS_S = 45.0  # the same if nothing may be lost: a sink that fails is tried for 30 s


class Sink(Protocol):
    """Takes the results of one rig, in their order, in a thread of its own."""

    name: str  # for logs and metrics, such as `video out/`; without a password

    @property
    def dropped(self) -> int:
        """Results that it could not write."""

    def write(self, result: LiveResult) -> None:
        """Take a result; may block. Raises SinkError or OSError, and may be called again."""

    def close(self) -> None:
        """Finish what was begun."""


class SinkThread:
    """Hands results to a sink in a thread; of too many that wait the oldest is dropped."""

    def __init__(
        self, sink: Sink, failed: Callable[[Exception], None], *, lossless: bool = False
    ) -> None:
        """
        `failed` gets what `write` raises, once until it works again.

        A `lossless` one makes `put` wait instead.
        """
        self.sink = sink
        self.error: str | None = None  # in force: of the last result that was tried
        self._dropped = 0
        self._failed, self._lossless = failed, lossless
        self._waiting: Queue[LiveResult | None] = Queue(WAITING)
        self._thread = Thread(target=self._work, name=f"sink-{sink.name}", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Results that were not written: the sink was behind, or could not write."""
        return self._dropped + self.sink.dropped

    def put(self, result: LiveResult) -> None:
        """Queue a result."""
        while True:
            try:
                self._waiting.put(result, block=self._lossless)
                return
            except Full:
                try:
                    self._waiting.get_nowait()
                    self._dropped += 1
                except Empty:
                    pass

    def offer(self, result: LiveResult) -> None:
        """Queue a result if there is room; else it is dropped and counted."""
        try:
            self._waiting.put_nowait(result)
        except Full:
            self._dropped += 1

    def close(self, timeout_s: float | None = None) -> bool:
        """Write what waits and close the sink; gives whether it ended in time."""
        if timeout_s is None:
            timeout_s = CLOSE_LOSSLESS_S if self._lossless else CLOSE_S
        due = time.monotonic() + timeout_s
        try:
            self._waiting.put(None, timeout=timeout_s)
        except Full:  # it takes nothing any more
            return False
        self._thread.join(max(0.0, due - time.monotonic()))
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (result := self._waiting.get()) is not None:
            before = self.sink.dropped
            try:
                self.sink.write(result)
            except Exception as error:  # a sink that fails must not end the others
                self._note(error)
            else:
                if self.sink.dropped == before:
                    self.error = None
        try:
            self.sink.close()
        except Exception as error:
            self._note(error)

    def _note(self, error: Exception) -> None:
        if str(error) != self.error:
            self.error = str(error)
            self._failed(error)
