"""Rig files of other programs as strangers write them: taken right, or refused in one sentence."""

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from calibration.commands import convert
from calibration.solver.synthetic import example_rig
from segmif import cli
from segmif.geometry.rig import Rig, read_rig

Document = dict[str, Any]
CHAIN = {"cam0": "visible", "cam1": "between", "cam2": "infrared"}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    def to_rig(form: str, *words: object, inputs: tuple[str, ...] = ("in.yml",)) -> int:
        given = ["--from", form, "--input", *(tmp_path / name for name in inputs), *words]
        line = ["calibration", "convert", *given, "--to", "rig", "--out", tmp_path / "rig.yaml"]
        monkeypatch.setattr(sys, "argv", [str(word) for word in line])
        return cli.run("calibration", "", {"convert": convert})

    return to_rig


def matrix(values: Any) -> Document:
    rows = np.atleast_2d(np.array(values, np.float64))
    return {"rows": rows.shape[0], "cols": rows.shape[1], "dt": "d", "data": rows.ravel().tolist()}


def storage() -> Document:
    """What OpenCV's stereo sample writes of the rig, and the sizes."""
    rig = example_rig()
    found: Document = {}
    for index, camera in enumerate((rig.visible, rig.infrared), 1):
        found |= {f"image_width{index}": camera.width, f"image_height{index}": camera.height}
        found |= {f"M{index}": matrix(camera.K), f"D{index}": matrix(camera.distortion)}
    return found | {"R": matrix(rig.R), "T": matrix(rig.t.reshape(3, 1))}


def as_yaml(values: Document) -> str:
    lines = ["%YAML:1.0", "---"]
    for name, value in values.items():
        if isinstance(value, dict):
            lines.append(f"{name}: !!opencv-matrix")
            lines += [f"   {key}: {told}" for key, told in value.items()]
        else:
            lines.append(f"{name}: {value}")
    return "\n".join(lines) + "\n"


def as_xml(values: Document) -> str:
    def element(name: str, value: Any) -> str:
        if isinstance(value, dict):
            inner = "".join(element(*item) for item in value.items())
            return f'<{name} type_id="opencv-matrix">{inner}</{name}>'
        text = " ".join(map(str, value)) if isinstance(value, list) else value
        return f"<{name}>{text}</{name}>"

    inner = "".join(element(*item) for item in values.items())
    return f'<?xml version="1.0"?>\n<opencv_storage>{inner}</opencv_storage>\n'


def same_rig(path: Path) -> None:
    found, rig = read_rig(path), example_rig()
    assert isinstance(found, Rig)
    np.testing.assert_allclose(found.T_infrared_visible, rig.T_infrared_visible, atol=1e-12)
    for one, other in ((found.visible, rig.visible), (found.infrared, rig.infrared)):
        np.testing.assert_allclose(one.K, other.K)
        np.testing.assert_array_equal(one.distortion, other.distortion)


@pytest.mark.parametrize("form", [as_yaml, as_xml, json.dumps])
def test_each_form_of_opencv_is_read(
    run: Callable[..., int], tmp_path: Path, form: Callable[[Document], str]
) -> None:
    values = storage()
    for index in (1, 2):  # 14 numbers, of which the last are zero, are the same lens
        data = values[f"D{index}"]["data"]
        values[f"D{index}"] = matrix([*data, *[0.0] * (14 - len(data))])
    (tmp_path / "in.yml").write_bytes(b"\xef\xbb\xbf" + form(values).encode())
    assert run("opencv") == 0
    same_rig(tmp_path / "rig.yaml")


