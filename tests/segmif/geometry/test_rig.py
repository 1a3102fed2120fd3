"""A rig in its file, and the infrared frame in the visible view."""

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segmif.geometry.alignment import align, check_sizes, parallax_direction, parallax_px
from segmif.geometry.rig import Camera, Floats, Homography, Model, Rig, read_rig, write_rig


def camera(width: int, height: int, f: float, model: Model = "radtan") -> Camera:
    K = np.array([[f, 0, width / 2 - 3], [0, f, height / 2 + 5], [0, 0, 1]])
    if model == "fisheye":
        return Camera(width, height, K, np.array([0.02, -0.01, 0.003, 0.0]), "fisheye")
    return Camera(width, height, K, np.array([-0.2, 0.05, 1e-5, -0.0004, 0.01]))


def rotation(degrees: float) -> Floats:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def rig() -> Rig:
    T = np.eye(4)
    T[:3, :3] = rotation(6)
    T[:3, 3] = -0.1, 0.01, -0.02
    return Rig(camera(320, 240, 300), camera(160, 120, 140, "fisheye"), T, 0.002, 'a "rig": 1')


def broken(path: Path, old: str, new: str) -> str:
    """What reading says of the rig's file after one replacement."""
    write_rig(path, rig())
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError) as refusal:
        read_rig(path)
    return str(refusal.value)


def test_a_rig_comes_back_exactly(tmp_path: Path) -> None:
    write_rig(tmp_path / "rig.yaml", rig())
    back = read_rig(tmp_path / "rig.yaml")
    assert isinstance(back, Rig)
    np.testing.assert_array_equal(back.T_infrared_visible, rig().T_infrared_visible)
    np.testing.assert_array_equal(back.visible.distortion, rig().visible.distortion)
    np.testing.assert_array_equal(back.infrared.K, rig().infrared.K)
    assert (back.infrared.model, back.baseline_std_m, back.source) == (
        "fisheye",
        0.002,
        'a "rig": 1',
    )


def test_a_homography_comes_back_exactly(tmp_path: Path) -> None:
    H = np.array([[0.5, 0.01, 3], [0, 0.5, -2], [1e-6, 0, 1]])
    write_rig(tmp_path / "rig.yaml", Homography((320, 240), (160, 120), H))
    back = read_rig(tmp_path / "rig.yaml")
    assert isinstance(back, Homography)
    np.testing.assert_array_equal(back.H_infrared_visible, H)
    assert back.infrared_size == (160, 120)


