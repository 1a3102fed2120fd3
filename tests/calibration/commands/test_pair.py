"""Folders of stamped frames to pairs."""

import csv
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.commands import pair
from segmif import cli
from segmif.imaging.codecs import encode_png, read_counts

EPOCH_MS = 1_790_000_000_000


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *words: object) -> int:
    folders = ["--visible", folder / "visible", "--infrared", folder / "infrared"]
    command = ["calibration", "pair", *folders, "--out", folder / "pairs.csv", *words]
    monkeypatch.setattr(sys, "argv", list(map(str, command)))
    return cli.run("calibration", "", {"pair": pair})


def waving(at_ms: float, size: tuple[int, int]) -> np.ndarray:
    """A disc that moves by fits and starts across a dull scene (H, W)."""
    place = np.tanh(3 * np.sin(at_ms / 310)) + np.tanh(4 * np.sin(at_ms / 173 + 1))
    x = round((0.5 + 0.2 * place) * size[0] * 16)
    frame = np.full(size[::-1], 60, np.uint8)
    cv2.circle(frame, (x, size[1] * 8), size[1] * 4, 200, -1, cv2.LINE_AA, 4)
    return frame


def record(folder: Path, infrared_ms: float) -> None:
    """Four seconds at 25 and 10 Hz; the infrared clock is `infrared_ms` behind, and in us."""
    for name in ("visible", "infrared"):
        (folder / name).mkdir()
    for at in range(0, 4000, 40):
        frame = np.repeat(waving(at, (64, 48))[..., None], 3, axis=2)
        (folder / "visible" / f"rgb_{EPOCH_MS + at}.png").write_bytes(encode_png(frame))
    for at in range(7, 4000, 100):
        counts = waving(at, (32, 24)).astype(np.uint16) * 20 + 20_000
        stamp_us = round((EPOCH_MS + at - infrared_ms) * 1000)
        (folder / "infrared" / f"{stamp_us}.png").write_bytes(encode_png(counts))


def test_an_unknown_clock_is_found_and_frames_are_paired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path, infrared_ms=9000)
    assert run(monkeypatch, tmp_path) == 1
    assert "do the clocks differ" in capsys.readouterr().err
    assert run(monkeypatch, tmp_path, "--offset-from-motion") == 0
    said = capsys.readouterr().out
    offset = re.search(r"offset ([\d.]+) ", said)
    assert offset
    assert float(offset[1]) == pytest.approx(9000, abs=25)
    assert re.search(r"unpaired: 6\d visible, [0-3] infrared", said)
    with (tmp_path / "pairs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 37
    for row in rows:
        visible_ms = int(row["visible"][4:-4])
        infrared_ms = int(row["infrared"][:-4]) / 1000 + 9000
        assert abs(visible_ms - infrared_ms) <= 20 + 25
        assert float(row["skew_ms"]) == pytest.approx(infrared_ms - visible_ms, abs=25)


def test_motion_is_read_from_the_picture_as_stated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path, infrared_ms=9000)
    random = np.random.default_rng(0)
    for path in (tmp_path / "infrared").iterdir():
        counts = read_counts(path)
        counts[random.random(counts.shape) < 0.2] = 65_535
        rows = random.integers(0, 65_536, (6, counts.shape[1]))
        came = np.vstack([counts, rows]).astype(np.uint16).byteswap()
        path.write_bytes(encode_png(came))
    stated = ["--infrared-crop=0,0,0,6", "--infrared-byte-order=swapped"]
    stated += ["--infrared-invalid=65535"]
    assert run(monkeypatch, tmp_path, "--offset-from-motion", *stated) == 0
    offset = re.search(r"offset ([\d.]+) ", capsys.readouterr().out)
    assert offset and float(offset[1]) == pytest.approx(9000, abs=25)


def test_stamps_from_a_csv_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path, infrared_ms=0)
    names = sorted(path.name for path in (tmp_path / "infrared").iterdir())
    rows = [f"{name},{EPOCH_MS // 1000 + 0.1 * at:.4f}" for at, name in enumerate(names)]
    stamps = tmp_path / "stamps.csv"
    stamps.write_text("\n".join(["file,stamp_s", *rows]))
    words = ["--infrared-stamps", stamps]
    assert run(monkeypatch, tmp_path, *words, "--tolerance-ms", 1) == 0
    # 0, 200, 400, ... ms fall on a visible frame exactly.
    assert "20 pairs within 1.0 ms (skew: median 0.0, largest 0.0 ms)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file\nx.png\n", "expected the columns file and stamp_ns"),
        ("file,stamp_ms\nx.png,5\n", "line 2: no frame 'x.png'"),
        ("file,stamp_ms\n000000029.png,noon\n", "line 2: 'noon' is not a time in ms"),
        (None, "000000029.png: the name is no time since 1970"),
    ],
)
def test_frames_without_a_time_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str | None,
    said: str,
) -> None:
    for name in ("visible", "infrared"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "000000029.png").touch()
    (tmp_path / "stamps.csv").write_text(text or "")
    words = ["--visible-stamps", tmp_path / "stamps.csv"] if text else []
    assert run(monkeypatch, tmp_path, *words) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "pairs.csv").exists()
