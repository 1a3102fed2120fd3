"""A sink that failed is left alone for a growing pause, then tried again."""

import time
from collections.abc import Callable

from segmif.backoff import Backoff

from ..live_result import LiveResult
from .sink import Sink, SinkError

FIRST_S, LONGEST_S = 0.5, 8.0


class Retrying:
    """
    Tries a sink again after a failure, with backoff.

    What comes during the pause is dropped and counted. An error is raised for each try, not for
    each result.
    """

    def __init__(self, sink: Sink, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = sink.name
        self._sink, self._clock = sink, clock
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
        try:
            self._sink.write(result)
        except (SinkError, OSError):
            self._dropped += 1
            self._again = self._clock() + self._backoff.next_s()
            raise
        self._backoff.reset()

    def close(self) -> None:
        """Finish the sink."""
        self._sink.close()
