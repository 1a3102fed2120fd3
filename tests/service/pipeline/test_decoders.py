"""A frame that crashes, holds up or floods its decoder costs one answer and nothing else."""

import logging
import math
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pytest

from segmif.imaging import codecs
from segmif.runtime import open_runtime
from service.pipeline.decoder.pool import DecoderPool
from service.settings import Settings
from tests.service.pipeline.odd_decoder import (
    BREAK_OUT,
    CRASH,
    FLOOD,
    KILLED,
    KILLED_ONCE,
    LIE,
    SPIN,
)
from tests.service.server.test_service import post_pair, started

ODD = (sys.executable, str(Path(__file__).with_name("odd_decoder.py")))
LIMIT_S = 0.5


def frame(width: int) -> bytes:
    ramp = np.linspace(20, 220, 240 * width).reshape(240, width).astype(np.uint8)
    return codecs.encode_png(ramp)


@pytest.fixture(scope="module")
def odd(
    serve: Callable[..., AbstractContextManager[httpx.Client]], stand_in_weights: Path
) -> Iterator[httpx.Client]:
    """A service whose decoders do what the width of a visible frame says."""
    settings = Settings(weights=stand_in_weights, decode_limit_s=LIMIT_S)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "service.pipeline.decoder.pool.DecoderPool", partial(DecoderPool, command=ODD)
        )
        with serve(settings, open_runtime(stand_in_weights, threads=1)) as client:
            yield client


def post(client: httpx.Client, width: int, **headers: str) -> httpx.Response:
    files = {"visible": frame(width), "infrared": frame(320)}
    return client.post("/fuse-segment", files=files, headers=headers)


def losses(client: httpx.Client) -> dict[str, float]:
    text = client.get("/metrics").text
    found = re.findall(r'segmif_decoders_lost_total\{reason="(\w+)"\} (\S+)', text)
    return {reason: float(count) for reason, count in found}


@pytest.mark.parametrize(
    ("width", "reason", "words"),
    [
        (CRASH, "crashed", "the decoder crashed on it; save it anew"),
        (SPIN, "overstayed", f"it takes longer than {LIMIT_S} s"),
        (FLOOD, "memory", "it takes more memory than 323x240 pixels may"),
        (LIE, "crashed", "the decoder crashed on it"),
    ],
)
def test_a_frame_that_ends_its_decoder_costs_one_answer(
    odd: httpx.Client, width: int, reason: str, words: str
) -> None:
    before = losses(odd).get(reason, 0)
    stop = threading.Event()

    def go_on() -> list[int]:
        answers: list[int] = []
        while not stop.is_set() or not answers:
            answers.append(post(odd, 320).status_code)
        return answers

    with ThreadPoolExecutor(2) as others:
        neighbours = [others.submit(go_on) for _ in range(2)]
        try:
            refused = [post(odd, width) for _ in range(2)]
        finally:
            stop.set()
        assert {status for answers in neighbours for status in answers.result()} == {200}
    for answer in refused:
        told = answer.json()
        assert (told["status"], told["kind"], told["part"]) == (422, "damaged", "visible")
        assert words in told["detail"]
    assert losses(odd)[reason] == before + 2
    assert post(odd, 320).status_code == 200


def test_a_frame_is_not_blamed_for_a_process_that_was_killed(odd: httpx.Client) -> None:
    assert post(odd, KILLED_ONCE).status_code == 200
    before = losses(odd)["killed"]
    for _ in range(2):
        answer = post(odd, KILLED)
        assert (answer.status_code, answer.json()["kind"]) == (503, "not_ready")
        assert answer.headers["Retry-After"] == "1"
    assert losses(odd)["killed"] == before + 4
    assert post(odd, 320).status_code == 200


def test_a_decoder_can_do_nothing_but_decode(odd: httpx.Client) -> None:
    assert post(odd, BREAK_OUT).json()["detail"] == "done: "


def test_a_deadline_ends_what_decodes(odd: httpx.Client) -> None:
    with ThreadPoolExecutor(8) as clients:
        start = time.monotonic()
        asked = [clients.submit(post, odd, SPIN, **{"X-Deadline-Ms": "300"}) for _ in range(8)]
        kinds = {answer.result().json()["kind"] for answer in asked}
    assert time.monotonic() - start < 8 * LIMIT_S  # which they would take in turn, and more
    assert kinds <= {"deadline_missed", "cannot_finish", "damaged"}
    assert "deadline_missed" in kinds
    assert odd.get("/livez").status_code == 200
    assert post(odd, 320).status_code == 200


def kill(pid: int) -> None:
    """Kill a process and wait for its end."""
    os.kill(pid, signal.SIGKILL)
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)


def test_a_decoder_that_was_killed_while_idle_costs_nothing() -> None:
    lost: list[str] = []
    decoders = DecoderPool(1, 2.0, lost.append)
    try:
        for _ in range(3):
            levels = decoders.infrared(frame(320), 10**6, math.inf)
            np.testing.assert_array_equal(levels, codecs.decode_infrared(frame(320)))
            process = decoders._free.get()
            assert process
            kill(process.pid)
            decoders._free.put(process)
        program = decoders._template._program
        assert program
        kill(program.pid)  # and with it all that it forked
        assert decoders.infrared(frame(320), 10**6, math.inf).shape == (240, 320)
        assert not lost
    finally:
        decoders.close()


def test_where_no_process_can_be_had_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    decoders = DecoderPool(1, 2.0, command=(sys.executable, "-c", "pass"))
    try:
        with caplog.at_level(logging.WARNING):
            assert decoders.infrared(frame(320), 10**6, math.inf).shape == (240, 320)
        assert "frames are decoded in the process of the service" in caplog.text
    finally:
        decoders.close()


def test_without_its_filter_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    program = (
        "import sys; from service.pipeline.decoder import sandbox, worker; sandbox.pyseccomp = None"
        "; sandbox.MISSING = 'libseccomp is missing'; worker.main(int(sys.argv[1]))"
    )
    decoders = DecoderPool(1, 2.0, command=(sys.executable, "-c", program))
    try:
        with caplog.at_level(logging.WARNING):
            assert decoders.infrared(frame(320), 10**6, math.inf).shape == (240, 320)
        assert "confined processes, but libseccomp is missing" in caplog.text
    finally:
        decoders.close()


def descendants(pid: int) -> set[int]:
    """The processes below one."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            parents[int(path.parent.name)] = int(fields[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def environments(pids: set[int]) -> Iterator[bytes]:
    """What processes know of the variables of the service, if they can be looked at."""
    for pid in pids:
        with suppress(PermissionError):
            yield (Path("/proc") / str(pid) / "environ").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_decoder_outlives_the_service(stand_in_weights: Path, number: int) -> None:
    with started(stand_in_weights) as (process, client):
        post_pair(client)
        decoders = descendants(process.pid)
        assert len(decoders) >= 2  # the program and what it forked
        assert not any(b"SEGMIF_" in environment for environment in environments(decoders))
        process.send_signal(number)
        process.wait(20)
        limit = time.monotonic() + 10
        while left := {pid for pid in decoders if (Path("/proc") / str(pid)).exists()}:
            assert time.monotonic() < limit, left
            time.sleep(0.05)
