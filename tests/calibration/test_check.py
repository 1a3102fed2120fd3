"""A recording says whether the rig still stands."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration import check
from segmif import cli
from segmif.images import encode_png
from segmif.refinement import ENOUGH
from segmif.rig import Homography, write_rig


def run(monkeypatch: pytest.MonkeyPatch, folder: Path) -> int:
    words = ["--rig", folder / "rig.yaml"]
    words += ["--visible", folder / "visible", "--infrared", folder / "infrared"]
    monkeypatch.setattr(sys, "argv", ["calibration", "check", *map(str, words)])
    return cli.run("calibration", "", {"check": check})


def record(folder: Path, count: int, moved_px: int) -> None:
    """Discs in both spectra, infrared of half the size and `moved_px` visible pixels lower."""
    random = np.random.default_rng(0)
    for name in ("visible", "infrared"):
        (folder / name).mkdir()
    for index in range(count):
        frame = np.full((120, 160), 120, np.uint8)
        for _ in range(25):
            x, y, r, grey = (int(v) for v in random.integers((0, 0, 4, 20), (160, 120, 20, 235)))
            cv2.circle(frame, (x, y), r, grey, -1)
        warm = cv2.resize(np.roll(255 - frame, moved_px, axis=0), (80, 60))
        colour = np.repeat(frame[..., None], 3, axis=2)
        (folder / "visible" / f"{index}.png").write_bytes(encode_png(colour))
        (folder / "infrared" / f"{index}.png").write_bytes(encode_png(warm.astype(np.uint8)))
    write_rig(folder / "rig.yaml", Homography((160, 120), (80, 60), np.diag([0.5, 0.5, 1.0])))


def test_a_rig_that_moved_fails_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path, ENOUGH, moved_px=6)
    assert run(monkeypatch, tmp_path) == 1
    assert "the rig moved: calibrate it again (" in capsys.readouterr().out


def test_too_short_a_recording_is_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path, 2, moved_px=0)
    assert run(monkeypatch, tmp_path) == 1
    assert "fewer than 7 of 2 pairs" in capsys.readouterr().err
