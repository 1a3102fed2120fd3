"""Numbers of the command lines: whatever is typed is honoured or refused in words."""

import sys
from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from calibration.commands import live, pair
from segmif import cli
from segmif.argument_types import FloatRange, IntegerRange
from service.__main__ import main

ROOT = Path(__file__).parents[2]
HOSTILE = (
    "nan",
    "-inf",
    "",
    " ",
    "one",
    "0x10",
    "9" * 400,
    "9" * 5000,
    "1e400",
    "-1",
    "٣٣٣٣٣٣٣٣٣٣٣",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_numbers_beyond_their_ends_are_refused(text: str) -> None:
    for read in (IntegerRange(0, 9), FloatRange(0, 9)):
        with pytest.raises(ArgumentTypeError, match=r"is no .*number from 0 to 9"):
            read(text)


def test_numbers_within_their_ends_are_read() -> None:
    assert [IntegerRange(0, 9)(text) for text in ("0", "9", " 3 ")] == [0, 9, 3]
    assert [FloatRange(0, 9)(text) for text in ("0", "9", "1e-300")] == [0, 9, 1e-300]
    assert FloatRange(0, float("inf"))("inf") == float("inf")
    with pytest.raises(ArgumentTypeError):
        IntegerRange(0, 9)("1.5")


@pytest.mark.parametrize("command", ["run", "infer", "serve"])
def test_a_misspelt_option_is_said_in_two_lines(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([command, "--wieghts=x"], "segmif")
    usage, said = capsys.readouterr().err.splitlines()
    assert usage.startswith(f"usage: segmif {command} ")
    assert said.endswith("unrecognized arguments: --wieghts=x; did you mean --weights?")


def test_no_program_takes_a_number_without_ends() -> None:
    programs = ("training", "export", "service", "calibration", "docker", "lab", "benchmarks")
    for folder in ("segmif", *programs):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert "type=int" not in text and "type=float" not in text, path


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "9" * 400])
@pytest.mark.parametrize(
    ("command", "flag"),
    [
        ("live", "--tolerance-ms"),
        ("live", "--port"),
        ("live", "--square-mm"),
        ("pair", "--tolerance-ms"),
    ],
)
def test_commands_say_what_they_take(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    flag: str,
    value: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["calibration", command, f"{flag}={value}"])
    with pytest.raises(SystemExit) as ended:
        cli.run("calibration", "", {"live": live, "pair": pair})
    assert ended.value.code == 2
    assert f"argument {flag}: {value[:40]!r} is no " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        *((flag, "nan") for flag in ("--threads", "--port", "--depth-m")),
        *((flag, "-1") for flag in ("--threads", "--port", "--depth-m")),
        *((flag, "9" * 400) for flag in ("--threads", "--port")),
    ],
)
def test_the_service_says_what_it_takes(
    capsys: pytest.CaptureFixture[str], flag: str, value: str
) -> None:
    try:
        assert main(["serve", f"{flag}={value}"]) == 2
    except SystemExit as ended:
        assert ended.code == 2
    told = capsys.readouterr().err
    assert "Traceback" not in told and ("is no" in told or "Input should be" in told)
