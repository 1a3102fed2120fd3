"""The time of day on a machine whose clock is set while it runs, as by NTP after a start."""

import time

_BEGAN_NS = time.time_ns() - time.monotonic_ns()


def unstepped_ns() -> int:
    """The time of day [ns since 1970] when this process began, and what has passed since."""
    return _BEGAN_NS + time.monotonic_ns()


def earliest_now_s() -> float:
    """
    The time of day [s since 1970] by which files are old enough to be deleted.

    It is that of the clock, or without its steps if that is earlier. So a clock that is set, ahead
    or back, makes no file of this process old.
    """
    return min(time.time(), unstepped_ns() / 1e9)
