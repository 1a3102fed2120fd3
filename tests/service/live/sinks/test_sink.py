"""The thread of a sink: order, what is dropped, errors, and its end."""

import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from service.live.live_result import LiveResult
from service.live.sinks.retrying import Retrying
from service.live.sinks.sink import WAITING, SinkError, SinkThread
from tests.service.live.sinks.conftest import Results


class Slow:
    """Takes a result once it may."""

    name, dropped = "slow", 0

    def __init__(self) -> None:
        self.may = threading.Semaphore(0)
        self.taken: list[int] = []
        self.closed = False

    def write(self, result: LiveResult) -> None:
        """Take a result; the third fails."""
        self.may.acquire()
        if result.sequence == 2:
            raise SinkError("no third")
        self.taken.append(result.sequence)

    def close(self) -> None:
        """Note it."""
        self.closed = True


def test_a_slow_sink_loses_the_oldest_results(results: Results) -> None:
    sink, failed = Slow(), list[Exception]()
    thread = SinkThread(sink, failed.append)
    for result in results(40):
        thread.put(result)
    sink.may.release(40)
    assert thread.close()
    assert sink.closed
    assert sink.taken == sorted(sink.taken)
    assert sink.taken[-WAITING:] == list(range(40 - WAITING, 40))
    assert len(sink.taken) + thread.dropped + len(failed) == 40


def test_a_lossless_sink_is_waited_for_and_an_error_ends_nothing(results: Results) -> None:
    sink, failed = Slow(), list[Exception]()
    thread = SinkThread(sink, failed.append, lossless=True)
    sink.may.release(40)
    for result in results(40):
        thread.put(result)
    assert thread.close()
    assert sink.taken == [number for number in range(40) if number != 2]
    assert thread.dropped == 0
    assert [str(error) for error in failed] == ["no third"]


def test_an_error_is_said_once_until_the_sink_works_again(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.live.sinks.retrying.FIRST_S", 0)
    fails = {1, 2, 3, 5}
    after: list[str | None] = []

    class Failing(Slow):
        def write(self, result: LiveResult) -> None:
            after.append(thread.error)
            if result.sequence in fails:
                raise SinkError("the disk is full")

    failed = list[Exception]()
    thread = SinkThread(Retrying(Failing()), failed.append, lossless=True)
    for result in results(7):
        thread.put(result)
    assert thread.close()
    full = "the disk is full"
    assert [str(error) for error in failed] == [full, full]
    assert after == [None, None, full, full, full, None, full]
    assert thread.error is None
    assert thread.dropped == 4


@pytest.mark.parametrize(("outage_s", "lost"), [(20, []), (100, [2, 3])])
def test_a_lossless_sink_that_fails_is_tried_with_the_same_result(
    results: Results, outage_s: float, lost: list[int]
) -> None:
    now, taken = [0.0], list[int]()

    class Down(Slow):
        def write(self, result: LiveResult) -> None:
            if result.sequence == 2 and not taken[2:] and not now[0]:
                now[0] = 1e-3
            if 0 < now[0] < outage_s:
                raise SinkError("the server is away")
            taken.append(result.sequence)

    def sleep(seconds: float) -> None:
        now[0] += seconds

    sink = Retrying(Down(), lambda: now[0], sleep, lossless=True)
    for result in results(6):
        with suppress(SinkError):
            sink.write(result)
        if sink.dropped == 2:
            now[0] = 1000.0
    assert taken == [number for number in range(6) if number not in lost]
    assert sink.dropped == len(lost)


@pytest.mark.parametrize("count", [1, 2 * WAITING])
def test_a_sink_that_hangs_is_left_behind(results: Results, count: int) -> None:
    sink = Slow()
    ignore: Callable[[Exception], None] = lambda _: None  # noqa: E731
    thread = SinkThread(sink, ignore)
    for result in results(count):
        thread.put(result)
    assert not thread.close(timeout_s=0.1)
    sink.may.release(count)
