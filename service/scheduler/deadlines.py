"""Work that is due at a time."""

import asyncio
import math
from collections.abc import Awaitable
from time import monotonic
from typing import TypeVar

from ..errors import DeadlineMissed

T = TypeVar("T")


async def in_time(work: Awaitable[T], due: float) -> T:
    """
    The result of work that is done by `due`, on the clock of `time.monotonic`.

    Raises DeadlineMissed, also for work that still waits behind others.
    """
    if due == math.inf:
        return await work
    try:
        return await asyncio.wait_for(work, max(due - monotonic(), 0))
    except asyncio.TimeoutError:
        raise DeadlineMissed(retry_s=1) from None
