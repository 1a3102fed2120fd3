"""Memory that runs out at any stage is a 503 with its Retry-After, and the service goes on."""

import asyncio
import gc
import os
import re
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from websockets.sync.client import connect

from segmif.client import pack
from segmif.imaging import codecs
from segmif.runtime import open_runtime
from segmif.wire.binary_pair import RawAnswer
from service.__main__ import main
from service.memory.budget import MemoryBudget
from service.memory.process_limit import (
    STEADY_ROUNDS,
    available_mib,
    bound_memory_by_machine,
    return_after_peaks,
)
from service.scheduler.camera_streams import QueuedPair
from service.settings import Settings
from tests.service.server.test_entry_points import BINARY, FIN, frame, gauge, opened, until
from tests.service.server.test_safety import connected, pair, problem, problem_of, rest, unharmed
from tests.service.server.test_service import started

Serve = Callable[..., AbstractContextManager[httpx.Client]]

ARENA = 64 * 2**20
UVICORN = "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol"


def opencv_refuses(*_: object) -> None:
    raise cv2.error("Insufficient memory")


def python_refuses(*_: object, **__: object) -> None:
    raise MemoryError


def encoder_refuses(*_: object) -> tuple[bool, None]:
    return False, None


@pytest.mark.parametrize(
    ("stage", "refuse"),
    [
        (f"{UVICORN}.on_body", python_refuses),
        ("service.api.fuse_segment.read_pair", python_refuses),  # on the event loop
        ("service.pipeline.decoder.process.Process._memory_for", python_refuses),
        ("service.pipeline.prepare.codecs.infrared_levels", python_refuses),
        ("service.scheduler.batching.predict_batch", python_refuses),
        ("cv2.imencode", encoder_refuses),
        ("segmif.imaging.codecs.zlib.compress", python_refuses),  # of the mask
        ("service.api.responses.mixed", python_refuses),
    ],
)
def test_a_pair_without_memory_is_told_to_come_again(
    client: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    refuse: Callable[..., object],
) -> None:
    files = pair()
    with monkeypatch.context() as full:
        full.setattr(cv2.error, "code", cv2.Error.StsNoMem, raising=False)
        full.setattr(stage, refuse)
        answer = client.post("/fuse-segment", files=files)
    assert problem_of(answer) == (503, "out_of_memory")
    assert answer.headers["retry-after"] == "1"
    unharmed(client)