def test_opencvs_sample_of_two_files_is_read(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = storage()
    inner = {name: values[name] for name in ("M1", "D1", "M2", "D2")}
    outer = {name: values[name] for name in ("R", "T")} | {"R1": values["R"], "Q": values["M1"]}
    (tmp_path / "intrinsics.yml").write_text(as_yaml(inner))
    (tmp_path / "extrinsics.yml").write_text(as_yaml(outer))
    both = ("intrinsics.yml", "extrinsics.yml")
    assert run("opencv", inputs=both) == 1
    assert "'image_width1' is missing" in capsys.readouterr().err
    sizes = ["--visible-size", "1280x960", "--infrared-size", "640x480"]
    assert run("opencv", *sizes, inputs=both) == 0
    same_rig(tmp_path / "rig.yaml")


OPENCV = {
    "a type of 300 characters": ("dt: d", "dt: " + "d" * 300, "M1 has elements of type"),
    "another count": ("rows: 3", "rows: 4", r"M1 must hold 4x3x1 finite numbers, got 9"),
    "more than memory": ("rows: 3", "rows: 999999999", "M1 has the sides"),
    "no number": ("1150.0", "wide", "M1 must be rows of numbers"),
    "not finite": ("1150.0", ".Nan", "M1 must be rows of numbers"),
    "infinite": ("1150.0", ".inf", "M1 must hold"),
    "base64": ("[1150.0", "$base64$AAAA\nother: [1150.0", "M1 is written in base64"),
    "an alias": ("R: !!", "R: *id001\nother: !!", r"aliases \(\*id001\) are not taken"),
    "deep": ("M1: !!", "M1: " + "[" * 99 + "]" * 99 + "\nother: !!", "nested"),
    "deeper": ("M1: !!", "M1: " + "[" * 9999 + "]" * 9999 + "\nother: !!", "nest"),
    "a prism": ("-0.0004, 0.0]", "-0.0004, 0.0, 0, 0, 0, 0.1, 0, 0, 0]", "must hold 1x5x1"),
    "a mirror": ("T: !!", "T: 5\nother: !!", "T must be a matrix, got 5"),
    "no size": ("image_width1: 1280", "image_width1: 12.5", "image_width1 must be a whole number"),
    "a model": ("image_width1:", "model1: [1]\nimage_width1:", "the lens model is"),
}


@pytest.mark.parametrize("what", list(OPENCV))
def test_what_opencvs_own_reader_would_not_survive(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    old, new, said = OPENCV[what]
    text = as_yaml(storage())
    assert old in text
    (tmp_path / "in.yml").write_text(text.replace(old, new, 1))
    refused(run("opencv"), tmp_path, capsys, said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><opencv_storage>&b;</opencv_storage>", "document type"),
        ("<opencv_storage>" * 99, "nested more than 32 deep"),
        ("<opencv_storage><M1></opencv_storage>", "not XML: mismatched tag"),
        ("<rig/>", r"the root is <rig>, expected <opencv_storage>"),
        ('{"M1": ' + "[" * 200_000, "is no JSON"),
        ('{"M1": 1, "M1": 2}', "'M1' stands twice"),
        ("{" + '"a\\' * 80_000, "is no JSON"),
        ("{" + "// " * 80_000, "is no JSON"),
        ('{"M1": NaN}', "NaN is no finite number"),
        ('{"M1": 1e999}', "1e999 is no finite number"),
        ("", "expected named values"),
        ("\0", "a zero byte"),
    ],
)
def test_other_forms_that_would_harm(
    run: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    said: str,
) -> None:
    (tmp_path / "in.yml").write_text(text)
    refused(run("opencv"), tmp_path, capsys, said)


def refused(code: int, folder: Path, capsys: pytest.CaptureFixture[str], said: str) -> None:
    error = capsys.readouterr().err
    assert code == 1
    assert error.count("\n") == 1
    assert re.search(said, error), error
    assert len(error) < 900
    assert not (folder / "rig.yaml").exists()


def test_a_pipe_is_not_waited_for(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "in.yml")
    for form in ("opencv", "kalibr", "rig"):
        refused(run(form), tmp_path, capsys, "in.yml is a pipe, expected a regular file")


def chain() -> Document:
    """Three cameras, the visible one first and the infrared one last."""
    rig, link = example_rig(), np.eye(4)
    link[:3, 3] = 0.03, -0.01, 0.002
    last = rig.T_infrared_visible @ np.linalg.inv(link)
    made: Document = {}
    for name, camera in zip(CHAIN, (rig.visible, rig.visible, rig.infrared), strict=True):
        made[name] = {
            "camera_model": "pinhole",
            "intrinsics": [camera.fx, camera.fy, *camera.K[:2, 2].tolist()],
            "distortion_model": "radtan",
            "distortion_coeffs": camera.distortion[:4].tolist(),
            "resolution": [camera.width, camera.height],
            "rostopic": f"/{name}",
        }
    made["cam1"]["T_cn_cnm1"], made["cam2"]["T_cn_cnm1"] = link.tolist(), last.tolist()
    return made


def test_a_chain_of_three_cameras_is_asked_which_are_meant(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.yml").write_text(yaml.safe_dump(chain()))
    refused(run("kalibr"), tmp_path, capsys, "the chain holds cam0, cam1, cam2: name two")
    wrong = run("kalibr", "--visible", "cam0", "--infrared", "cam7")
    refused(wrong, tmp_path, capsys, "there is no cam7; the chain holds cam0, cam1, cam2")
    refused(run("ros", "--visible", "cam0"), tmp_path, capsys, "ros is 2 file")
    assert run("kalibr", "--visible", "cam0", "--infrared", "cam2") == 0
    same_rig(tmp_path / "rig.yaml")
    assert "cam0 visible and cam2 infrared" in capsys.readouterr().out
    assert run("kalibr", "--visible", "cam2", "--infrared", "cam0") == 0
    back = read_rig(tmp_path / "rig.yaml")
    assert isinstance(back, Rig)
    expected = np.linalg.inv(example_rig().T_infrared_visible)
    np.testing.assert_allclose(back.T_infrared_visible, expected, atol=1e-12)


def test_shifts_in_time_are_told_and_kept(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shifted = chain()
    shifted["cam0"]["timeshift_cam_imu"], shifted["cam2"]["timeshift_cam_imu"] = 0.004, 0.0165
    (tmp_path / "in.yml").write_text(yaml.safe_dump(shifted))
    assert run("kalibr", "--visible", "cam0", "--infrared", "cam2") == 0
    said = "add 12.500 ms to infrared stamps (`segmif calibrate pair --offset-ms`)"
    assert said in capsys.readouterr().out
    assert said in (tmp_path / "rig.yaml").read_text()


@pytest.mark.parametrize(
    ("camera", "name", "value", "said"),
    [
        ("cam2", "camera_model", "ds", "cam2: the camera model is 'ds', expected pinhole"),
        ("cam2", "distortion_model", "fov", "cam2: the distortion model is 'fov', expected one of"),
        ("cam2", "distortion_model", ["a"], "the distortion model is"),
        ("cam2", "intrinsics", [0.5, 520, 520, 316, 243], "intrinsics must be fx fy cx cy"),
        ("cam2", "resolution", [640.5, 480], "resolution must be a whole number"),
        ("cam2", "resolution", 640, r"resolution must be \[width, height\]"),
        ("cam2", "timeshift_cam_imu", 0.01, "one camera alone has a timeshift_cam_imu"),
        ("cam1", "T_cn_cnm1", [[1, 0], [0, 1]], "T_cn_cnm1 of cam1 must be 4x4 finite numbers"),
        ("cam1", "T_cn_cnm1", np.diag([1, 1, 1, 0]).tolist(), "the last row of T_cn_cnm1 of cam1"),
    ],
)
def test_a_chain_that_means_something_else_is_refused(
    run: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    camera: str,
    name: str,
    value: Any,
    said: str,
) -> None:
    strange = chain()
    strange[camera][name] = value
    (tmp_path / "in.yml").write_text(yaml.safe_dump(strange))
    code = run("kalibr", "--visible", "cam0", "--infrared", "cam2")
    refused(code, tmp_path, capsys, said)


def ros() -> tuple[Document, Document]:
    """A pair of camera_info files of a rig that looks one way, 10 cm apart."""
    made = []
    for offset in (0.0, -52.0):
        K = [520.0, 0, 319.5, 0, 520.0, 239.5, 0, 0, 1]
        P = [520.0, 0, 319.5, offset, 0, 520.0, 239.5, 0, 0, 0, 1, 0]
        made.append(
            {
                "image_width": 640,
                "image_height": 480,
                "distortion_model": "plumb_bob",
                "distortion_coefficients": {"rows": 1, "cols": 5, "data": [0.0] * 5},
                "camera_matrix": {"rows": 3, "cols": 3, "data": K},
                "rectification_matrix": {"rows": 3, "cols": 3, "data": np.eye(3).ravel().tolist()},
                "projection_matrix": {"rows": 3, "cols": 4, "data": P},
            }
        )
    return made[0], made[1]


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("projection_matrix", {"data": [0] * 12}, "without a focal length: the pair was not calib"),
        ("rectification_matrix", {"data": [0] * 9}, "the rectification_matrix is no rotation"),
        ("camera_matrix", {"data": [0] * 9}, "the focal lengths must be positive"),
        ("camera_matrix", [1, 2], "camera_matrix must have fields"),
        ("image_width", 640.5, "image_width must be a whole number"),
        ("distortion_model", "", "the distortion model is ''"),
        ("distortion_coefficients", {"data": [0.0] * 11 + [0.1]}, "thin prisms or a tilted sensor"),
        ("binning_x", 2, "frames come binned"),
        ("roi", {"x_offset": 8, "width": 320, "height": 240}, "frames come cut"),
    ],
)
def test_a_camera_info_that_means_something_else_is_refused(
    run: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    which: int,
    name: str,
    value: Any,
    said: str,
) -> None:
    documents = ros()
    documents[which][name] = value
    for index, document in enumerate(documents):
        (tmp_path / f"{index}.yaml").write_text(yaml.safe_dump(document))
    code = run("ros", inputs=("0.yaml", "1.yaml"))
    refused(code, tmp_path, capsys, f"{which}.yaml: .*{said}")


def test_a_baseline_in_either_projection_is_used(run: Callable[..., int], tmp_path: Path) -> None:
    first, second = ros()
    first["roi"] = {"x_offset": 0, "y_offset": 0, "width": 640, "height": 480}
    for documents, x in (((first, second), -0.1), ((second, first), 0.1)):
        for index, document in enumerate(documents):
            (tmp_path / f"{index}.yaml").write_text(yaml.safe_dump(document))
        assert run("ros", inputs=("0.yaml", "1.yaml")) == 0
        found = read_rig(tmp_path / "rig.yaml")
        assert isinstance(found, Rig)
        np.testing.assert_allclose(found.t, [x, 0, 0])


def test_two_cameras_calibrated_alone_are_no_rig(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone, _ = ros()
    for index in (0, 1):
        (tmp_path / f"{index}.yaml").write_text(yaml.safe_dump(alone))
    code = run("ros", inputs=("0.yaml", "1.yaml"))
    refused(code, tmp_path, capsys, "the projection matrices hold no baseline")
