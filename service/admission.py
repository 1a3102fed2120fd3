"""Who may join the line: as many as allowed, and only what can be done in time."""

import math
from collections import Counter, deque
from collections.abc import Callable
from statistics import fmean
from time import monotonic

from service.errors import Busy, CannotFinish, TooManyOfOne

REMEMBERED = 32  # completions from which rate and latency are taken
FIRST_GUESS_S = 0.1
MARGIN = 1.1  # the next pairs may take longer than the last ones: late is worse than refused


class Place:
    """One pair's place in the line; leaving it twice is leaving it once."""

    def __init__(self, admission: "Admission", client: str) -> None:
        self._admission: Admission | None = admission
        self._client = client

    def leave(self, worked_s: float | None = None) -> None:
        """Free the place; `worked_s` the pair was worked on, waiting apart, if it was answered."""
        if self._admission:
            self._admission._left(self._client, worked_s)
            self._admission = None


class Admission:
    """
    Counts the pairs in the line and predicts from the last ones when a new one would be done.

    Lives on the event loop: nothing here is locked.
    """

    def __init__(
        self,
        max_pending: int,
        max_per_client: int | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.limit(max_pending, max_per_client)
        self.pending = 0
        self._clock = clock
        self._by_client: Counter[str] = Counter()
        self._gaps_s: deque[float] = deque(maxlen=REMEMBERED)
        self._worked_s: deque[float] = deque(maxlen=REMEMBERED)
        self._last_done: float | None = None  # None: the line has been empty since

    def limit(self, max_pending: int, max_per_client: int | None = None) -> None:
        """Take so many pairs at a time, and so many of one client (None: all of them)."""
        self.max_pending = max_pending
        self.max_per_client = max_per_client or max_pending

    def check(self, client: str, deadline_s: float = math.inf) -> None:
        """
        Raise TooManyOfOne, Busy or CannotFinish where a pair due in `deadline_s` has no chance.

        An empty line takes whatever comes: only work renews what is known of the speed.
        """
        if self.pending >= self.max_pending:
            raise Busy(
                f"{self.pending} pairs are in work already; try again", retry_s=self.retry_s()
            )
        own = self._by_client[client]
        if own >= self.max_per_client:
            raise TooManyOfOne(
                f"{own} pairs of this client are in work already, which is all it may have",
                retry_s=self.retry_s(),
            )
        finish_s = self.finish_s()
        if self.pending and finish_s > deadline_s:
            raise CannotFinish(
                f"{self.pending} pairs are before this one: it would take {finish_s * 1000:.0f} "
                f"ms, and {deadline_s * 1000:.0f} are left",
                retry_s=self.retry_s(),
            )

    def enter(self, client: str, deadline_s: float = math.inf) -> Place:
        """Take a place; raises as `check`."""
        self.check(client, deadline_s)
        self.pending += 1
        self._by_client[client] += 1
        return Place(self, client)

    def finish_s(self) -> float:
        """Seconds until a pair that came now should be answered."""
        worked_s = fmean(self._worked_s) if self._worked_s else FIRST_GUESS_S
        return MARGIN * (worked_s + self.pending * self._gap_s())

    def retry_s(self) -> int:
        """Whole seconds until the pairs in the line are done, for Retry-After."""
        return max(1, math.ceil(self.pending * self._gap_s()))

    def _gap_s(self) -> float:
        """Seconds between two completions of a line that never ran dry: one over its rate."""
        return fmean(self._gaps_s) if self._gaps_s else FIRST_GUESS_S

    def _left(self, client: str, worked_s: float | None) -> None:
        now = self._clock()
        self.pending -= 1
        self._by_client[client] -= 1
        if not self._by_client[client]:
            del self._by_client[client]
        if worked_s is not None:
            self._worked_s.append(worked_s)
            if self._last_done is not None:
                self._gaps_s.append(now - self._last_done)
            self._last_done = now
        if not self.pending:
            self._last_done = None
