"""The newest result of a rig, for the viewers of the page."""

import asyncio

from .live_result import LiveResult


class PageFeed:
    """Keeps the newest result alone: a slow viewer misses results and holds up nobody."""

    def __init__(self) -> None:
        self.latest: LiveResult | None = None
        self.closed = False
        self.viewers = 0  # sockets that show it
        self._changed = asyncio.Event()

    def put(self, result: LiveResult) -> None:
        """Replace the newest result."""
        self.latest = result
        self._wake()

    def close(self) -> None:
        """Say that no more comes."""
        self.closed = True
        self._wake()

    async def newer(self, sequence: int) -> LiveResult | None:
        """Wait for a result after the one with this number; None once the rig is closed."""
        while not self.closed:
            if self.latest and self.latest.sequence > sequence:
                return self.latest
            await self._changed.wait()
        return None

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
