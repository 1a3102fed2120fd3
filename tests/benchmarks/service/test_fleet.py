"""The simulation of a fleet, against what can be calculated."""

from statistics import fmean

import pytest

from benchmarks.service.fleet import Fleet, Stages, simulate

CAMERA = Stages([17.0], [43.0], [16.0])


def test_a_lone_rig_waits_for_nobody() -> None:
    seen = simulate(Fleet(rigs=1, rate=8), CAMERA, 20)
    assert seen.refused == 0
    assert seen.delays_ms == pytest.approx([17 + 43 + 16] * len(seen.delays_ms))
    assert len(seen.delays_ms) > 100


def test_beyond_the_capacity_the_rest_is_refused_and_nobody_waits_for_ever() -> None:
    fleet = Fleet(rigs=4, rate=10, max_pending=16)
    found = simulate(fleet, CAMERA, 30).summary()
    assert found["refused"] == pytest.approx(1 - (1000 / 43) / 40, abs=0.02)
    assert found["p99_ms"] is not None and found["p99_ms"] <= 16 * 43 + 17 + 16
    even = Fleet(rigs=4, rate=10, replicas=2, spread_evenly=True)
    assert simulate(even, CAMERA, 20).summary()["refused"] == 0


def test_a_queue_waits_as_theory_says() -> None:
    # M/D/1: the mean wait is load / (1 - load) / 2 of a service time (Pollaczek and Khinchine)
    load, service_ms = 0.7, 10.0
    fleet = Fleet(1, rate=1000 * load / service_ms, max_pending=10_000, poisson=True)
    seen = simulate(fleet, Stages([0.0], [service_ms], [0.0]), 150)
    waited = fmean(seen.delays_ms) - service_ms
    assert waited == pytest.approx(service_ms * load / (1 - load) / 2, rel=0.1)


def test_batches_carry_what_single_pairs_do_not() -> None:
    stages = Stages([0.0], [20.0], [0.0], further=0.2)
    one, eight = (simulate(Fleet(8, 10, max_batch=n), stages, 20).summary() for n in (1, 8))
    assert one["refused"] is not None and one["refused"] > 0.3
    assert eight["refused"] == 0
