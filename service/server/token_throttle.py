"""Throttle of wrong tokens, by address: guessing is slowed down, other clients are not."""

import asyncio
from collections import Counter, OrderedDict
from time import monotonic

from ..errors import TooManyGuesses

FREE = 10  # wrong tokens of one address that are answered at once
FORGOTTEN_S = 60.0  # after the last wrong token of an address
DELAY_S = 1.0  # before a further one is answered
WAITING = 16  # wrong tokens of one address that wait for their answer
REMEMBERED = 4096  # addresses


class TokenThrottle:
    """
    The wrong tokens of each address.

    Lives on the event loop: nothing here is locked.
    """

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()  # count, when last
        self._waiting: Counter[str] = Counter()

    def check(self, client: str) -> None:
        """Raise TooManyGuesses before a token is compared, while too many wrong ones wait."""
        if self._waiting[client] >= WAITING:
            raise TooManyGuesses(
                f"{WAITING} wrong tokens of this address wait for their answer; try again",
                retry_s=1,
            )

    async def wrong(self, client: str) -> None:
        """Note a wrong token; waits, unless the address has sent only a few."""
        now = monotonic()
        count, last = self._wrong.pop(client, (0, now))
        count = 1 if now - last > FORGOTTEN_S else count + 1
        self._wrong[client] = count, now
        if len(self._wrong) > REMEMBERED:
            self._wrong.popitem(last=False)
        if count > FREE:
            self._waiting[client] += 1
            try:
                await asyncio.sleep(DELAY_S)
            finally:
                self._waiting[client] -= 1
                if not self._waiting[client]:
                    del self._waiting[client]
