"""Recordings at their own pace, on a clock that both cameras share."""

import time
from collections.abc import Callable, Iterable, Iterator
from threading import Event, Lock

from segmif.sources.frame import SourceFrame

PIECE_S = 0.1  # of a wait, after which it looks whether it was stopped


class PlaybackClock:
    """Turns stamps into the time at which their frames are due."""

    def __init__(
        self,
        speed: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """`speed` 2 plays twice as fast. Raises ValueError for a speed of 0 or less."""
        if not speed > 0:
            raise ValueError(f"the speed is {speed:g}, expected more than 0")
        self._speed, self._monotonic, self._sleep = speed, monotonic, sleep
        self._stopped, self._lock = Event(), Lock()
        self._origin: tuple[int, float] | None = None  # stamp [ns] and time [s] of the first frame

    def stop(self) -> None:
        """End all waiting; may be called from any thread."""
        self._stopped.set()

    def wait_for(self, stamp_ns: int) -> bool:
        """Wait until a frame is due, never for one that is late; whether it was not stopped."""
        with self._lock:
            self._origin = self._origin or (stamp_ns, self._monotonic())
        begin_ns, begin_s = self._origin
        due_s = begin_s + (stamp_ns - begin_ns) / 1e9 / self._speed
        while not self._stopped.is_set() and (left_s := due_s - self._monotonic()) > 0:
            self._sleep(min(left_s, PIECE_S))
        return not self._stopped.is_set()


def paced(frames: Iterable[SourceFrame], clock: PlaybackClock) -> Iterator[SourceFrame]:
    """The frames of a recording, each when it is due, until the clock is stopped."""
    for frame in frames:
        if not clock.wait_for(frame.stamp_ns):
            return
        yield frame
