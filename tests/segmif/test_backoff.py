"""Pauses between tries grow up to a bound, start anew after a success, and are never all alike."""

import pytest

from segmif.backoff import Backoff


def test_pauses_double_up_to_a_bound_and_start_anew() -> None:
    backoff = Backoff(0.5, 3.0, jitter=0.0)
    assert [backoff.next_s() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    backoff.reset()
    assert backoff.next_s() == 0.5


def test_chance_only_shortens_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([0.0, 0.999])
    monkeypatch.setattr("random.random", lambda: next(drawn))
    backoff = Backoff(4.0, 4.0)
    assert backoff.next_s() == 4.0
    assert backoff.next_s() == pytest.approx(3.0, abs=0.01)
