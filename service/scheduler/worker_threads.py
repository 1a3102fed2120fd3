"""Threads beside the event loop, with a lower priority."""

import asyncio
import atexit
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from queue import SimpleQueue
from threading import Thread, get_native_id
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
    """
    A few threads for one kind of work.

    A raw pair goes through three threads. `ThreadPoolExecutor` takes 0.3 ms for the way to a thread
    and back, a queue 0.13 ms.
    """

    def __init__(self, threads: int, name: str, nice: int = NICE) -> None:
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        # Daemons are not joined before `atexit`; killed within a library they would crash.
        self._threads = [
            Thread(target=self._work, args=(nice,), name=f"{name}_{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:  # one that is started later may find memory full
            thread.start()
        atexit.register(self.close)

    async def run(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Call a function in one of the threads; raises OutOfMemory, or what it raises."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._tasks.put(partial(_answer, loop, answer, partial(function, *arguments, **named)))
        with memory_errors():
            return await answer

    def both(
        self, first: Callable[[], First], second: Callable[[], Second]
    ) -> tuple[First, Second]:
        """Call two functions from a worker: side by side if another is free, else in turn."""
        other: Future[Second] = Future()
        self._tasks.put(partial(_fulfil, other, second))
        try:
            done = first()
        except BaseException:
            other.cancel()
            raise
        # What no worker has begun is done here: workers never wait for each other.
        return done, (second() if other.cancel() else other.result())

    def close(self) -> None:
        """Wait for what runs and waits, then end the threads."""
        atexit.unregister(self.close)
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self, nice: int) -> None:
        lower_priority(nice)
        while (task := self._tasks.get()) is not None:
            task()
            del task  # what it holds goes now, not with the next task


def _answer(
    loop: asyncio.AbstractEventLoop, answer: "asyncio.Future[T]", function: Callable[[], T]
) -> None:
    """Call a function that somebody on the event loop waits for, unless nobody does any more."""
    if answer.cancelled():
        return
    try:
        told = partial(answer.set_result, function())
    except BaseException as error:
        told = partial(answer.set_exception, error)
    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(_tell, answer, told)
    del told  # an error holds this frame, which must not hold the error


def _tell(answer: "asyncio.Future[T]", told: Callable[[], None]) -> None:
    if not answer.cancelled():
        told()


def _fulfil(outcome: "Future[T]", function: Callable[[], T]) -> None:
    """Call a function for a future, unless it was cancelled."""
    if not outcome.set_running_or_notify_cancel():
        return
    try:
        outcome.set_result(function())
    except BaseException as error:
        outcome.set_exception(error)


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
