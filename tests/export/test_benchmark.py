"""The table of what variants cost, and what it is not asked for."""

import pytest

from export.__main__ import COMMANDS
from segmif import cli


def benchmark(monkeypatch: pytest.MonkeyPatch, *flags: str) -> int:
    monkeypatch.setattr("sys.argv", ["export", "benchmark", "--variants", "nano", *flags])
    return cli.run("export", "", COMMANDS)


def test_the_readmes_counts_are_these(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert benchmark(monkeypatch, "--runs", "0") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["nano", "0.93", "M", "2.69", "-", "-"]
    assert "one pair at 480x640" in lines[2]


@pytest.mark.parametrize("size", ["30x30", "480", "480x640x3", "x", "0x32"])
def test_sizes_that_are_none_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], size: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        benchmark(monkeypatch, "--size", size)
    assert ended.value.code == 2
    assert f"{size!r} is no size: expected multiples of 32" in capsys.readouterr().err


def test_fewer_runs_than_none_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        benchmark(monkeypatch, "--runs=-1", "--threads", "2")
    assert ended.value.code == 2
    assert "argument --runs: '-1' is no whole number from 0" in capsys.readouterr().err