def test_a_decoder_in_the_service_without_memory_is_told_so_too(
    serve: Serve, stand_in_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(weights=stand_in_weights, decode_processes=0)
    with serve(settings, open_runtime(stand_in_weights, threads=1)) as client:
        with monkeypatch.context() as full:
            full.setattr(cv2.error, "code", cv2.Error.StsNoMem, raising=False)
            full.setattr("cv2.imdecode", opencv_refuses)
            answer = client.post("/fuse-segment", files=pair())
        assert problem_of(answer) == (503, "out_of_memory")
        unharmed(client)


def test_a_thread_without_memory_is_no_fault_either(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr("service.api.status.to_thread", refuse)
        assert problem_of(client.get("/metrics")) == (503, "out_of_memory")
    unharmed(client)


def test_who_still_sends_a_refused_body_is_not_cut_off_from_the_answer(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = "POST /fuse-segment HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30000000\r\n"
    head += "Content-Type: application/octet-stream\r\n\r\n"
    with monkeypatch.context() as full, connected(client) as wire:
        full.setattr(f"{UVICORN}.on_body", python_refuses)
        wire.sendall(head.encode() + bytes(10_000))
        assert problem(rest(wire)) == (503, "out_of_memory")
        for _ in range(5):  # the first could still go out to a connection that is closed
            wire.sendall(bytes(100_000))
    unharmed(client)


@pytest.mark.parametrize(
    "stage", ["service.api.websocket.read_raw_body", "segmif.wire.binary_pair.RawAnswer.to_bytes"]
)
def test_a_socket_without_memory_goes_on(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    refused: list[bool] = []
    name, attribute = stage.rsplit(".", 1)
    usual = getattr(resolve_name(name.replace(".RawAnswer", ":RawAnswer")), attribute)

    def refuse_once(*arguments: Any) -> Any:
        refused.append(True)
        if len(refused) == 1:
            raise MemoryError
        return usual(*arguments)

    monkeypatch.setattr(stage, refuse_once)
    frame = np.arange(4096, dtype=np.uint8).reshape(64, 64)
    message = pack(np.dstack([frame] * 3), frame)
    with connect(str(client.base_url).replace("http", "ws").rstrip("/") + "/stream") as socket:
        for status in (503, 200):
            socket.send(message)
            answer = socket.recv()
            assert isinstance(answer, bytes)
            assert RawAnswer.from_bytes(answer).status == status


@pytest.mark.parametrize("kind", ["image/webp", "image/jpeg"])
def test_a_picture_too_long_for_its_format_is_refused_in_words(
    client: httpx.Client, kind: str
) -> None:
    long = np.zeros((20, 66_000), np.uint8)
    long[:, ::2] = 255
    files = {
        "visible": codecs.encode_png(np.dstack([long] * 3)),
        "infrared": codecs.encode_png(long),
    }
    answer = client.post("/fuse-segment", files=files, headers={"Accept": kind})
    assert problem_of(answer) == (406, "not_acceptable")
    assert "66000x20; accept image/png" in answer.json()["detail"]


def test_an_answered_pair_is_freed_without_a_search_for_cycles(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    gc.collect()
    monkeypatch.setattr(gc, "collect", lambda: 0)  # which the service calls while it is idle
    gc.disable()
    try:
        assert client.post("/fuse-segment", files=pair()).is_success
        # not isinstance, which asks an object of its class: some warn that they are deprecated
        until(lambda: not any(type(each) is QueuedPair for each in gc.get_objects()))
    finally:
        gc.enable()


def test_memory_is_returned_until_nothing_is_held(
    serve: Serve, stand_in_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    returned = threading.Semaphore(0)
    library = SimpleNamespace(malloc_trim=lambda _: returned.release())
    monkeypatch.setattr("service.memory.process_limit.CDLL", lambda _: library)
    monkeypatch.setattr("service.memory.process_limit.TRIM_S", 0.02)
    monkeypatch.setattr("service.memory.process_limit.PEAK_MIB", 1)
    monkeypatch.setattr("service.memory.process_limit.STEADY_ROUNDS", 10**9)
    with (
        serve(Settings(weights=stand_in_weights), open_runtime(stand_in_weights, threads=1)) as it,
        ExitStack() as late,
    ):
        with ExitStack() as early:
            for stack in (early, early, late):
                wire = stack.enter_context(opened(it))
                wire.sendall(frame(FIN | BINARY, bytes(2**21), 2**22))
            until(lambda: gauge(it, "buffered_bytes") >= 3 * 2**21)
        assert returned.acquire(timeout=20)  # while the third is held
        late.close()
        assert returned.acquire(timeout=20)


def test_memory_is_returned_now_and_then_while_pairs_come_without_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    returned: list[int] = []
    rounds, pairs = 0, SimpleNamespace(entered=0, pending=1)
    library = SimpleNamespace(malloc_trim=lambda _: returned.append(pairs.entered))
    monkeypatch.setattr("service.memory.process_limit.CDLL", lambda _: library)
    monkeypatch.setattr("service.memory.process_limit.TRIM_S", 0)

    def next_round() -> None:
        nonlocal rounds
        rounds += 1
        pairs.entered += 1
        if rounds > 3 * STEADY_ROUNDS:
            raise EndOfTest

    with pytest.raises(EndOfTest):
        asyncio.run(return_after_peaks(MemoryBudget(), pairs, next_round))
    assert returned == [STEADY_ROUNDS, 2 * STEADY_ROUNDS, 3 * STEADY_ROUNDS]


class EndOfTest(Exception):
    """Ends what runs for ever."""


def test_a_bound_on_memory_that_leaves_no_room_is_refused(
    stand_in_weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGMIF_MEMORY_MIB", "64")
    assert main(["serve", "--weights", str(stand_in_weights)]) == 2
    assert "memory_mib is 64; the service holds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": str(600 * 2**20)}, 600),
        ("0::/host/path\n", {"memory.max": str(700 * 2**20)}, 700),
        (
            "9:cpu:/\n4:memory:/docker/x\n",
            {"memory/memory.limit_in_bytes": str(800 * 2**20)},
            800,
        ),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": str(2**63 - 4096)}, None),
        ("0::/\n", {}, None),
    ],
    ids=["v2", "v2 in a container", "v1", "v1 without", "without"],
)
def test_the_memory_of_a_container_is_read(
    tmp_path: Path, groups: str, files: dict[str, str], expected: int | None
) -> None:
    for name, text in ({"proc/self/cgroup": groups} | files).items():
        file = tmp_path / (name if name.startswith("proc") else f"sys/fs/cgroup/{name}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    assert available_mib(tmp_path) == (expected or machine)


def test_without_a_setting_the_machine_bounds_the_service(stand_in_weights: Path) -> None:
    with started(stand_in_weights) as (process, client):
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        unharmed(client)
        assert arenas(process.pid) == 0  # besides the main one
    stated = int(limits.partition("Max data size")[2].split()[0])
    assert stated == int(0.9 * available_mib()) * 2**20


def arenas(pid: int) -> int:
    """The arenas of a process's threads: glibc maps 64 MiB, aligned, and uses the first part."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    parts = re.findall(r"^(\w+)-(\w+) rw-p .*\n\2-(\w+) ---p", maps, re.MULTILINE)
    spans = [(int(first, 16), int(last, 16)) for first, _, last in parts]
    return sum(first % ARENA == 0 and last - first == ARENA for first, last in spans)


def test_a_container_with_too_little_memory_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bound: list[int] = []
    monkeypatch.setattr("service.memory.process_limit.available_mib", lambda: 100)
    monkeypatch.setattr("service.memory.process_limit.bound_memory", bound.append)
    bound_memory_by_machine()
    assert "has 100 MiB; the service wants" in caplog.text
    assert bound[0] > 256
