"""The newest result of a rig, for the viewers of the page, and what they want to see of it."""

import asyncio
from collections.abc import Callable, Iterable
from time import monotonic

from ..scheduler.worker_threads import Workers
from .live_result import LiveResult
from .page_message import ENCODERS, MessagePart

IDLE_S = 2.0  # after which a viewer that asks no more, as in a hidden tab, wants nothing

Encoding = asyncio.Future[MessagePart | None]


class PageFeed:
    """Keeps the newest result alone: a slow viewer misses results and holds up nobody."""

    def __init__(self, workers: Workers, clock: Callable[[], float] = monotonic) -> None:
        """`workers` encode."""
        self.latest: LiveResult | None = None
        self.closed = False
        self._workers, self._clock = workers, clock
        # Parts, and when, by viewer.
        self._requested: dict[object, tuple[frozenset[str], float]] = {}
        self._encodings: dict[str, Encoding] = {}  # of the newest result
        self._changed = asyncio.Event()

    @property
    def wanted(self) -> frozenset[str]:
        """The parts that any viewer shows now."""
        since = self._clock() - IDLE_S
        shown = (names for names, asked_s in self._requested.values() if asked_s > since)
        return frozenset().union(*shown)

    def put(self, result: LiveResult) -> None:
        """Replace the newest result."""
        self.latest, self._encodings = result, {}
        self.wake()

    def close(self) -> None:
        """Say that no more comes."""
        self.closed = True
        self.wake()

    def request(self, viewer: object, names: frozenset[str]) -> None:
        """Note what a viewer asked for."""
        self._requested[viewer] = names, self._clock()
        self.wake()

    def leave(self, viewer: object) -> None:
        """Forget a viewer."""
        self._requested.pop(viewer, None)

    async def newer(self, than: Callable[[], int]) -> LiveResult | None:
        """Wait for a result after the one with the number `than()`; None once the rig is closed."""
        while not self.closed:
            if self.latest and self.latest.sequence > than():
                return self.latest
            await self._changed.wait()
        return None

    async def parts(self, result: LiveResult, names: Iterable[str]) -> list[MessagePart]:
        """Parts of a result, encoded once for all viewers; what the result lacks is left out."""
        known = self._encodings if result is self.latest else {}
        for name in names:
            if name not in known:
                coming = self._workers.run(ENCODERS[name], result)
                known[name] = asyncio.ensure_future(coming)
        wanted = [known[name] for name in names]
        # One viewer that leaves must not cost the others their picture.
        done = await asyncio.gather(*map(asyncio.shield, wanted))
        return [part for part in done if part]

    def wake(self) -> None:
        """Have all viewers look again."""
        self._changed.set()
        self._changed = asyncio.Event()
