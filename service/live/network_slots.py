"""When a rig gives the network its next pair: early enough to be ready, late enough to be new."""

import asyncio
from collections import deque
from collections.abc import Mapping
from statistics import median
from time import monotonic

from ..scheduler.batching import Batcher

AT_NETWORK = 2  # pairs of a rig: one is prepared while the network has the other
IN_WORK = 4  # the same, with those that have left the network and wait for memory and objects
REMEMBERED = 8  # pairs, the median of which says how long preparing takes


class NetworkSlots:
    """The slots of one rig's pairs at the network and behind it; lives on the event loop."""

    def __init__(self, batcher: Batcher, *, lossless: bool) -> None:
        """`lossless`: no pair is worth less for being old, so none waits to be begun."""
        self.batcher, self._lossless = batcher, lossless
        self.at_network = asyncio.Semaphore(AT_NETWORK)
        self.in_work = asyncio.Semaphore(IN_WORK)
        self.prepared_s: deque[float] = deque(maxlen=REMEMBERED)

    async def wait(self) -> "NetworkSlot":
        """Wait until a pair that is begun now is prepared when the network is free."""
        await self.in_work.acquire()
        await self.at_network.acquire()
        if not self._lossless:
            await self.batcher.nearly_free(median(self.prepared_s) if self.prepared_s else 0.0)
        return NetworkSlot(self)


class NetworkSlot:
    """One pair's slot."""

    def __init__(self, slots: NetworkSlots) -> None:
        self._slots, self._began_s = slots, monotonic()
        self._computed_s: float | None = None  # from then on

    def computed(self) -> None:
        """Leave the network to the next pair; to say so twice is to say it once."""
        if self._computed_s is None:
            self._computed_s = monotonic() - self._began_s
            self._slots.at_network.release()

    def note(self, times_ms: Mapping[str, float]) -> None:
        """Note how long the pair took until it waited for the network, by its other stages."""
        assert self._computed_s is not None
        later_ms = times_ms.get("queue", 0.0) + times_ms.get("infer", 0.0)
        self._slots.prepared_s.append(max(self._computed_s - later_ms / 1000, 0.0))

    def leave(self) -> None:
        """Leave it whole."""
        self.computed()
        self._slots.in_work.release()
