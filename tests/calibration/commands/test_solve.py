"""From corners, and from folders of frames, to a rig."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.boards.board import Board
from calibration.commands import solve
from calibration.commands.simulate import calibrate_once, compare
from calibration.solver.bundle_adjustment import PairView
from calibration.solver.stereo import calibrate
from calibration.solver.synthetic import BOARD, example_rig, poses, random_views, render
from calibration.solver.uncertainty import Solution, baseline_interval_m
from segmif import cli
from segmif.geometry.rig import Rig, read_rig
from segmif.imaging.codecs import encode_png
from tests.calibration.commands.test_live import half_size

SIZES = ((1280, 960), (640, 480))
RIG_BOARD = Path(os.environ.get("SEGMIF_DATA", "../shared/data")) / "rig_board"


def drawn(views: int, seed: int = 0) -> list[PairView]:
    return random_views(example_rig(), BOARD, views, 0.2, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def solution() -> Solution:
    return calibrate(drawn(60), BOARD, SIZES)


def test_noisy_corners_give_the_rig_back(solution: Solution) -> None:
    errors = compare(solution, example_rig())
    assert errors.visible_focal_percent < 0.3
    assert errors.infrared_focal_percent < 0.3
    assert errors.rotation_degrees < 0.05
    assert errors.baseline_percent < 0.5
    assert errors.epipolar_px < 0.3
    assert not solution.refused


def test_the_stated_error_covers_the_truth() -> None:
    # The full count (100 draws of 40 views) is `python -m calibration simulate`.
    errors = [calibrate_once(example_rig(), BOARD, drawn(12, seed)) for seed in range(20)]
    assert sum(one.baseline_covered for one in errors) >= 17
    assert sum(one.focal_covered for one in errors) >= 17
    assert sum(one.rotation_covered for one in errors) >= 17


def test_boards_read_from_the_other_end_change_nothing() -> None:
    views = drawn(10)
    turned = [
        replace(view, infrared=replace(view.infrared, points=view.infrared.points[::-1]))
        if index % 3
        else view
        for index, view in enumerate(views)
    ]
    expected, found = (calibrate(each, BOARD, SIZES) for each in (views, turned))
    np.testing.assert_allclose(
        found.rig.T_infrared_visible, expected.rig.T_infrared_visible, atol=1e-5
    )


def test_a_view_of_two_moments_is_left_out() -> None:
    views = drawn(12)
    views[4] = replace(
        views[4], infrared=replace(views[4].infrared, points=views[4].infrared.points + 6)
    )
    found = calibrate(views, BOARD, SIZES)
    assert list(found.refused) == [views[4].name]
    assert "did the board move" in found.refused[views[4].name]
    assert compare(found, example_rig()).baseline_percent < 2


def test_corners_that_no_rig_explains_are_refused() -> None:
    part = Board("chessboard", 8, 6, BOARD.spacing_m)
    views = []
    for index, view in enumerate(drawn(10)):
        visible, infrared = (
            replace(
                seen,
                points=seen.points.reshape(6, 9, 2)[:, at : at + 8].reshape(-1, 2),
                ids=np.arange(48),
            )
            for seen, at in ((view.visible, 0), (view.infrared, index % 2))
        )
        views.append(replace(view, visible=visible, infrared=infrared))
    with pytest.raises(ValueError, match="same moments"):
        calibrate(views, part, SIZES)


def test_a_board_that_moves_between_the_exposures_is_allowed_for() -> None:
    random = np.random.default_rng(1)
    views = []
    for view in drawn(15):
        # A shift of the whole board by 1 mm, half a metre away, is about one infrared pixel.
        moved = view.infrared.points + random.normal(0, 1.0, 2)
        views.append(replace(view, infrared=replace(view.infrared, points=moved)))
    found = calibrate(views, BOARD, SIZES)
    errors = compare(found, example_rig())
    assert errors.infrared_focal_percent < 0.5
    assert errors.baseline_covered
    assert 0.3e-3 < found.bundle.motion_m < 3e-3
    assert any("moved by" in sentence for sentence in found.verdict)
    assert calibrate(drawn(15), BOARD, SIZES).bundle.motion_m < 0.1e-3


def test_parts_of_boards_count() -> None:
    views = [
        replace(
            view,
            visible=replace(
                view.visible, points=view.visible.points[:40], ids=view.visible.ids[:40]
            ),
        )
        for view in drawn(12)
    ]
    low, high = baseline_interval_m(calibrate(views, BOARD, SIZES))
    assert low < example_rig().baseline_m < high


def test_few_views_say_what_they_leave_to_experience() -> None:
    rough = random_views(example_rig(), BOARD, 5, 1.0, np.random.default_rng(0))
    found = calibrate(rough, BOARD, SIZES)
    assert any("infrared k3" in held for held in found.from_prior)
    assert any("rest on experience" in sentence for sentence in found.verdict)
    assert any("The rotation is known to" in sentence for sentence in found.verdict)


def test_more_views_of_a_kind_are_wanted_as_their_error_says(solution: Solution) -> None:
    few = calibrate(solution.bundle.views[:15], BOARD, SIZES)
    assert few.rotation_std > 1.5 * solution.rotation_std
    assert few.rotation_95 > 1.6 * few.rotation_std
    assert few.views_needed == pytest.approx(solution.views_needed, rel=0.5)


def test_fisheye_lenses_are_solved_too() -> None:
    truth = example_rig()
    visible, infrared = (
        replace(camera, model="fisheye", distortion=np.array([0.02, -0.005, 0.001, 0.0]))
        for camera in (truth.visible, truth.infrared)
    )
    truth = replace(truth, visible=visible, infrared=infrared)
    views = random_views(truth, BOARD, 15, 0.2, np.random.default_rng(0))
    errors = compare(calibrate(views, BOARD, SIZES, ("fisheye", "fisheye")), truth)
    assert errors.visible_focal_percent < 0.3
    assert errors.infrared_focal_percent < 0.3
    assert errors.baseline_percent < 0.5


def test_three_views_are_too_few() -> None:
    with pytest.raises(ValueError, match="3 views can be used, at least 5"):
        calibrate(drawn(3), BOARD, SIZES)


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["calibration", "solve", *map(str, words)])
    return cli.run("calibration", "", {"solve": solve})


def folders(tmp_path: Path, count: int) -> list[object]:
    """Rendered frames in two folders, and the words that solve them."""
    random, rig = np.random.default_rng(0), half_size()
    for name in ("visible", "infrared"):
        (tmp_path / name).mkdir()
    for index, pose in enumerate(poses(rig, BOARD, count, random)):
        moment = render(rig, BOARD, pose, random)
        grey = np.repeat(moment.visible[..., None], 3, axis=2)
        (tmp_path / "visible" / f"{index}.png").write_bytes(encode_png(grey))
        (tmp_path / "infrared" / f"{index}.png").write_bytes(encode_png(moment.infrared))
    return words(tmp_path / "visible", tmp_path / "infrared", tmp_path)


def words(visible: Path, infrared: Path, out: Path) -> list[object]:
    board = ["--board", "chessboard", "--corners", "9x6", "--square-mm", 23.1]
    files = ["--out", out / "rig.yaml", "--report", out / "report.html", "--json"]
    return ["--visible", visible, "--infrared", infrared, *board, *files]


def test_folders_of_frames_to_rig_and_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = folders(tmp_path, 7)
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("visible,infrared\n" + "".join(f"{at}.png,warm{at}.png\n" for at in range(7)))
    assert run(monkeypatch, *command, "--pairs", pairs) == 1
    assert "warm0.png is not a file" in capsys.readouterr().err
    for path in (tmp_path / "infrared").iterdir():
        path.rename(path.with_name(f"warm{path.name}"))
    shutter = np.full((240, 320), 30_000, np.uint16)
    (tmp_path / "infrared" / "warm3.png").write_bytes(encode_png(shutter))
    assert run(monkeypatch, *command, "--pairs", pairs) == 0
    numbers = json.loads(capsys.readouterr().out)
    low, high = numbers["baseline_95_percent_mm"]
    assert low < 1e3 * example_rig().baseline_m < high
    assert numbers["stereo_rms_px"] < 0.4
    assert 0.01 < numbers["rotation_std_degrees"] < 0.5
    assert numbers["views_wanted"] > 7
    assert len(numbers["views_used"]) == 6
    assert "the frame is uniform" in str(numbers["views_refused"])
    assert isinstance(read_rig(tmp_path / "rig.yaml"), Rig)
    page = (tmp_path / "report.html").read_text()
    assert f"&plusmn; {numbers['rotation_std_degrees']:.3f}&deg; in all" in page
    assert page.count("data:image/jpeg;base64,") >= 4 + 2 * len(numbers["views_used"])
    assert "The most informative next view: the board " in page
    assert "http" not in page


def test_what_cannot_be_solved_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = folders(tmp_path, 3)
    (tmp_path / "rig.yaml").write_text("kept")
    assert run(monkeypatch, *command) == 1
    assert "in 3 of 3 pairs, at least 5 are needed" in capsys.readouterr().err
    swapped = words(tmp_path / "infrared", tmp_path / "visible", tmp_path)
    assert run(monkeypatch, *swapped) == 1
    assert "perhaps the two files are swapped" in capsys.readouterr().err
    assert run(monkeypatch, *words(tmp_path, tmp_path, tmp_path)) == 1
    assert "is named for both cameras" in capsys.readouterr().err
    assert run(monkeypatch, *[*command, "--corners", "9by6"]) == 1
    assert "expected COLUMNSxROWS" in capsys.readouterr().err
    (tmp_path / "report.html").symlink_to("rig.yaml")
    assert run(monkeypatch, *command) == 1
    assert "are one file: name another output" in capsys.readouterr().err
    (tmp_path / "report.html").unlink()
    assert (tmp_path / "rig.yaml").read_text() == "kept"
    assert not (tmp_path / "report.html").exists()


def test_frames_without_use_are_each_told_why_and_overwrite_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dark = np.indices((7, 10)).sum(0) % 2
    squares = np.pad(np.kron(dark, np.ones((30, 30))), ((60, 210), (60, 280)))
    visible = np.repeat((200 - 150 * squares)[..., None], 3, axis=2).astype(np.uint8)
    counts = (25_000 + 900 * squares).astype(np.uint16)
    glare = counts.copy()
    glare[150:] = 65_535
    blurred = cv2.GaussianBlur(counts, (0, 0), 20).astype(np.uint16)
    unusable = {"blurred": blurred, "saturated": glare}
    for name in ("visible", "infrared"):
        (tmp_path / name).mkdir()
    for name, infrared in unusable.items():
        (tmp_path / "visible" / f"{name}.png").write_bytes(encode_png(visible))
        (tmp_path / "infrared" / f"{name}.png").write_bytes(encode_png(infrared))
    (tmp_path / "rig.yaml").write_text("kept")
    assert run(monkeypatch, *words(tmp_path / "visible", tmp_path / "infrared", tmp_path)) == 1
    said = capsys.readouterr().err
    assert "in 0 of 2 pairs, at least 5 are needed" in said
    assert "blurred: infrared: no board found; the frame is blurred" in said
    assert "saturated: infrared: no board found; 69 % of the frame is saturated" in said
    assert (tmp_path / "rig.yaml").read_text() == "kept"
    assert not (tmp_path / "report.html").exists()


def test_a_square_board_can_be_read_from_four_sides() -> None:
    assert len(Board("chessboard", 7, 7, 0.02).orders()) == 4
    assert len(Board("chessboard", 9, 6, 0.02).orders()) == 2
    assert len(Board("circles", 4, 11, 0.02).orders()) == 1


@pytest.mark.skipif(not RIG_BOARD.is_dir(), reason=f"the real rig's frames are not in {RIG_BOARD}")
def test_a_real_rig_with_a_heated_board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *words(RIG_BOARD / "visible", RIG_BOARD / "infrared", tmp_path)) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["visible_found"] == 8
    assert numbers["infrared_found"] >= 6
    assert numbers["stereo_rms_px"] <= 0.70
    # By all four cameras of that rig, solved together (docs/results-rig.md).
    low, high = numbers["baseline_95_percent_mm"]
    assert low < 78.9 < high
    assert numbers["baseline_std_mm"] < 4
