"""Stamps of live frames: late ones, clocks that start anew, and leaps ahead."""

from segmif.sources.stamps import RisingStamps

S = 10**9  # nanoseconds


def stamps_of(times_s: list[float], period_s: float = 0.5) -> list[float | None]:
    """What the frames of a live camera, one in each period, are stamped with [s]."""
    now = iter(round(n * period_s * S) for n in range(len(times_s)))
    stamps = RisingStamps(1_000_000, 2 * S, lambda: next(now))
    found = [stamps.next(round(time * S)) for time in times_s]
    return [None if stamp is None else stamp / S for stamp in found]


def test_one_false_stamp_moves_no_other() -> None:
    assert stamps_of([0, 0.5, 9000, 1.5, 2]) == [0, 0.5, None, 1.5, 2]


def test_a_clock_that_is_set_ahead_costs_one_frame() -> None:
    assert stamps_of([0, 0.5, 9000, 9000.5, 9001]) == [0, 0.5, None, 9000.5, 9001]


def test_a_pause_is_no_leap() -> None:
    assert stamps_of([0, 60, 120], period_s=60) == [0, 60, 120]


def test_a_clock_that_is_put_back_goes_on_as_time_passed() -> None:
    assert stamps_of([9000, 9000.5, 9000.2, 0, 0.5]) == [9000, 9000.5, None, 9001.5, 9002]
