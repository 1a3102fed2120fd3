"""Threads beside the event loop, with a lower priority."""

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from threading import Barrier, Thread, get_native_id
from typing import ParamSpec, TypeVar

import cv2

from ..errors import out_of_memory

# If all want one core, the event loop comes first, and then what is nearest to its end: a pair that
# the network has finished is out before the next one is computed.
NICE = 1  # of a worker
NETWORK_NICE = 5  # of the network's threads
HEAVY_NICE = 10  # of rare work that takes a core for seconds

T = TypeVar("T")
First = TypeVar("First")
Second = TypeVar("Second")
P = ParamSpec("P")


class Workers:
    """A few threads for one kind of work."""

    def __init__(self, threads: int, name: str, nice: int = NICE) -> None:
        self._pool = ThreadPoolExecutor(threads, name, initializer=partial(lower_priority, nice))
        started = Barrier(threads)  # a thread that is started later may find memory full
        for _ in range(threads):
            self._pool.submit(started.wait)

    async def run(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Call a function in one of the threads; raises OutOfMemory, or what it raises."""
        loop = asyncio.get_running_loop()
        with memory_errors():
            return await loop.run_in_executor(self._pool, partial(function, *arguments, **named))

    def both(
        self, first: Callable[[], First], second: Callable[[], Second]
    ) -> tuple[First, Second]:
        """Call two functions from a worker: side by side if another is free, else in turn."""
        other = self._pool.submit(second)
        try:
            done = first()
        except BaseException:
            other.cancel()
            raise
        # What no worker has begun is done here: workers never wait for each other.
        return done, (second() if other.cancel() else other.result())

    def close(self) -> None:
        """Wait for what runs, then end the threads."""
        self._pool.shutdown()


@contextmanager
def memory_errors() -> Iterator[None]:
    """Raise OutOfMemory for what NumPy and OpenCV raise if there is no memory."""
    try:
        yield
    except (MemoryError, cv2.error) as error:
        if isinstance(error, cv2.error) and error.code != cv2.Error.StsNoMem:
            raise
        raise out_of_memory() from error


def lowered(function: Callable[[], T], nice: int = NETWORK_NICE) -> T:
    """Call a function in a thread of lower priority, which the threads that it starts inherit."""
    with ThreadPoolExecutor(1, initializer=partial(lower_priority, nice)) as pool:
        return pool.submit(function).result()


def lower_priority(nice: int) -> None:
    """Lower the priority of this thread; Linux alone has niceness by thread."""
    if sys.platform == "linux":
        thread = get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + nice)


def end_aside(end: Callable[[], None]) -> None:
    """Call a function that may hang, in a thread that is never joined."""
    Thread(target=end, daemon=True).start()