def test_a_transposed_rotation_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "rig.yaml"
    write_rig(path, rig())
    turned = rig().T_infrared_visible.copy()
    turned[:3, :3] = turned[:3, :3].T
    text = path.read_text()
    for right, wrong in zip(rig().T_infrared_visible.tolist(), turned.tolist(), strict=True):
        text = text.replace(str(right), str(wrong), 1)
    path.write_text(text)
    with pytest.raises(ValueError, match=r"rig.yaml: .*is the rotation transposed"):
        read_rig(path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[0.0, 0.0, 0.0, 1.0]", "[0.0, 0.0, 0.1, 1.0]", "transposed"),
        ("[0.0, 1.0, 0.0, 0.01]", "[0.0, -1.0, 0.0, 0.01]", "mirrors"),
        ("[0.0, 1.0, 0.0, 0.01]", "[0.0, 0.9, 0.0, 0.01]", "not orthonormal"),
        ("[0.0, 1.0, 0.0, 0.01]", "[0.0, .nan, 0.0, 0.01]", "finite"),
        ("[0.0, 1.0, 0.0, 0.01]", "[0.0, 1.0, 0.0, 10.0]", "in metres"),
        ("[0.0, 1.0, 0.0, 0.01]", "[0.0, 1.0, 0.0]", "rows of numbers"),
        ("[300.0, 0.0, 157.0]", "[-300.0, 0.0, 157.0]", "the visible camera: .*positive"),
        ("width: 320", "width: 120", "another resolution"),
        ("width: 320", "width: wide", "whole number"),
        ("model: fisheye", "model: radtan", "5 or 8"),
        ("model: fisheye", "model: omni", "radtan or fisheye"),
        ("segmif-rig 1", "segmif-rig 9", "segmif-rig 9.*`segmif calibrate convert` makes it"),
        ("T_infrared_visible:", "T_visible_infrared:", "'T_infrared_visible' is missing"),
        ("visible:", "visible: [", "not YAML"),
    ],
)
def test_a_broken_file_is_refused_in_words(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "rig.yaml"
    sentence = broken(path, old, new)
    assert sentence.startswith(f"{path}: ")
    with pytest.raises(ValueError, match=said):
        read_rig(path)


NESTED, FAR_NESTED = ("[" * depth + "]" * depth for depth in (100, 5000))
BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("format:", BOMB + "format:", r"line 2: aliases \(\*a\) are not taken"),
        ("format:", f"extra: {NESTED}\nformat:", "nested more than 32 deep"),
        ("format:", f"extra: {FAR_NESTED}\nformat:", "not YAML: .*nest"),
        ("format:", "format: segmif-rig 1\nformat:", "the key 'format' stands twice"),
        ("format:", "[a, b]: 1\nformat:", "keys must be plain words"),
        ("format:", "extra: !!python/object/apply:os.getcwd []\nformat:", "not YAML"),
        (
            "width: 320",
            "width: 200000",
            "200000x240 pixels, expected 1 to 16,384 a side",
        ),
        ("width: 320", f"width: {'9' * 4000}", r"a frame of 9+ \.\.\. 9+x240 pixels"),
        ("width: 320", f"width: {'9' * 9000}", "not YAML"),
        ("width: 320", "width: true", "whole number"),
        ("width: 320", "width: 5:20", "5:20 is no number"),  # 320 to the base of 60
        ("[300.0, 0.0, 157.0]", "[1.0e-300, 0.0, 157.0]", "differ more than any lens"),
        ("K:  # px\n", "K: [[1.0e-300, 0, 157], [0, 1.0e-300, 125], [0, 0, 1]]\n  old:\n", "focal"),
        (
            "K:  # px\n",
            "K: [[3.0e+9, 0, 157], [0, 3.0e+9, 125], [0, 0, 1]]\n  old:\n",
            "focal length",
        ),
        (
            "[-0.2, 0.05, 1e-05",
            "[1.0e+300, 0.05, 1e-05",
            "the visible camera: .* folds",
        ),
        ("[-0.2, 0.05, 1e-05", "[-30.0, 0.05, 1e-05", "the visible camera: .* folds"),
        ("[-0.2, 0.05, 1e-05", "[1.0e+5, 0.05, 1e-05", "the visible camera: .* squeezes"),
        ("[0.02, -0.01,", "[1.0e+4, -0.01,", "the infrared camera: .* squeezes"),
        ("[0.02, -0.01,", "[1.0e+200, -0.01,", "the infrared camera: .* folds"),
        ("[0.02, -0.01,", f"[{'9' * 400}, -0.01,", "the infrared camera: .*rows of numbers"),
        ("[0.0, 1.0, 0.0, 0.01]", "[0.0, 1.0, 0.0, 1.0e+300]", "the baseline is 1e"),
        ("[0.0, 1.0, 0.0, 0.01]", "[0.0, 1.0e+300, 0.0, 0.01]", "not orthonormal"),
        ("baseline_std_m: 0.002", "baseline_std_m: .nan", "baseline_std_m must be a length"),
        ("visible:\n", "visible: 5\nold:\n", "the visible camera: it must have fields"),
    ],
)
def test_a_file_that_would_harm_is_refused_in_words(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    sentence = broken(tmp_path / "rig.yaml", old, new)
    assert re.search(said, sentence)
    assert len(sentence) < 700
    assert "\n" not in sentence


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "rig.yaml"
    write_rig(path, rig())
    text = path.read_text()
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert isinstance(read_rig(path), Rig)  # with a byte-order mark it is as good
    os.mkfifo(tmp_path / "pipe")
    for data, said in (
        (text.encode("utf-16"), "rig.yaml is UTF-16 text, expected UTF-8: save it as UTF-8"),
        (text.encode("utf-16-le"), "rig.yaml, line 1: a zero byte, expected UTF-8 text"),
        (text.replace("rig\\", "K\u00f6ln").encode("latin-1"), "rig.yaml, line 2: the byte 0xf6"),
        (text.encode() + b" " * 300_000, "rig.yaml has more than 262,144 bytes"),
    ):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=said):
            read_rig(path)
    for other, kind in ((tmp_path / "pipe", "pipe"), (tmp_path, "folder"), (Path("/dev/zero"), "")):
        with pytest.raises(ValueError, match=f"is a {kind}.*, expected a regular file"):
            read_rig(other)


