"""The guide of the whole loop runs as it stands; each of its steps is killed once."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import httpx
import pytest

from segmif.manifest import Manifest
from tests.commands import Moment, start
from tests.service.conftest import free_port
from tests.test_documents import OF_LOOP, PRELUDE, blocks

ROOT = Path(__file__).parents[1]
RENAMED, OPENED = "os.rename", "open"
# When each command is killed the first time.
KILLS = {
    "run": Moment(RENAMED, count=8),  # the third pair has a report, but no frame
    "export-labels": Moment(RENAMED, "for-tool"),
    "import": Moment(RENAMED, "labelled"),
    "train": Moment(RENAMED, "checkpoint.pt", 3),
    "onnx": Moment(OPENED, "mine.safetensors"),  # its writing is killed in test_interrupted.py
    "verify": Moment(OPENED, "mine.onnx"),
    "start": Moment("os.kill"),  # the settings file is changed, the service does not know
    "report": Moment("socket.connect"),
    "promote": Moment("os.kill"),
}
PAIRS = 8


@dataclass
class Walk:
    """A user who goes through the guide in a folder."""

    folder: Path
    environment: dict[str, str]
    url: str
    service: ForkServerProcess | None = None
    killed: list[str] = field(default_factory=list)

    def go(self, code: str) -> None:
        """Do what a block says."""
        words = shlex.split(code)
        name = words[1] if words[2].startswith("-") else words[2]
        if "PID=$!" in words:
            self.serve()
        elif words[0] == "segmif" and name in KILLS:
            self.twice(name, words)
        else:
            code = PRELUDE + code.replace("http://127.0.0.1:8000", self.url)
            subprocess.run(["bash", "-c", code], cwd=self.folder, env=self.environment, check=True)

    def twice(self, name: str, words: list[str]) -> None:
        """Run a command, which is killed, and run it again; only training is told so."""
        if words[1] == "shadow":
            words = [*words, "--server", self.url]
        if self.service:
            words = [str(self.service.pid) if word == "$PID" else word for word in words]
        assert self.call(words, KILLS[name]) == -signal.SIGKILL, self.said()
        self.killed.append(name)
        again = [*words, "--resume"] if name == "train" else words
        assert self.call(again) == 0, self.said()

    def call(self, words: list[str], kill: Moment | None = None) -> int | None:
        process = start(words[1:], self.folder / "said.txt", self.folder, self.environment, kill)
        process.join(900)
        return process.exitcode

    def serve(self) -> None:
        """Start the service, instead of one that is killed."""
        if self.service:
            self.service.kill()
            self.service.join()
        words = ["run", "--config", "settings.toml", "--port", self.url.rpartition(":")[2]]
        log = self.folder / "service.txt"
        self.service = start(words, log, self.folder, self.environment)
        until(self.is_ready)

    def is_ready(self) -> bool:
        assert self.service and self.service.is_alive()
        try:
            return httpx.get(f"{self.url}/readyz", verify=False).is_success
        except httpx.TransportError:
            return False

    def shadow(self) -> Any:
        return httpx.get(f"{self.url}/shadow").json()

    def said(self) -> str:
        """What the newest command printed."""
        return (self.folder / "said.txt").read_text()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture
def walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Walk]:
    """The folder of a clone, with the command `segmif` on the path."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # torch reads it when the server of forks begins
    (tmp_path / "weights").symlink_to(ROOT / "weights")
    command = tmp_path / ".bin" / "segmif"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m segmif "$@"\n')
    command.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SEGMIF_")}
    kept["PATH"] = f"{command.parent}:{os.environ['PATH']}"
    user = Walk(tmp_path, kept, f"http://127.0.0.1:{free_port()}")
    try:
        yield user
    finally:
        if user.service:
            user.service.kill()
            user.service.join()


def test_a_rig_gets_its_network_by_the_guide_though_each_step_is_killed(walk: Walk) -> None:
    steps = [block.code for block in blocks(OF_LOOP) if block.kind == "sh"]
    beginning, (start_shadow, *end) = steps[:-4], steps[-4:]
    for code in beginning:
        walk.go(code)
    walk.go(start_shadow)
    walk.serve()  # as after a power cut: it goes on as its settings file says
    until(lambda: bool(walk.shadow()["state"] == "comparing"))
    for code in end:
        walk.go(code)
    digest = Manifest.read(walk.folder / "mine.onnx").sha256
    assert digest in httpx.get(f"{walk.url}/metrics").text
    walk.serve()
    assert digest in httpx.get(f"{walk.url}/metrics").text
    assert walk.killed == list(KILLS)

    for part in ("visible", "infrared", "report"):
        assert len(list((walk.folder / "kept" / part).iterdir())) == PAIRS
    assert not list(walk.folder.rglob("*.part"))
    trained = Manifest.read(walk.folder / "mine.safetensors").training
    assert trained["start"]  # what it descends from
