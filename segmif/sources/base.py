"""What all sources share: their address, their counters, and how they end."""

from collections.abc import Callable, Generator
from threading import Condition, Event, Thread
from typing import Generic, TypeVar

from segmif.sources.frame import SourceError

Item = TypeVar("Item")
POLL_S = 0.1  # between two looks at whether a source was closed
JOIN_S = 0.2  # for a reading thread to end by itself


class SourceBase:
    """A source that has not been opened; `frames` of its subclasses opens it."""

    live = False

    def __init__(self, address: str) -> None:
        self.address = address  # without a password
        self.dropped = 0  # frames passed over: a newer one was there, or they came late
        self.damaged = 0  # packets or files that could not be decoded
        self.closed = Event()

    def check_given(self, frames: int) -> None:
        """Raise SourceError at the end of a source that gave no frame."""
        if not frames and not self.closed.is_set():
            raise SourceError(
                f"{self.address}: it holds no frame that can be decoded ({self.damaged} damaged, "
                f"{self.dropped} dropped)"
            )

    def close(self) -> None:
        """End `frames` soon; may be called from any thread."""
        self.closed.set()


class ThreadedReader(Generic[Item]):
    """
    Reads a source in a thread: of a live one it gives the newest item, of a recording each.

    What waits inside a library cannot be interrupted. So the thread owns what it opens, and may
    outlive `close` by the source's timeout.
    """

    def __init__(self, read: Callable[[], Generator[Item]], source: SourceBase) -> None:
        self._read, self._source = read, source
        self._changed = Condition()
        self._fresh: list[Item] = []  # none or one
        self._ended = False
        self._error: Exception | None = None

    def items(self) -> Generator[Item]:
        """The items that were not given before; raises what reading raises."""
        thread = Thread(target=self._fill, name=f"source {self._source.address}", daemon=True)
        thread.start()
        try:
            while fresh := self._take():
                yield fresh[0]
            error = None if self._source.closed.is_set() else self._error
        finally:
            self._source.close()
            thread.join(JOIN_S)
        if error:
            raise error

    def _take(self) -> list[Item]:
        with self._changed:
            while not self._source.closed.is_set():
                fresh, self._fresh = self._fresh, []
                if fresh or self._ended:
                    self._changed.notify()
                    return fresh
                self._changed.wait(POLL_S)
        return []

    def _fill(self) -> None:
        items = self._read()
        try:
            for item in items:
                self._put(item)
                if self._source.closed.is_set():
                    break
        except Exception as error:  # raised again by `items`
            self._error = error
        finally:
            items.close()
            with self._changed:
                self._ended = True
                self._changed.notify()

    def _put(self, item: Item) -> None:
        with self._changed:
            while self._fresh and not (self._source.live or self._source.closed.is_set()):
                self._changed.wait(POLL_S)
            self._source.dropped += len(self._fresh)
            self._fresh = [item]
            self._changed.notify()