@pytest.mark.parametrize("count", [8, 12, 14])
def test_a_lens_written_with_zeros_is_the_same_lens(tmp_path: Path, count: int) -> None:
    path = tmp_path / "rig.yaml"
    write_rig(path, rig())
    five = "[-0.2, 0.05, 1e-05, -0.0004, 0.01"
    text = path.read_text()
    path.write_text(text.replace(five, five + ", 0" * (count - 5)))
    back = read_rig(path)
    assert isinstance(back, Rig)
    np.testing.assert_array_equal(back.visible.distortion, rig().visible.distortion)
    if count > 8:
        path.write_text(text.replace(five, five + ", 0" * (count - 6) + ", 0.1"))
        with pytest.raises(ValueError, match="thin prisms or a tilted sensor"):
            read_rig(path)


@pytest.mark.parametrize("model", ["radtan", "fisheye"])
def test_rays_undo_the_projection(model: Model) -> None:
    one = camera(320, 240, 300, model)
    pixels = np.random.default_rng(0).uniform((0, 0), (319, 239), (200, 2))
    np.testing.assert_allclose(one.project(2.5 * one.rays(pixels)), pixels, atol=1e-6)


@pytest.mark.parametrize("depth_m", [0.8, 10.0, np.inf])
def test_each_pixel_is_fetched_from_where_its_point_is_seen(depth_m: float) -> None:
    # An infrared frame whose value is its own column tells from where each pixel came.
    columns = np.tile(np.arange(160, dtype=np.uint16) * 400, (120, 1))
    alignment = align(rig(), depth_m)
    came_from = alignment.apply(columns) / 400
    pixels = np.array([[160.0, 120.0], [100.0, 60.0], [220.0, 170.0]])
    rays = rig().visible.rays(pixels)
    far = 1e9 if np.isinf(depth_m) else depth_m
    points = (far * rays) @ rig().R.T + rig().t
    expected = rig().infrared.project(points)[:, 0]
    at = pixels.astype(int)
    assert alignment.seen[at[:, 1], at[:, 0]].all()
    # The maps hold 1/32 px, of which half may be lost.
    np.testing.assert_allclose(came_from[at[:, 1], at[:, 0]], expected, atol=1 / 64 + 0.01)


def test_a_homography_aligns_its_plane() -> None:
    H = np.array([[0.5, 0, 10], [0, 0.5, 5], [0, 0, 1.0]])
    columns = np.tile(np.arange(160, dtype=np.uint8), (120, 1))
    alignment = align(Homography((200, 150), (160, 120), H))
    assert alignment.apply(columns)[60, 80] == 50
    assert alignment.apply(columns).shape == (150, 200)
    assert alignment.seen.all()


def test_what_the_infrared_camera_does_not_see_is_black_and_said() -> None:
    shifted = Homography((200, 150), (160, 120), np.array([[1.0, 0, -50], [0, 1, 0], [0, 0, 1]]))
    alignment = align(shifted)
    assert not alignment.seen[:, :50].any()
    assert alignment.seen[:119, 50:200].all()
    assert not alignment.apply(np.full((120, 160), 200, np.uint8))[:, :49].any()


