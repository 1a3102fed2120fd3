"""Stamps that rise, whatever the times in a recording do."""

from dataclasses import dataclass
from fractions import Fraction

LATE_NS = 2_000_000_000  # a stamp that lies no further back came late; else a clock restarted


@dataclass
class RisingStamps:
    """
    Turns the times of frames into stamps that rise.

    A frame up to `late_ns` before the last one is late and has no stamp. A time further back is a
    clock that starts anew: it goes on one period after the last frame. `period_ns` also stamps
    frames without a time.
    """

    period_ns: int
    late_ns: int = 0
    late: int = 0  # frames without a stamp
    restarts: int = 0  # of the clock
    last: int | None = None
    _shift_ns: int = 0

    def next(self, time_ns: int | None) -> int | None:
        """The stamp [ns] of the next frame; None if it came late."""
        if self.last is None:
            self.last = 0 if time_ns is None else time_ns
            return self.last
        if time_ns is None:
            self.last += self.period_ns
            return self.last
        stamp_ns = time_ns + self._shift_ns
        if stamp_ns <= self.last:
            if self.last - stamp_ns <= self.late_ns:
                self.late += 1
                return None
            self.restarts += 1
            stamp_ns = self.last + self.period_ns
            self._shift_ns = stamp_ns - time_ns
        self.last = stamp_ns
        return stamp_ns


def nanoseconds_of(ticks: int, time_base: Fraction) -> int:
    """Ticks of a time base in whole nanoseconds, without a float."""
    return ticks * time_base.numerator * 10**9 // time_base.denominator
