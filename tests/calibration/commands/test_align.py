"""A recording of a rig as training reads it: one size, one view."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration.commands import align
from calibration.io.recordings import add_camera_arguments, cameras_from_args, read_grey
from segmif import cli
from segmif.geometry.rig import Homography, read_rig, write_rig
from segmif.imaging.codecs import (
    decode_infrared,
    encode_png,
    read_counts,
    read_infrared,
    read_visible,
)
from segmif.thermal.camera_profile import CameraProfile, Cameras, Crop

HOT = (slice(10, 20), slice(30, 40))  # of the infrared frame


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Two moments; infrared in 16 bit, of half the size, its left quarter out of sight."""
    random = np.random.default_rng(0)
    for name in ("visible", "infrared"):
        (tmp_path / name).mkdir()
    for index in range(2):
        colour = random.integers(0, 256, (64, 96, 3), np.uint8)
        counts = np.full((32, 48), 7000, np.uint16)
        counts[HOT] = 9000
        (tmp_path / "visible" / f"{index}.jpg").write_bytes(encode_png(colour))
        (tmp_path / "infrared" / f"{index}.png").write_bytes(encode_png(counts))
    shift = np.array([[0.5, 0, -12], [0, 0.5, 0], [0, 0, 1.0]])  # visible to infrared
    write_rig(tmp_path / "rig.yaml", Homography((96, 64), (48, 32), shift))
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *more: str) -> int:
    words = ["--rig", folder / "rig.yaml", "--out", folder / "out"]
    words += ["--visible", folder / "visible", "--infrared", folder / "infrared"]
    monkeypatch.setattr(sys, "argv", ["calibration", "align", *map(str, words), *more])
    return cli.run("calibration", "", {"align": align})


def test_infrared_comes_into_the_visible_view(
    recording: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, recording, "--gain") == 0
    told = capsys.readouterr().out
    assert "out: 2 pairs; infrared has 8 bit, sees 74% of the visible view" in told
    visible = read_visible(recording / "out/visible/1.png")
    infrared = read_infrared(recording / "out/infrared/1.png")
    assert (visible == read_visible(recording / "visible/1.jpg")).all()
    assert infrared.shape == visible.shape[:2] and not infrared[:, :22].any()
    # what was hot at (30..40, 10..20) lies at twice that, 24 pixels to the right
    assert infrared[24:36, 88:94].min() > 200 > infrared[:16].max()


def test_counts_stay_counts_and_the_camera_is_as_the_rig_file_says(
    recording: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rig = read_rig(recording / "rig.yaml")
    stated = CameraProfile(polarity="black_hot", bits=14, crop=Crop(bottom=2), invalid=(5,))
    write_rig(recording / "rig.yaml", replace(rig, frames=Cameras(infrared=stated)))
    random = np.random.default_rng(1)
    for index in range(2):
        counts = random.integers(7000, 7100, (34, 48)).astype(np.uint16)
        counts[HOT], counts[2, 20], counts[32:] = 5000, 5, 60_000  # black hot; dead; telemetry
        (recording / "infrared" / f"{index}.png").write_bytes(encode_png(counts))
    assert run(monkeypatch, recording) == 0
    assert "infrared has 16 bit" in capsys.readouterr().out
    aligned = decode_infrared((recording / "out/infrared/1.png").read_bytes())
    assert aligned.dtype == np.uint16 and not aligned[:, :22].any()
    assert (aligned[24:36, 88:94] == 2**14 - 1 - 5000).all()
    assert aligned[4, 64] == 0
    seen = aligned[aligned > 0]
    assert seen.min() >= 2**14 - 1 - 7100 and seen.max() == 2**14 - 1 - 5000
    levels = read_infrared(recording / "out/infrared/1.png")  # as training reads it
    assert levels[24:36, 88:94].min() > 200 > levels[:16, 30:].max()


def test_nothing_is_written_over(
    recording: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (recording / "out").mkdir()
    (recording / "out/notes.txt").write_text("mine")
    assert run(monkeypatch, recording) == 1
    assert "out is not empty: name a new folder" in capsys.readouterr().err
    assert [path.name for path in (recording / "out").iterdir()] == ["notes.txt"]


def test_frames_of_another_size_are_named(
    recording: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (recording / "infrared/1.png").write_bytes(encode_png(np.zeros((30, 48), np.uint16)))
    assert run(monkeypatch, recording) == 1
    said = capsys.readouterr().err
    assert "1.png: the infrared frame is 48x30, the rig was calibrated at 48x32" in said


def test_flags_state_the_cameras_that_a_rig_file_keeps(recording: Path) -> None:
    parser = argparse.ArgumentParser()
    add_camera_arguments(parser)
    cameras = cameras_from_args(
        parser.parse_args(["--infrared-crop=0,0,0,2", "--visible-crop=1,0,0,0"])
    )
    assert cameras.infrared == CameraProfile(crop=Crop(bottom=2))
    assert read_counts(recording / "infrared/1.png", cameras.infrared).shape == (30, 48)
    assert read_grey(recording / "visible/1.jpg", cameras.visible).shape == (64, 95)
    with pytest.raises(ValueError, match=r"infrared/1.png: .*leaves nothing"):
        read_counts(recording / "infrared/1.png", CameraProfile(crop=Crop(top=32)))
