"""A sink that failed is left alone for a growing pause, then tried again."""

import time
from collections.abc import Callable

from segmif.backoff import Backoff

from ..live_result import LiveResult
from .sink import Sink, SinkError

FIRST_S, LONGEST_S = 0.5, 8.0
LOSSLESS_S = 30.0  # for which a result waits for its sink, if none may be lost


class Retrying:
    """
    Tries a sink again after a failure, with backoff.

    What comes during the pause is dropped and counted. An error is raised for each try, not for
    each result.
    """

    def __init__(
        self,
        sink: Sink,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        *,
        lossless: bool = False,
    ) -> None:
        """If it is `lossless`, a result is tried again for half a minute before any is dropped."""
        self.name = sink.name
        self._sink, self._clock, self._sleep = sink, clock, sleep
        self._lossless = lossless
        self._failing_since: float | None = None
        self._dropped = 0
        self._backoff, self._again = Backoff(FIRST_S, LONGEST_S), -float("inf")

    @property
    def dropped(self) -> int:
        """Results that were not written."""
        return self._dropped + self._sink.dropped

    def write(self, result: LiveResult) -> None:
        """Write a result unless the sink rests; raises what the sink raises."""
        if self._clock() < self._again:
            self._dropped += 1
            return
        while True:
            try:
                self._sink.write(result)
            except (SinkError, OSError):
                self._rest()
                if not self._waits():
                    self._dropped += 1
                    raise
                self._sleep(max(0.0, self._again - self._clock()))
            else:
                self._backoff.reset()
                self._failing_since = None
                return

    def _rest(self) -> None:
        """Begin a pause that is longer than the last one."""
        now = self._clock()
        self._failing_since = now if self._failing_since is None else self._failing_since
        self._again = now + self._backoff.next_s()

    def _waits(self) -> bool:
        """Whether the result waits for the sink to work again."""
        assert self._failing_since is not None  # `_rest` was called
        return self._lossless and self._clock() - self._failing_since < LOSSLESS_S

    def close(self) -> None:
        """Finish the sink."""
        self._sink.close()
