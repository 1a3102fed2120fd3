"""The queues of pairs, and the threads that decode, align and encode them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TypeVar

from ..pipeline.pair_rules import PairRules
from ..settings import Settings
from .admission import Admission, QueueSlot
from .camera_streams import QueuedPair
from .fairness import RankedSemaphore
from .pair_request import PairRequest
from .worker_threads import HEAVY_NICE, Workers

CODEC_THREADS = 2
VIEWER_THREADS = 2
HEAVY_PAIRS = "pairs with refine or a depth_m that was not in use"

T = TypeVar("T")


class PairQueues:
    """
    Every pair has a slot in the queue `all`.

    A heavy pair orders much more work than others. It has a slot in the queue `heavy` as well, and
    its work has a thread of its own.
    """

    def __init__(self, settings: Settings) -> None:
        heavy = settings.max_heavy_pending
        self.all = Admission(settings.max_pending, settings.pending_of_one)
        self.heavy = Admission(heavy, heavy, what=HEAVY_PAIRS)
        self.codecs = Workers(CODEC_THREADS, "codec")
        # Of their own: else pairs on their way to the network would wait for pictures of the page.
        self.viewers = Workers(VIEWER_THREADS, "viewer")
        self._heavy_codecs = Workers(1, "heavy", HEAVY_NICE)
        self._order = RankedSemaphore(CODEC_THREADS)
        self._heavy_order = RankedSemaphore(1)

    def limit(self, settings: Settings) -> None:
        """Take new limits."""
        self.all.limit(settings.max_pending, settings.pending_of_one)
        self.heavy.limit(settings.max_heavy_pending, settings.max_heavy_pending)

    @contextmanager
    def enter(self, pair: PairRequest, heavy: bool) -> Iterator[QueuedPair]:
        """Hold the slots of a pair; raises as `Admission.check`."""
        client, left_s = pair.client, pair.due - monotonic()
        self.all.check(client, left_s)  # before a slot of another client is taken for nothing
        heavy_slot = self.heavy.enter(client, left_s) if heavy else None
        slots = [heavy_slot] if heavy_slot else []
        try:
            slot = self.all.enter(client, left_s)
            slots.append(slot)
            queued = QueuedPair(pair, slot, heavy_slot)
            for each in slots:
                each.holder = queued
            yield queued
        finally:
            for each in slots:
                each.leave()

    def may_do_at_once(self, pair: PairRequest, rules: PairRules) -> bool:
        """
        Whether the event loop may decode, check and answer a pair itself.

        The ways to a thread and back take as long as a brief pair's work. With others in work
        the loop has more to do than to wait.
        """
        return self.all.pending == 1 and rules.is_plain and pair.is_brief

    async def run(self, slot: QueueSlot, function: Callable[[], T]) -> T:
        """Call a function in a thread of the slot's queue; the lowest rank comes first."""
        heavy = slot.is_of(self.heavy)
        workers = self._heavy_codecs if heavy else self.codecs
        async with (self._heavy_order if heavy else self._order).hold(slot.rank):
            return await workers.run(function)

    def close(self) -> None:
        """Wait for what runs, then end the threads."""
        self.codecs.close()
        self.viewers.close()
        self._heavy_codecs.close()
