"""What a container does before it serves, on a fake GPU: build, keep, build again, refuse."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
FAKES = Path(__file__).parent / "fakes"
SAMPLE = ROOT / "service" / "web" / "samples" / "day"


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def environment(cache: Path, port: int, **more: str) -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": f"{FAKES}:{ROOT}",
        "ENGINE_CACHE": str(cache),
        "IMAGE_CUDA": "13",
        "SEGMIF_PORT": str(port),
        **more,
    }


def command(weights: Path, *words: str) -> list[str]:
    return [sys.executable, "docker/start.py", *words, "--weights", str(weights)]


@contextmanager
def container(
    weights: Path, cache: Path, port: int, log: Path, words: Sequence[str] = (), **more: str
) -> Iterator[httpx.Client]:
    """A start that must drain and end at SIGTERM."""
    with log.open("w") as file:
        started = subprocess.Popen(
            command(weights, *words), cwd=ROOT, env=environment(cache, port, **more), stderr=file
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            yield client
        started.send_signal(signal.SIGTERM)
        assert started.wait(20) == -signal.SIGTERM, log.read_text()
        assert "Application shutdown complete" in log.read_text()
    finally:
        started.kill()


def answers(client: httpx.Client) -> Iterator[httpx.Response]:
    """What /readyz says until it says yes."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            answer = client.get("/readyz")
        except httpx.TransportError:  # before the door opens, and between both of its keepers
            time.sleep(0.05)
            continue
        yield answer
        if answer.status_code == 200:
            return
        time.sleep(0.1)
    raise AssertionError("the service did not become ready")


def post(client: httpx.Client) -> httpx.Response:
    files = {name: (SAMPLE / f"{name}.png").read_bytes() for name in ("visible", "infrared")}
    return client.post("/fuse-segment", files=files, headers={"Accept": "image/png"})


def test_an_engine_is_built_once_and_again_where_it_does_not_fit(
    stand_in_weights: Path, tmp_path: Path, port: int
) -> None:
    cache, log = tmp_path / "cache", tmp_path / "log"
    engine = cache / f"{stand_in_weights.stem}.engine"
    with container(stand_in_weights, cache, port, log, FAKE_STEP_S="0.2") as client:
        *waiting, _ = answers(client)
        assert post(client).status_code == 200
        told = [answer.json()["detail"] for answer in waiting]
        assert {answer.status_code for answer in waiting} == {503}
        assert all(answer.headers["Retry-After"] for answer in waiting)
        percents = [
            int(n) for text in told for n in re.findall(r"being built for Fake GPU: (\d+) %", text)
        ]
        assert percents and percents == sorted(percents)
    assert "100 %" in log.read_text()

    with container(stand_in_weights, cache, port, log) as client:
        assert list(answers(client))
    assert "fits this ONNX and this machine" in log.read_text() and "%" not in log.read_text()

    with container(stand_in_weights, cache, port, log, FAKE_DRIVER="13.1") as client:
        assert list(answers(client))
    assert "100 %" in log.read_text()
    assert (
        json.loads(engine.with_name(f"{engine.name}.json").read_text())["engine"]["driver"]
        == "13.1"
    )

    engine.write_bytes(engine.read_bytes()[:-1])
    with container(stand_in_weights, cache, port, log, FAKE_DRIVER="13.1") as client:
        assert list(answers(client))
    assert "one of the two was replaced" in log.read_text() and "100 %" in log.read_text()


def test_an_engine_that_is_not_as_its_onnx_never_serves(
    stand_in_weights: Path, tmp_path: Path, port: int
) -> None:
    log = tmp_path / "log"
    with container(stand_in_weights, tmp_path, port, log, FAKE_LOSS="1") as client:
        for answer in answers(client):
            assert answer.status_code == 503
            if "did not come out right" in answer.text:
                break
    assert "agree with the reference" in log.read_text()


def test_rigs_are_read_with_the_engine_that_was_built(
    stand_in_weights: Path, tmp_path: Path, port: int
) -> None:
    record, log = tmp_path / "record.jsonl", tmp_path / "log"
    cameras = ("--visible", "synthetic:96x64@20", "--infrared", "synthetic:96x64@20")
    words = ("run", *cameras, "--out", str(record))
    with container(stand_in_weights, tmp_path / "cache", port, log, words) as client:
        *waiting, _ = answers(client)
        assert {answer.status_code for answer in waiting} <= {503}
        end = time.monotonic() + 30
        while not any(rig["pairs"].get("ok") for rig in client.get("/live").json()["rigs"]):
            assert time.monotonic() < end, client.get("/live").text
            time.sleep(0.1)
    assert "100 %" in log.read_text()
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    assert {line["report"]["engine"] for line in lines} == {"tensorrt 10.16.1 Fake GPU"}


def test_a_rig_that_cannot_be_is_refused_before_an_engine_is_built(
    stand_in_weights: Path, tmp_path: Path, port: int
) -> None:
    words = ("run", "--visible", "nothing.mp4", "--infrared", "synthetic")
    ended = subprocess.run(
        command(stand_in_weights, *words),
        cwd=ROOT,
        env=environment(tmp_path / "cache", port),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2
    assert "nothing.mp4: there is no such file" in ended.stderr.splitlines()[-1]
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("fault", "code", "sentence"),
    [
        ({"FAKE_GPU": "none"}, 71, "--gpus all"),
        ({"FAKE_DRIVER": "12.6", "FAKE_INTEGRATED": "1"}, 78, "of CUDA 12.6 (JetPack 6)"),
        ({"FAKE_DRIVER": "14.0", "FAKE_INTEGRATED": "1"}, 78, "this image is for CUDA 13"),
        ({"FAKE_FREE": "1000"}, 73, "free some disk space"),
        ({"ENGINE_CACHE": "/dev/null"}, 73, "ENGINE_CACHE is no folder"),
        ({"ENGINE_FLAGS": "--height 32 480 500"}, 70, "multiples of 32"),
        ({"SEGMIF_HOST": "0.0.0.0"}, 2, "set SEGMIF_TOKEN"),
        ({"SEGMIF_TOKN": "x"}, 2, "SEGMIF_TOKEN meant"),
    ],
)
def test_a_bad_start_says_why_in_its_last_line(
    fault: dict[str, str],
    code: int,
    sentence: str,
    stand_in_weights: Path,
    tmp_path: Path,
    port: int,
) -> None:
    ended = subprocess.run(
        command(stand_in_weights),
        cwd=ROOT,
        env=environment(tmp_path / "cache", port) | fault,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == code, ended.stderr
    assert sentence in ended.stderr.splitlines()[-1]


def test_a_taken_port_is_said(stand_in_weights: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = subprocess.run(
            command(stand_in_weights),
            cwd=ROOT,
            env=environment(tmp_path, port),
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert ended.returncode == 69
    assert f"port {port} (address already in use)" in ended.stderr.splitlines()[-1]
