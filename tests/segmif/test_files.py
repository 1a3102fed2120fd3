"""Text of strangers by every program that reads it: taken, or refused in one sentence."""

import os
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from calibration.commands import check, pair, pick
from segmif import cli
from segmif.files import read_bytes, read_text, write_bytes
from segmif.folders import read_pairs
from segmif.imaging import codecs
from segmif.manifest import Manifest
from segmif.parsing import ParseError, json_value, read_table
from service.__main__ import main
from service.settings import load_settings
from training.config import read_config
from training.data.datasets.class_codes import read_class_map

MARK = b"\xef\xbb\xbf"
GOOD = {
    "a run": (
        read_config,
        b'variant = "nano"\n[[phases]]\nsteps = 1\nbatch = 1\ncrop = [32, 32]\n',
    ),
    "settings": (lambda path: load_settings({}, path), b"port = 1234\n"),
    "classes": (read_class_map, b'name = "a"\nclasses = [{name = "b", colour = [1, 2, 3]}]\n'),
    "a table": (lambda path: read_table(path, ("visible",)), b"visible,infrared\na,b\n"),
}


@pytest.mark.parametrize("what", list(GOOD))
def test_a_mark_changes_nothing_and_no_text_is_told(tmp_path: Path, what: str) -> None:
    read, data = GOOD[what]
    path = tmp_path / "given"
    path.write_bytes(data)
    plain = read(path)
    path.write_bytes(MARK + data.replace(b"\n", b"\r\n"))
    assert read(path) == plain
    for strange, said in (
        (data.decode().encode("utf-16"), "given is UTF-16 text, expected UTF-8: save it as UTF-8"),
        (data + b"\0", "a zero byte, expected UTF-8 text"),
        (b"#" * (65 << 20), "given has more than [0-9,]+ bytes"),
    ):
        path.write_bytes(strange)
        with pytest.raises(ValueError, match=said):
            read(path)
    path.unlink()
    for make, kind in ((os.mkfifo, "pipe"), (os.mkdir, "folder")):
        make(path)
        with pytest.raises(ValueError, match=f"given is a {kind}, expected a regular file"):
            read(path)
        path.unlink() if path.is_fifo() else path.rmdir()


@pytest.mark.parametrize("what", ["a run", "settings", "classes"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a = " + b"[" * 100_000, "given is not TOML: "),
        (b"a = 1\na = 2\n", "given is not TOML: .*"),
        (b'name = "\xff"\n', "given, line 1: the byte 0xff is no UTF-8"),
    ],
)
def test_toml_that_would_harm(tmp_path: Path, what: str, text: bytes, said: str) -> None:
    (tmp_path / "given").write_bytes(text)
    with pytest.raises(ValueError, match=said) as refusal:
        GOOD[what][0](tmp_path / "given")
    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, "a": 2}', "'a' stands twice"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": NaN}', "NaN is no finite number"),
        ('{"a": 1e999}', "1e999 is no finite number"),
        ('{"a": ' + "9" * 5000 + "}", "it is no JSON"),
    ],
)
def test_json_that_would_harm(text: str, said: str) -> None:
    with pytest.raises(ParseError, match=said):
        json_value(text)


def test_a_manifest_with_a_mark_is_as_good(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    Manifest(variant="nano", taxonomy="mfnet", precision="fp32").save(path, b"content")
    beside = Manifest.beside(path)
    beside.write_bytes(MARK + beside.read_bytes())
    assert Manifest.open(path)[1] == b"content"
    beside.write_bytes(b"[" * 100_000)
    with pytest.raises(ValueError, match=r"a\.onnx\.json is not a manifest .*nested too deeply"):
        Manifest.open(path)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("file,stamp_ns\n1.png," + "9" * 25, "more than any clock of nanoseconds holds"),
        ("file,stamp_ns\n1.png," + "9" * 400, "is not a time in ns"),
        ("file,stamp_ns\n1.png,1,2", "line 2: expected 2 values"),
        ("file,stamp_ns,file\n1.png,1,2", "a column stands twice"),
        ('file,stamp_ns\n"' + "a" * 200_000, "no CSV"),
    ],
)
def test_stamps_that_are_none(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    rows: str,
    said: str,
) -> None:
    for name in ("visible", "infrared"):
        write_frame(tmp_path / name / "1.png")
    (tmp_path / "stamps.csv").write_text(rows)
    words = [f"--{name}={tmp_path / name}" for name in ("visible", "infrared")]
    stamps = [f"--visible-stamps={tmp_path / 'stamps.csv'}", f"--out={tmp_path / 'pairs.csv'}"]
    monkeypatch.setattr(sys, "argv", ["calibration", "pair", *words, *stamps])
    assert cli.run("calibration", "", {"pair": pair, "pick": pick, "check": check}) == 1
    error = capsys.readouterr().err
    assert said in error
    assert len(error) < 700


