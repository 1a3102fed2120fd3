"""Every hostile file gets its right answer, within its memory and in its time."""

import json
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.generators.pictures import PICTURES, Picture
from tests.hostile.generators.small_files import SMALL_FILES, SmallFile

ROOT = Path(__file__).parents[2]
LIMIT_S = 10  # for one file; a camera's takes milliseconds
LARGEST = 6_000_000  # [bytes] of any of these files: none is large


class Child:
    """A process that reads files; started anew after one that ended it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def ask(self, name: str) -> dict[str, Any]:
        """What the process says of a file; `outcome` is "ended" if it ended or hung instead."""
        if self._process is None:
            command = [sys.executable, "-m", "tests.hostile.child"]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            self._process = subprocess.Popen(command, cwd=ROOT, text=True, **pipes)  # type: ignore[call-overload]
        process = self._process
        assert process and process.stdin and process.stdout
        process.stdin.write(name + "\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], LIMIT_S + 20)  # its start included
        if line := process.stdout.readline() if ready else "":
            return dict(json.loads(line))
        self.end()
        return {"outcome": "ended", "words": "a signal" if ready else "no answer in time"}

    def end(self) -> None:
        """End the process, if there is one."""
        if self._process:
            self._process.kill()
            self._process.communicate()
        self._process = None


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    child = Child()
    yield child
    child.end()


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_a_hostile_file_gets_its_right_answer(child: Child, picture: Picture) -> None:
    told = child.ask(picture.name)
    if picture.kinds:
        assert (told["outcome"], told.get("kind")) in {("refused", kind) for kind in picture.kinds}
        assert len(told["words"]) > 20  # a sentence: what came, what is taken
    else:
        assert told["outcome"] == "accepted", told
    assert told["peak_mib"] < picture.memory_mib, told
    assert told["bytes"] < LARGEST


@pytest.mark.parametrize("small", SMALL_FILES, ids=lambda small: small.name)
def test_a_small_file_of_strangers_gets_its_right_answer(child: Child, small: SmallFile) -> None:
    told = child.ask(small.name)
    assert told["outcome"] == ("accepted" if small.said is None else "refused"), told
    if small.said:
        assert small.said in told["words"], told
        assert "it.onnx" in told["words"] or "rig file" in told["words"], told
        assert len(told["words"]) < 1000  # a sentence, not the file
    assert told["peak_mib"] < small.memory_mib, told
