"""Hands events to a receiver in a thread: in their order, waiting and trying within bounds."""

import logging
import time
from collections import deque
from threading import Condition, Thread
from typing import Protocol

from segmif.backoff import Backoff

from ...schemas.events import Event

FIRST_S, LONGEST_S = 0.5, 30.0  # pauses between two tries
CLOSING_S = 0.5  # the longest of them once the rig is closed

logger = logging.getLogger(__name__)


class TryAgain(Exception):
    """The receiver could not be reached, or asks for another try; the message has no secret."""

    def __init__(self, words: str, after_s: float = 0.0) -> None:
        super().__init__(words)
        self.after_s = after_s  # that the receiver asks for


class Refused(Exception):
    """The receiver will not take this event; the message has no secret."""


class Notifier(Protocol):
    """Tells one receiver of an event."""

    name: str  # for logs and metrics, without a secret

    def send(self, event: Event) -> None:
        """Returns once the receiver has it; may block. Raises TryAgain or Refused."""

    def close(self) -> None:
        """Free what it holds."""


class Delivery:
    """
    The queue and the thread of one notifier.

    The oldest event is tried until it arrives, is refused, or is older than `give_up_s`; then the
    next comes. After a failure the thread waits 0.5 s, then twice as long each time, 30 s at most.
    A close ends the pause, and the next ones are short.
    Beyond `waiting` events the oldest is dropped and counted.
    """

    def __init__(self, notifier: Notifier, waiting: int, give_up_s: float) -> None:
        self.name = notifier.name
        self.sent = self.retried = self.dropped = 0
        self.error: str | None = None  # in force
        self._notifier, self._most, self._give_up_s = notifier, waiting, give_up_s
        self._queue: deque[tuple[float, Event]] = deque()
        self._changed = Condition()
        self._due: float | None = None  # when the closing thread gives up
        self._thread = Thread(target=self._work, name=f"notify {self.name}"[:60], daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Events that are still to be sent."""
        return len(self._queue)

    def put(self, event: Event) -> None:
        """Queue an event."""
        with self._changed:
            self._queue.append((time.monotonic(), event))
            if len(self._queue) > self._most:
                del self._queue[1]  # the first is on its way
                self._drop("its queue is full")
            self._changed.notify_all()

    def begin_to_close(self, timeout_s: float) -> None:
        """Send what waits within a time, then end."""
        with self._changed:
            self._due = time.monotonic() + timeout_s
            self._changed.notify_all()

    def closed(self) -> bool:
        """Wait for the end; gives whether all that waited has arrived."""
        self._thread.join(max(0.0, (self._due or 0.0) - time.monotonic()) + 1.0)
        left = self.waiting
        for _ in range(left):
            self._drop("the rig was closed before it could be sent")
        return not left and not self._thread.is_alive()

    def _work(self) -> None:
        backoff = Backoff(FIRST_S, LONGEST_S)
        while (item := self._next()) is not None:
            put_s, event = item
            try:
                self._notifier.send(event)
            except TryAgain as error:
                self._failed(str(error))
                self._wait(put_s, max(backoff.next_s(), error.after_s))
            except Refused as error:
                self._failed(str(error), again=False)
                self._remove("it was refused")
            except Exception as error:  # a fault of ours must not end the thread
                self._failed(type(error).__name__, again=False)
                logger.exception("%s", self.name)
                self._remove("it could not be sent")
            else:
                backoff.reset()
                self.error = None
                self.sent += 1
                self._remove()
        self._notifier.close()

    def _next(self) -> tuple[float, Event] | None:
        """The oldest event, once there is one; None: it is closed, and empty or out of time."""
        with self._changed:
            while not self._queue and self._due is None:
                self._changed.wait()
            if not self._queue or (self._due is not None and time.monotonic() >= self._due):
                return None
            return self._queue[0]

    def _wait(self, put_s: float, pause_s: float) -> None:
        """Wait for the next try, or give the event up."""
        with self._changed:
            due = self._due
            until = time.monotonic() + pause_s
            if due is not None:
                until = min(time.monotonic() + min(pause_s, CLOSING_S), due)
            while self._due == due and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
        if time.monotonic() - put_s > self._give_up_s:
            self._remove(f"it did not arrive within {self._give_up_s:g} s")

    def _remove(self, why_lost: str | None = None) -> None:
        with self._changed:
            self._queue.popleft()
            if why_lost:
                self._drop(why_lost)
            self._changed.notify_all()

    def _drop(self, why: str) -> None:
        self.dropped += 1
        if self.dropped & (self.dropped - 1) == 0:  # the 1st, 2nd, 4th ...: a log has an end
            logger.error("%s: %d events are lost so far: %s", self.name, self.dropped, why)

    def _failed(self, words: str, *, again: bool = True) -> None:
        self.retried += again
        if words != self.error:
            logger.warning("%s: %s", self.name, words)
        self.error = words
