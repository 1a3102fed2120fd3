"""A rig through the files of others and back."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.commands import convert
from calibration.solver.synthetic import example_rig
from segmif import cli
from segmif.geometry.rig import Camera, Floats, Homography, Rig, read_rig, write_rig

FORMS = {"kalibr": ["chain.yaml"], "ros": ["visible.yaml", "infrared.yaml"], "opencv": ["rig.yml"]}


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["calibration", "convert", *map(str, words)])
    return cli.run("calibration", "", {"convert": convert})


def fisheye(camera: Camera) -> Camera:
    return replace(camera, model="fisheye", distortion=np.array([0.01, -0.002, 0.0005, 1e-5]))


def rigs() -> list[Rig]:
    plain = example_rig()
    above = plain.T_infrared_visible.copy()
    above[:3, 3] = 0.004, -0.12, 0.01
    return [
        plain,
        replace(plain, visible=fisheye(plain.visible), infrared=fisheye(plain.infrared)),
        replace(plain, T_infrared_visible=above),
    ]


@pytest.mark.parametrize("rig", rigs(), ids=["radtan", "fisheye", "above"])
@pytest.mark.parametrize("form", list(FORMS))
def test_there_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, rig: Rig
) -> None:
    own, back = tmp_path / "own.yaml", tmp_path / "back.yaml"
    there = [tmp_path / name for name in FORMS[form]]
    write_rig(own, rig)
    assert run(monkeypatch, "--from", "rig", "--input", own, "--to", form, "--out", *there) == 0
    assert run(monkeypatch, "--from", form, "--input", *there, "--to", "rig", "--out", back) == 0
    found = read_rig(back)
    assert isinstance(found, Rig)
    np.testing.assert_allclose(found.T_infrared_visible, rig.T_infrared_visible, atol=1e-12)
    for one, other in ((found.visible, rig.visible), (found.infrared, rig.infrared)):
        np.testing.assert_allclose(one.K, other.K, rtol=1e-12)
        np.testing.assert_allclose(one.distortion, other.distortion, atol=1e-12)
        assert (one.model, one.width, one.height) == (other.model, other.width, other.height)


def _cameras(path: Path) -> Floats:
    """All numbers of a rig file."""
    rig = read_rig(path)
    assert isinstance(rig, Rig)
    lenses = (number for one in (rig.visible, rig.infrared) for number in (one.K, one.distortion))
    return np.concatenate([rig.T_infrared_visible.ravel(), *(each.ravel() for each in lenses)])


@pytest.mark.parametrize("name", ["rig.yml", "rig.xml", "rig.json"])
def test_opencv_reads_what_was_written_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    own, there = tmp_path / "own.yaml", tmp_path / name
    write_rig(own, example_rig())
    assert run(monkeypatch, "--from", "rig", "--input", own, "--to", "opencv", "--out", there) == 0
    storage = cv2.FileStorage(str(there), cv2.FILE_STORAGE_READ)
    np.testing.assert_array_equal(storage.getNode("M2").mat(), example_rig().infrared.K)
    np.testing.assert_array_equal(storage.getNode("T").mat().ravel(), example_rig().t)
    storage.release()
    back = tmp_path / "back.yaml"
    assert run(monkeypatch, "--from", "opencv", "--input", there, "--to", "rig", "--out", back) == 0
    np.testing.assert_array_equal(_cameras(back), _cameras(own))


def test_kalibr_gets_four_coefficients_for_five(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = example_rig()
    five = replace(rig.visible, distortion=np.array([-0.2, 0.05, 0.001, -0.001, 0.02]))
    own, there, back = (tmp_path / f"{name}.yaml" for name in ("own", "kalibr", "back"))
    write_rig(own, replace(rig, visible=five))
    assert run(monkeypatch, "--from", "rig", "--input", own, "--to", "kalibr", "--out", there) == 0
    assert run(monkeypatch, "--from", "kalibr", "--input", there, "--to", "rig", "--out", back) == 0
    found = read_rig(back)
    assert isinstance(found, Rig)
    pixels = np.random.default_rng(0).uniform((0, 0), (1279, 959), (100, 2))
    np.testing.assert_allclose(found.visible.project(five.rays(pixels)), pixels, atol=0.5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--from", "ros", "--input", "one.yaml", "--to", "rig"], r"ros is 2 file\(s\), got 1"),
        (["--from", "kalibr", "--input", "none.yaml", "--to", "rig"], "none.yaml is not a file"),
        (["--from", "kalibr", "--input", "own.yaml", "--to", "rig"], "'cam0' is missing"),
        (["--from", "opencv", "--input", "own.yaml", "--to", "rig"], "own.yaml"),
        (["--from", "rig", "--input", "flat.yaml", "--to", "ros"], "flat.yaml: a homography"),
        (["--from", "rig", "--input", "out.yaml", "--to", "rig"], "would replace the input out"),
    ],
)
def test_a_refusal_overwrites_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_rig(Path("own.yaml"), example_rig())
    write_rig(Path("flat.yaml"), Homography((4, 3), (2, 2), np.eye(3)))
    outs = ["out.yaml", "out2.yaml"] if words[-1] == "ros" else ["out.yaml"]
    Path("out.yaml").write_text("kept")
    assert run(monkeypatch, *words, "--out", *outs) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(said, error)
    assert Path("out.yaml").read_text() == "kept"


def test_two_files_to_write_are_not_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own, same = tmp_path / "own.yaml", tmp_path / "same.yaml"
    write_rig(own, example_rig())
    same.symlink_to("camera.yaml")
    outs = tmp_path / "camera.yaml", same
    assert run(monkeypatch, "--from", "rig", "--input", own, "--to", "ros", "--out", *outs) == 1
    assert "are one file: name another output" in capsys.readouterr().err
    assert not outs[0].exists()


def test_an_output_that_links_to_itself_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own, loop = tmp_path / "own.yaml", tmp_path / "loop.yaml"
    write_rig(own, example_rig())
    loop.symlink_to("loop.yaml")
    assert run(monkeypatch, "--from", "rig", "--input", own, "--to", "kalibr", "--out", loop) == 1
    assert "Too many levels of symbolic links" in capsys.readouterr().err
