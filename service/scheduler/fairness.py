"""Fair queueing: which client's pair is next, by their shares of the queue now and recently."""

import asyncio
import math
from bisect import insort
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import NamedTuple

RECENT_S = 60.0  # in which an answered pair counts less and less: to 37 % after this time
KEPT_CLIENTS = 1024  # whose pairs of late are remembered


class Load(NamedTuple):
    """How many pairs a client has, first by what is in the queue."""

    in_queue: int
    recent: float  # and those answered in the last minute, the older the less


class FairShares:
    """
    What each client has of the queue, and the rank of its next pair.

    Ranks are those of start-time fair queueing: the first pair of each client, then the second of
    each. The pairs of one client keep their order.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._in_queue: Counter[str] = Counter()
        self._recent: dict[str, tuple[float, float]] = {}  # pairs of late, as of when; oldest first
        self._highest: dict[str, int] = {}  # rank that each client was given
        self._answered = 0  # rank of the last pair that was answered

    def of(self, client: str) -> int:
        """Pairs of a client that are in the queue."""
        return self._in_queue[client]

    def load(self, client: str) -> "Load":
        """What a client has and had."""
        now = self._in_queue[client]
        return Load(now, now + self._of_late(client))

    def next_rank(self, client: str) -> int:
        """The rank of a client's next pair."""
        return max(self._answered, self._highest.get(client, -1) + 1)

    def enter(self, client: str) -> int:
        """Count a pair; returns its rank, the lowest of which is next."""
        rank = self.next_rank(client)
        self._in_queue[client] += 1
        self._highest[client] = rank
        return rank

    def leave(self, client: str, rank: int, answered: bool) -> None:
        """Count a pair no longer, except as one of late if it was answered."""
        self._in_queue[client] -= 1
        if not self._in_queue[client]:
            del self._in_queue[client]
        if answered:
            self._answered = max(self._answered, rank)
            pairs = self._of_late(client) + 1
            self._recent.pop(client, None)
            self._recent[client] = pairs, self._clock()
            if len(self._recent) > KEPT_CLIENTS:
                del self._recent[next(iter(self._recent))]
        if not self._in_queue:
            self._answered = 0
            self._highest.clear()

    def _of_late(self, client: str) -> float:
        pairs, then = self._recent.get(client, (0.0, 0.0))
        return pairs * math.exp((then - self._clock()) / RECENT_S) if pairs else 0.0


class RankedSemaphore:
    """Lets so many in at a time, and of those who wait the lowest rank first."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = count()  # of equal ranks, the first that came

    @asynccontextmanager
    async def hold(self, rank: int) -> AsyncIterator[None]:
        """Wait for a place, and free it in the end."""
        await self._enter(rank)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, rank: int) -> None:
        if self._free:
            self._free -= 1
            return
        queued = asyncio.get_running_loop().create_future()
        entry = (rank, next(self._numbers), queued)
        insort(self._waiting, entry)
        try:
            await queued
        except asyncio.CancelledError:
            if queued.cancelled():
                self._waiting = [each for each in self._waiting if each is not entry]
            else:
                self._leave()  # it was let in at the same moment
            raise

    def _leave(self) -> None:
        while self._waiting:
            queued = self._waiting.pop(0)[2]
            if not queued.done():  # else it was cancelled
                queued.set_result(None)
                return
        self._free += 1
