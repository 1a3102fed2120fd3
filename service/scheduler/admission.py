"""Admission to the queue: as many pairs as allowed, and only those that can finish in time."""

import math
from collections import deque
from collections.abc import Callable
from statistics import fmean
from time import monotonic
from typing import Protocol

from ..errors import Busy, CannotFinish, TooManyOfOne
from .fairness import FairShares

REMEMBERED = 32  # completions from which rate and latency are taken
FIRST_GUESS_S = 0.1
MUCH_MORE = 2  # pairs that a client has over another before it yields a slot to it
MARGIN = 1.1  # the next pairs may take longer than the last ones: late is worse than refused


class QueueSlot:
    """One pair's slot in the queue; leaving it twice is leaving it once."""

    def __init__(self, admission: "Admission", client: str, rank: int) -> None:
        self._admission: Admission | None = admission
        self.client = client
        self.rank = rank  # the lowest is next, of equal ones the first that came
        self.holder: SlotHolder | None = None

    def is_of(self, admission: "Admission") -> bool:
        """Whether it is a slot of this queue."""
        return self._admission is admission

    @property
    def may_yield_slot(self) -> bool:
        """Whether another pair may still take it, or go before it."""
        return self.holder is not None and self.holder.may_yield_slot()

    def leave(self, worked_s: float | None = None) -> None:
        """Free the slot; `worked_s`: seconds of work, without waits, if the pair was answered."""
        if self._admission:
            self._admission._left(self, worked_s)
            # Not in a cycle, which would keep the pair and its answer until Python looks for some.
            self._admission = self.holder = None


class SlotHolder(Protocol):
    """The holder of a slot."""

    def may_yield_slot(self) -> bool:
        """Whether the network has not begun with the pair."""

    def yield_slot(self, retry_s: int) -> None:
        """Leave the slot to another client's pair; this one may come again in `retry_s`."""


class Admission:
    """
    Counts the pairs in the queue and predicts from the last ones when a new one would be done.

    Clients share the queue: if it is full, a client with few pairs takes the last slot of the one
    with most. Their pairs of the last minute decide if they differ by one pair.

    Lives on the event loop: nothing here is locked.
    """

    def __init__(
        self,
        max_pending: int,
        max_per_client: int,
        clock: Callable[[], float] = monotonic,
        what: str = "pairs",
    ) -> None:
        self.limit(max_pending, max_per_client)
        self.entered = 0  # pairs, since the start
        self._clock = clock
        self._what = what
        self._slots: dict[QueueSlot, None] = {}  # as they came
        self._shares = FairShares(clock)
        self._gaps_s: deque[float] = deque(maxlen=REMEMBERED)
        self._worked_s: deque[float] = deque(maxlen=REMEMBERED)
        self._last_done: float | None = None  # None: the queue has been empty since

    @property
    def pending(self) -> int:
        """How many pairs are in the queue."""
        return len(self._slots)

    def limit(self, max_pending: int, max_per_client: int) -> None:
        """Take so many pairs at a time, and so many of one client."""
        self.max_pending = max_pending
        self.max_per_client = max_per_client

    def check(self, client: str, deadline_s: float = math.inf) -> None:
        """
        Raise TooManyOfOne, Busy or CannotFinish if a pair due in `deadline_s` has no chance.

        An empty queue takes every pair: only work updates the measured speed.
        """
        if self.pending >= self.max_pending and not self._greediest(client):
            raise Busy(
                f"{self.pending} {self._what} are in work already; try again",
                retry_s=self.retry_s(),
            )
        own = self._shares.of(client)
        if own >= self.max_per_client:
            raise TooManyOfOne(
                f"{own} {self._what} of this client are in work already, which is all it may have",
                retry_s=self.retry_s(),
            )
        if not self.pending:
            return
        before = self._before(client)
        finish_s = self.finish_s(before)
        if finish_s > deadline_s:
            raise CannotFinish(
                f"{before} {self._what} are before this one: it would take "
                f"{finish_s * 1000:.0f} ms, and {deadline_s * 1000:.0f} are left",
                retry_s=self.retry_s(),
            )

    def enter(self, client: str, deadline_s: float = math.inf) -> QueueSlot:
        """Take a slot, perhaps that of a greedier client; raises as `check`."""
        self.check(client, deadline_s)
        if self.pending >= self.max_pending:
            greediest = self._greediest(client)
            assert greediest and greediest.holder  # else `check` has raised
            greediest.holder.yield_slot(self.retry_s())
        slot = QueueSlot(self, client, self._shares.enter(client))
        self._slots[slot] = None
        self.entered += 1
        return slot

    def _greediest(self, client: str) -> QueueSlot | None:
        """
        The last slot of the client with most; None unless it has much more than `client`.

        That client must have more in the queue than `client` may have. So a client that
        sends one pair at a time does not yield to the flood of a new one.
        """
        waiting = [slot for slot in self._slots if slot.client != client and slot.may_yield_slot]
        load = {each: self._shares.load(each) for each in {slot.client for slot in waiting}}
        if not load:
            return None
        most = max(load, key=lambda each: load[each])
        its, own = load[most], self._shares.load(client)
        more = its.in_queue - own.in_queue
        if more < MUCH_MORE and not (more > 0 and its.recent - own.recent >= MUCH_MORE):
            return None
        return next(slot for slot in reversed(waiting) if slot.client == most)

    def _before(self, client: str) -> int:
        """How many pairs of the queue come before the next one of a client."""
        rank = self._shares.next_rank(client)
        return sum(slot.rank <= rank or not slot.may_yield_slot for slot in self._slots)

    def finish_s(self, before: int) -> float:
        """Seconds until a pair behind so many others should be answered."""
        worked_s = fmean(self._worked_s) if self._worked_s else FIRST_GUESS_S
        return MARGIN * (worked_s + before * self._gap_s())

    def retry_s(self) -> int:
        """Whole seconds until the pairs in the queue are done, for Retry-After."""
        return max(1, math.ceil(self.pending * self._gap_s()))

    def _gap_s(self) -> float:
        """Seconds between two completions of a queue that was never empty: one over its rate."""
        return fmean(self._gaps_s) if self._gaps_s else FIRST_GUESS_S

    def _left(self, slot: QueueSlot, worked_s: float | None) -> None:
        now = self._clock()
        del self._slots[slot]
        self._shares.leave(slot.client, slot.rank, worked_s is not None)
        if worked_s is not None:
            self._worked_s.append(worked_s)
            if self._last_done is not None:
                self._gaps_s.append(now - self._last_done)
            self._last_done = now
        if not self.pending:
            self._last_done = None
