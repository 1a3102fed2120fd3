"""Stamps that rise, whatever the times in a recording do."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

LATE_NS = 2_000_000_000  # a stamp that lies no further back came late; else a clock restarted


@dataclass
class RisingStamps:
    """
    Turns the times of frames into stamps that rise.

    A frame up to `late_ns` before the last one is late and has no stamp. A time further back is a
    clock that starts anew: it goes on one period after the last frame, or, by `clock`, as long
    after it as passed. `period_ns` also stamps frames without a time.

    By `clock`, a frame that leaps ahead of what passed has no stamp either, unless the next one
    bears it out. Else one false stamp would move all that follow.
    """

    period_ns: int
    late_ns: int = 0
    clock: Callable[[], int] | None = None  # of live frames [ns]; it never steps
    late: int = 0  # frames without a stamp, those that leapt too
    restarts: int = 0  # of the clock
    last: int | None = None
    _shift_ns: int = 0
    _came_ns: int = 0  # when the last one did, by `clock`
    _leapt: tuple[int, int] | None = None  # time of a frame that leapt ahead, and when it came

    def next(self, time_ns: int | None) -> int | None:
        """The stamp [ns] of the next frame; None if it came late."""
        now_ns = self.clock() if self.clock else 0
        stamp_ns = None if self._leaps(time_ns, now_ns) else self._next(time_ns, now_ns)
        if stamp_ns is not None:
            self.last, self._came_ns = stamp_ns, now_ns
        return stamp_ns

    def _leaps(self, time_ns: int | None, now_ns: int) -> bool:
        """Whether a frame leaps ahead without another that bears it out."""
        before, self._leapt = self._leapt, None
        if self.clock is None or self.last is None or time_ns is None:
            return False
        ahead_ns = time_ns + self._shift_ns - self.last - (now_ns - self._came_ns)
        if ahead_ns <= LATE_NS:
            return False
        if before and abs(time_ns - before[0] - (now_ns - before[1])) <= LATE_NS:
            return False
        self._leapt = time_ns, now_ns
        self.late += 1
        return True

    def _next(self, time_ns: int | None, now_ns: int) -> int | None:
        if self.last is None:
            return 0 if time_ns is None else time_ns
        if time_ns is None:
            return self.last + self.period_ns
        stamp_ns = time_ns + self._shift_ns
        if stamp_ns <= self.last:
            if self.last - stamp_ns <= self.late_ns:
                self.late += 1
                return None
            self.restarts += 1
            stamp_ns = self.last + max(self.period_ns, now_ns - self._came_ns)
            self._shift_ns = stamp_ns - time_ns
        return stamp_ns


def nanoseconds_of(ticks: int, time_base: Fraction) -> int:
    """Ticks of a time base in whole nanoseconds, without a float."""
    return ticks * time_base.numerator * 10**9 // time_base.denominator