def test_frames_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"infrared frame is 150x120, .*160x120"):
        align(rig(), 1.0).apply(np.zeros((120, 150), np.uint8))
    with pytest.raises(ValueError, match=r"visible frame is 640x480, .*320x240"):
        check_sizes(rig(), (640, 480), (160, 120))
    check_sizes(rig(), (320, 240), (160, 120))


def test_a_depth_behind_the_camera_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 0"):
        align(rig(), -1.0)


@pytest.mark.parametrize(
    ("depth_m", "expected_px"), [(2.0, 25.6), (5.0, 6.4), (20.0, 3.2), (np.inf, 6.4)]
)
def test_parallax_is_focal_length_times_baseline_over_depth(
    depth_m: float, expected_px: float
) -> None:
    T = np.eye(4)
    T[0, 3] = -0.1
    side_by_side = Rig(camera(640, 480, 640), camera(640, 480, 500), T)
    assert parallax_px(side_by_side, 10.0, depth_m) == pytest.approx(expected_px)


def test_a_thing_off_the_plane_is_misplaced_along_the_baseline() -> None:
    pixel = np.array([[160.0, 120.0]])
    near, far = (
        rig().infrared.project((depth * rig().visible.rays(pixel)) @ rig().R.T + rig().t)
        for depth in (2.0, 3.0)
    )
    # The same infrared pixel, put back at the plane of 3 m, lands where?
    direction = parallax_direction(rig())
    assert direction is not None
    steps = [rig().visible.rays(pixel + shift * direction)[0] for shift in (-6.0, 0.0, 6.0)]
    seen = [rig().infrared.project(3.0 * ray[None] @ rig().R.T + rig().t)[0] for ray in steps]
    line = seen[2] - seen[0]
    off = near[0] - far[0]
    assert abs(line[0] * off[1] - line[1] * off[0]) < 0.05 * np.hypot(*line) * np.hypot(*off)
    flat = Homography((4, 3), (2, 2), np.eye(3))
    assert parallax_direction(flat) is None


def test_a_rig_is_refused_where_it_is_made() -> None:
    with pytest.raises(ValueError, match="baseline is 100 m"):
        T = rig().T_infrared_visible.copy()
        T[:3, 3] = 0, 0, 100
        replace(rig(), T_infrared_visible=T)


def test_what_a_rig_file_states_is_obeyed_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "rig.yaml"
    assert "there is no field 'frame'; there are format" in broken(
        path, "visible:", "frame: {}\nvisible:"
    )
    assert "there is no field 'skew'" in broken(path, "  width:", "  skew: 2\n  width:")
    length = f"baseline_m: {rig().baseline_m!r}"
    assert "baseline_m says 0.2: change the translation" in broken(path, length, "baseline_m: 0.2")
    listed = length.replace(": ", ": [") + "]"
    assert "change the translation, not its length" in broken(path, length, listed)
    write_rig(path, Homography((32, 24), (16, 12), np.diag([0.5, 0.5, 1])))
    path.write_text(path.read_text() + "depth_m: 4\n")
    with pytest.raises(ValueError, match="there is no field 'depth_m'"):
        read_rig(path)


@pytest.mark.parametrize("scale", [1.0, -1.0, 1e-15, 1e-120])
def test_beyond_the_horizon_of_its_plane_a_homography_shows_nothing(scale: float) -> None:
    # The ground below the horizon at row 30; above it the formula gives a mirrored ground.
    H = scale * np.array([[1, 5 / 3, -100], [0, 2, -80], [0, 1 / 30, -1]])
    seen = align(Homography((100, 100), (100, 100), H)).seen
    assert seen[70:].any()
    assert not seen[:30].any()


def test_a_homography_that_mirrors_shows_all_before_its_horizon() -> None:
    # An infrared camera that looks into a mirror: the plane has no horizon in the view.
    mirrored = Homography((32, 24), (32, 24), np.array([[-1.0, 0, 31], [0, 1, 0], [0, 0, 1]]))
    assert align(mirrored).seen.all()
