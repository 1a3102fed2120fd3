"""Which pairs the event loop decodes, checks and answers itself, and that this changes nothing."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from segmif.runtime import predict_batch
from segmif.wire.binary_pair import RGB8, Y8, Y16, RawAnswer, pack_pair
from service.api.responses import encode
from service.pipeline.prepare import prepare
from service.scheduler.pair_queues import PairQueues
from tests.service.server.test_entry_points import gauge, until
from tests.service.server.test_memory import opencv_refuses
from tests.service.server.test_safety import pair, problem_of

Start = Callable[..., AbstractContextManager[httpx.Client]]

RAW = {"Content-Type": "application/octet-stream", "Accept": "application/octet-stream"}


def raw(width: int = 96, height: int = 64, bits: int = 8) -> bytes:
    ramp = np.linspace(20, 220, width * height).reshape(height, width).astype(np.uint8)
    heat = ramp if bits == 8 else ramp.astype(np.uint16) * 40
    visible = (RGB8, (width, height, 0), np.dstack([ramp] * 3).tobytes())
    return pack_pair(visible, (Y8 if bits == 8 else Y16, (width, height, 0), heat.tobytes()))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The threads that decode and answer, in turn: `codec`, or `loop` for the event loop's."""
    names: list[str] = []

    def noted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            codec = threading.current_thread().name.startswith("codec")
            names.append("codec" if codec else "loop")
            return function(*given, **named)

        return call

    monkeypatch.setattr("service.scheduler.preparation.prepare", noted(prepare))
    monkeypatch.setattr("service.api.fuse_segment.encode", noted(encode))
    return names


@pytest.mark.parametrize(
    ("body", "query", "where"),
    [
        (raw(), "", "loop"),
        (raw(640, 512), "?return=mask", "loop"),
        (raw(672, 512), "", "codec"),  # too large
        (raw(bits=16), "", "codec"),  # counts have more checks
        (raw(), "?return=overlay,mask", "codec"),  # which is drawn
        (raw(), "?return=mask,confidence", "codec"),  # whose means are taken
        (raw(), "?infrared_invalid=7", "codec"),  # which are filled
    ],
)
def test_the_event_loop_takes_brief_raw_pairs_alone(
    start: Start, seen: list[str], body: bytes, query: str, where: str
) -> None:
    with start() as client:
        assert client.post(f"/fuse-segment{query}", content=body, headers=RAW).is_success
    assert seen == [where, where]


def test_files_go_to_threads(start: Start, seen: list[str]) -> None:
    with start() as client:
        assert client.post("/fuse-segment", files=pair(), headers={"Accept": RAW["Accept"]})
    assert seen == ["codec", "codec"]


def test_with_other_pairs_in_work_the_event_loop_takes_none(
    start: Start, seen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    free = threading.Event()

    def held(*given: Any, **named: Any) -> Any:
        assert free.wait(20)
        return predict_batch(*given, **named)

    with start() as client, ThreadPoolExecutor(2) as others:
        monkeypatch.setattr("service.scheduler.batching.predict_batch", held)
        first = others.submit(client.post, "/fuse-segment", content=raw(), headers=RAW)
        until(lambda: gauge(client, "pending") == 1)
        second = others.submit(client.post, "/fuse-segment", content=raw(), headers=RAW)
        until(lambda: len(seen) == 2)
        free.set()
        assert first.result().is_success and second.result().is_success
    assert seen[:3] == ["loop", "codec", "codec"]


def test_the_answer_is_that_of_the_threads(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    with start() as client:
        quick = client.post("/fuse-segment", content=raw(), headers=RAW)
        monkeypatch.setattr(PairQueues, "may_do_at_once", lambda *_: False)
        usual = client.post("/fuse-segment", content=raw(), headers=RAW)
    first, second = (RawAnswer.from_bytes(answer.content) for answer in (quick, usual))
    assert (first.picture, first.labels) == (second.picture, second.labels)
    assert [*quick.headers] == [*usual.headers]


@pytest.mark.parametrize(
    "stage", ["service.scheduler.preparation.prepare", "service.api.fuse_segment.encode"]
)
def test_a_brief_pair_without_memory_is_told_to_come_again(
    start: Start, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    with start() as client:
        with monkeypatch.context() as full:
            full.setattr(cv2.error, "code", cv2.Error.StsNoMem, raising=False)
            full.setattr(stage, opencv_refuses)
            answer = client.post("/fuse-segment", content=raw(), headers=RAW)
        assert problem_of(answer) == (503, "out_of_memory")
        assert client.post("/fuse-segment", content=raw(), headers=RAW).is_success


def test_a_raw_answer_is_not_copied_into_one_piece(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy(answer: RawAnswer) -> bytes:
        raise AssertionError("a copy of the answer")

    monkeypatch.setattr(RawAnswer, "to_bytes", copy)
    with start() as client:
        answer = client.post("/fuse-segment", content=raw(), headers=RAW)
    assert RawAnswer.from_bytes(answer.content).labels_format == Y8
    assert int(answer.headers["content-length"]) == len(answer.content)