def write_frame(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    write_bytes(path, codecs.encode_png(np.full((32, 32, 3), 90, np.uint8)))
    return path


def test_a_pipe_among_frames_is_told_and_not_waited_for(
    tmp_path: Path, stand_in_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("1.png", "2.png"):
        write_frame(tmp_path / "visible" / name)
    write_frame(tmp_path / "infrared" / "1.png")
    os.mkfifo(tmp_path / "infrared" / "2.png")
    folders = [f"--{name}={tmp_path / name}" for name in ("visible", "infrared", "out")]
    assert main(["infer", *folders, f"--weights={stand_in_weights}"]) == 1
    assert "2.png is a pipe, expected a regular file" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out" / "fused").iterdir()] == ["1.png"]


def test_a_certificate_that_is_a_pipe_is_told(
    tmp_path: Path, stand_in_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pem")
    tls = [f"--tls-certificate={tmp_path / 'pem'}", f"--tls-key={tmp_path / 'pem'}"]
    assert main(["serve", f"--weights={stand_in_weights}", "--port=0", *tls]) == 2
    assert "pem is a pipe, expected a regular file" in capsys.readouterr().err


def test_names_that_are_no_text_pass_through_a_pairs_file(tmp_path: Path) -> None:
    name = os.fsdecode(b"nacht-\xff.png")
    for folder in ("visible", "infrared"):
        write_frame(tmp_path / folder / name)
    (tmp_path / "pairs.csv").write_bytes(b"visible,infrared\nnacht-\xff.png,nacht-\xff.png\n")
    (found,) = read_pairs(tmp_path / "pairs.csv", tmp_path / "visible", tmp_path / "infrared")
    assert found.visible.is_file()


@pytest.mark.parametrize(
    "name", ["n" * 251, os.fsdecode(b"\xff" * 9), unicodedata.normalize("NFD", "\u00e4" * 60)]
)
def test_pairs_of_any_name_are_inferred(tmp_path: Path, stand_in_weights: Path, name: str) -> None:
    write_frame(tmp_path / "visible" / f"{name}.png")
    composed = name if "\udcff" in name else unicodedata.normalize("NFC", name)
    write_frame(tmp_path / "infrared" / f"{composed}.png")
    folders = [f"--{part}={tmp_path / part}" for part in ("visible", "infrared", "out")]
    assert main(["infer", *folders, f"--weights={stand_in_weights}"]) == 0
    assert (tmp_path / "out" / "fused" / f"{name}.png").is_file()


@pytest.mark.parametrize("read", [read_bytes, read_text])
def test_a_device_is_not_read(read: Callable[[Path], object]) -> None:
    with pytest.raises(ValueError, match="/dev/zero is a device, expected a regular file"):
        read(Path("/dev/zero"))


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_never_replaced(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    with pytest.raises(OSError, match=f"out is a {kind}, expected a regular file"):
        write_bytes(path, b"new")
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_any_name_can_be_printed(tmp_path: Path, stand_in_weights: Path) -> None:
    name = os.fsdecode(b"rig-\xff.yaml")
    (tmp_path / name).write_text("")
    words = ["serve", f"--weights={stand_in_weights}", f"--rig={tmp_path / name}", "--print-config"]
    command = [sys.executable, "-m", "service", *words]
    # Bytes of the command line are kept, though Python could not print them.
    ended = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert rb"rig-\udcff.yaml" in ended.stdout
