"""A rolling update on Ray while clients send: nothing accepted is lost, and it is said."""

import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import onnx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from segmif.client import Client, ServiceError
from segmif.client.http import pack
from segmif.client.responses import Answer, unpack
from segmif.manifest import Manifest, sha256
from segmif.wire.binary_pair import RawAnswer
from tests.conftest import stand_in_model
from tests.service.conftest import free_port

pytestmark = pytest.mark.ray

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[3]
PAUSE_S = 0.02
AT_A_TIME = 3  # pairs of a socket that wait for their answer
VISIBLE = np.random.default_rng(0).integers(0, 256, (32, 64, 3), np.uint8)
INFRARED = np.ascontiguousarray(VISIBLE[..., 0])


@dataclass
class Seen:
    """What one client got, in this order."""

    weights: list[str] = field(default_factory=list)  # of each answer
    resets: list[str | None] = field(default_factory=list)  # why its memory was empty
    refused: int = 0

    def take(self, answer: Answer | ServiceError) -> None:
        """Note an answer, or a refusal, which must say when to come again."""
        if isinstance(answer, ServiceError):
            assert answer.status == 503 and (answer.retry_after_s or 0) > 0, answer
            self.refused += 1
            return
        self.weights.append(answer.report["weights_sha256"])
        self.resets.append(answer.report["memory"]["reset"])


@pytest.fixture
def other_weights(tmp_path: Path) -> Path:
    """A stand-in network with another threshold, so with another hash."""
    path = tmp_path / "other.onnx"
    onnx.save(stand_in_model(99), path)
    Manifest(variant="nano", taxonomy="mfnet", precision="fp32", sha256=sha256(path)).write(path)
    return path


def over_http(url: str, stream: str, seen: Seen, ended: Event) -> None:
    """Send one pair of a stream after the other."""
    with Client(url, attempts=1, timeout_s=60) as client:
        while not ended.wait(PAUSE_S):
            try:
                seen.take(client.fuse(VISIBLE, INFRARED, stream=stream))
            except ServiceError as refusal:
                seen.take(refusal)


def over_websocket(url: str, seen: Seen, ended: Event, closed: list[int]) -> None:
    """
    Send with some answers open. Each time that the service closes, it has answered what it says it
    took; note how many pairs were still on their way.
    """
    address = url.replace("http", "ws") + "/stream?live=false"
    while not ended.is_set():
        with connect(address, max_size=None) as socket:
            sent = answered = 0
            try:
                while not ended.wait(PAUSE_S):
                    with suppress(ConnectionClosed):  # the answers that came before are to be read
                        socket.send(pack(VISIBLE, INFRARED))
                        sent += 1
                    while sent - answered >= AT_A_TIME or socket.protocol.close_rcvd:
                        raw = RawAnswer.from_bytes(bytes(socket.recv(60)))  # type: ignore[arg-type]
                        assert raw.sequence == answered
                        answered += 1
                        seen.take(unpack(raw, {}))
            except ConnectionClosed as end:
                assert end.rcvd and end.rcvd.code == 1012, end
                assert end.rcvd.reason == f"the service stops; pairs taken: {answered}"
                closed.append(sent - answered)


def until(reached: Callable[[], bool], served: subprocess.Popen[str]) -> None:
    """Wait, as long as the service runs."""
    limit = time.monotonic() + 120
    while not reached():
        assert served.poll() is None and time.monotonic() < limit
        time.sleep(0.05)


def said(served: subprocess.Popen[str], words: str) -> None:
    """Read what the service says until these words come."""
    assert served.stderr
    lines: list[str] = []
    for line in served.stderr:
        lines.append(line)
        if words in line:
            return
    pytest.fail(f"{words!r} did not come: {lines}")


def test_new_weights_under_load(
    stand_in_weights: Path, other_weights: Path, tmp_path: Path
) -> None:
    port, file, ended = free_port(), tmp_path / "segmif.toml", Event()
    file.write_text(f'weights = "{stand_in_weights}"\n')
    words = ["serve", "--ray", "--replicas=2", f"--port={port}", f"--config={file}"]
    url, closed = f"http://127.0.0.1:{port}", list[int]()
    first, second, third = clients = [Seen(), Seen(), Seen()]
    pipes: Any = {"stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-m", "service", *words], cwd=ROOT, **pipes) as served:
        try:
            said(served, "answers at")
            with ThreadPoolExecutor(3) as threads:
                sending = [
                    threads.submit(over_http, url, "one", first, ended),
                    threads.submit(over_http, url, "two", second, ended),
                    threads.submit(over_websocket, url, third, ended, closed),
                ]
                try:
                    until(lambda: all(len(each.weights) > 10 for each in clients), served)
                    file.write_text(f'weights = "{other_weights}"\n')
                    served.send_signal(signal.SIGHUP)
                    said(served, "renewed; the weights are")
                    new = sha256(other_weights)
                    until(lambda: all(each.weights[-1] == new for each in clients), served)
                    file.write_text('weights = "missing.onnx"\n')
                    served.send_signal(signal.SIGHUP)
                    said(served, "nothing is renewed, all stays as it was: ")
                    until(lambda: all(each.weights[-1] == new for each in clients), served)
                finally:
                    ended.set()
                for task in sending:
                    task.result()
        finally:
            served.terminate()
            served.communicate(timeout=120)
    assert served.returncode == 0
    for each in clients:
        resets = [reset for reset in each.resets if reset]
        log.info("%d answered, %d refused, anew: %s", len(each.weights), each.refused, resets)
    log.info("pairs without an answer as a socket closed: %s", closed)
    old_then_new(clients, sha256(stand_in_weights), new)
    assert closed  # each with all its pairs taken answered


def old_then_new(clients: list[Seen], old: str, new: str) -> None:
    """Each stream has answers of the old network, then of the new; each change is said."""
    for seen in clients:
        changed = seen.weights.index(new)
        assert set(seen.weights[:changed]) == {old} and set(seen.weights[changed:]) == {new}
        assert seen.resets[0] == "start" and seen.resets[changed] == "start"
