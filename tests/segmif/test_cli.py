"""What the caller can mend is a sentence; what only we can is a traceback."""

from types import SimpleNamespace
from typing import Any

import pytest

from export.to_onnx import ExportError
from segmif import cli
from segmif.__main__ import COMMANDS, main
from segmif.runtime.errors import ArtefactError, DeviceError


def run(error: Exception, monkeypatch: pytest.MonkeyPatch) -> int:
    """A program whose command raises that."""

    def main(_: object) -> int:
        raise error

    command: Any = SimpleNamespace(__doc__="Breaks.", add_arguments=lambda parser: None, main=main)
    monkeypatch.setattr("sys.argv", ["it", "break"])
    return cli.run("it", "", {"break": command})


@pytest.mark.parametrize("kind", [DeviceError, ArtefactError, ExportError, MemoryError, OSError])
def test_what_the_caller_can_mend_is_said(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(kind("this came: do that"), monkeypatch) == 1
    assert capsys.readouterr().err == "python -m it: this came: do that\n"


def test_a_file_that_is_missing_is_named_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(FileNotFoundError(2, "No such file or directory", "rig.yaml"), monkeypatch) == 1
    assert capsys.readouterr().err == "python -m it: rig.yaml: No such file or directory\n"


def test_memory_that_python_lacks_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(MemoryError(), monkeypatch) == 1
    assert "give it less at a time" in capsys.readouterr().err


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="nobody foresaw"):
        run(RuntimeError("nobody foresaw this"), monkeypatch)


@pytest.mark.parametrize("words", [["--help"], ["--version"]])
def test_one_command_lists_all(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(words)
    said = capsys.readouterr().out
    listed = all(f"    {name}" in said for name in (*COMMANDS, "doctor"))
    assert listed or said.startswith("segmif ")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    assert capsys.readouterr().out.startswith(f"usage: segmif {name} [-h]")


@pytest.mark.parametrize("words", [[], ["sevre"], ["export", "onx"]])
def test_what_is_no_command_is_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "usage: segmif" in capsys.readouterr().err
