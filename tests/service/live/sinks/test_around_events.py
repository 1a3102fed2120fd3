"""Recordings around events: what is recorded, in which files, within which memory."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.live.live_result import LiveResult
from service.live.sinks.open_sinks import open_sinks
from service.live.sinks.settings import SETTINGS
from service.live.sinks.sink import Sink

from .conftest import Results

EVENTS = [range(20, 25), range(27, 30), range(50, 52)]  # numbers of results; the first two overlap
PERIOD_S = 1 / 29.97


def opened(path: Path, **around: float) -> Sink:
    settings = {"kind": "jsonl", "path": str(path), "around_events": around}
    (sink,) = open_sinks([SETTINGS.validate_python(settings)], "front")
    return sink


def with_events(results: Iterator[LiveResult]) -> Iterator[LiveResult]:
    for result in results:
        yield replace(result, in_event=any(result.sequence in each for each in EVENTS))


def recorded(path: Path) -> list[list[int]]:
    files = sorted(path.iterdir())
    lines: list[list[dict[str, Any]]] = [
        [json.loads(line) for line in file.read_text().splitlines()] for file in files
    ]
    return [[line["sequence"] for line in file] for file in lines]


def test_each_event_has_its_file_with_seconds_before_and_after(
    results: Results, tmp_path: Path
) -> None:
    sink = opened(tmp_path, before_s=10.5 * PERIOD_S, after_s=5.5 * PERIOD_S)
    for result in with_events(results(70)):
        sink.write(result)
    sink.close()
    assert recorded(tmp_path) == [list(range(10, 35)), list(range(40, 57))]
    assert sink.dropped == 0


def test_memory_is_bounded_and_what_it_costs_is_counted(
    results: Results, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = next(results(1))
    sink = opened(tmp_path, before_s=100, after_s=0, memory_mb=8.5 * first.nbytes / 1e6)
    for result in with_events(results(52)):
        sink.write(result)
    sink.close()
    (said,) = caplog.messages  # once for all events
    assert "holds 0.2 s before an event, and before_s is 100: raise memory_mb" in said
    # What was already written is not written again.
    assert recorded(tmp_path) == [[*range(13, 25)], [*range(25, 30)], [*range(43, 52)]]
    assert sink.dropped == 0
