"""A recording says whether the rig still stands."""

import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.commands import check
from calibration.solver.synthetic import example_rig
from segmif import cli
from segmif.geometry.registration import MIN_PAIRS
from segmif.geometry.rig import Homography, write_rig
from segmif.imaging.codecs import encode_png, read_infrared, read_visible
from service.pipeline import align


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *more: object) -> int:
    words = [*more, "--rig", folder / "rig.yaml"]
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
    record(tmp_path, MIN_PAIRS, moved_px=6)
    refined = tmp_path / "refined.yaml"
    assert run(monkeypatch, tmp_path, "--out", refined) == 3
    assert "the rig moved: calibrate it again (" in capsys.readouterr().out
    refined.rename(tmp_path / "rig.yaml")
    assert run(monkeypatch, tmp_path) == 0
    assert "the rig stands as calibrated (0." in capsys.readouterr().out


def test_a_script_tells_a_rig_that_moved_from_one_that_was_not_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path, MIN_PAIRS, moved_px=6)
    assert run(monkeypatch, tmp_path) == check.MOVED
    (tmp_path / "rig.yaml").write_text("a rig")
    assert run(monkeypatch, tmp_path) == 1
    with pytest.raises(SystemExit) as wrong_words:
        run(monkeypatch, tmp_path, "--limit-px", "-1")
    assert wrong_words.value.code == 2
    capsys.readouterr()
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path, "--help")
    said = " ".join(capsys.readouterr().out.split())
    assert "0 if the rig stands as calibrated, 3 if it moved, 1 if it could not be checked" in said


def test_scenes_do_not_refine_a_solved_rig(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path, 1, moved_px=0)
    write_rig(tmp_path / "rig.yaml", example_rig())
    assert run(monkeypatch, tmp_path, "--out", tmp_path / "refined.yaml") == 1
    assert "scenes refine only a rig file by `segmif calibrate pick`" in capsys.readouterr().err
    assert not (tmp_path / "refined.yaml").exists()


def test_the_service_finds_out_beside_its_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    record(tmp_path, MIN_PAIRS, moved_px=6)
    monkeypatch.setattr(align, "CHECK_EVERY_S", 0.0)
    rig = align.RigAligner(tmp_path / "rig.yaml", np.inf)
    for index in range(MIN_PAIRS):
        visible = read_visible(tmp_path / "visible" / f"{index}.png")
        infrared = read_infrared(tmp_path / "infrared" / f"{index}.png")
        assert rig.align(visible, infrared, None)[1].moved is None
        for running in threading.enumerate():
            if running.name == "rig check":
                running.join()
    monkeypatch.setattr(align, "CHECK_EVERY_S", np.inf)
    placed = rig.align(visible, infrared, None)[1]
    assert placed.moved
    assert placed.residual_px == pytest.approx(6, abs=1)
    assert "the rig moved" in caplog.text


def test_too_short_a_recording_is_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path, 2, moved_px=0)
    assert run(monkeypatch, tmp_path) == 1
    assert "fewer than 7 of 2 pairs" in capsys.readouterr().err
