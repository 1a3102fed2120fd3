"""Boards true to scale, and homographies from picked points."""

import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from calibration.boards.board import Board
from calibration.boards.detection import Detection, Refusal, detect
from calibration.commands import pick, target
from segmif import cli
from segmif.geometry.rig import Homography, read_rig

BOARDS = [
    Board("chessboard", 9, 6, 0.0231),
    Board("circles", 4, 11, 0.02),
    Board("charuco", 9, 6, 0.0231),
    Board("aprilgrid", 6, 6, 0.04),
]
PX_PER_MM = 3


def run(monkeypatch: pytest.MonkeyPatch, command: str, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["calibration", command, *map(str, words)])
    return cli.run("calibration", "", {"target": target, "pick": pick})


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.kind)
def test_what_is_laid_out_is_found_at_its_scale(board: Board) -> None:
    frame = drawn(target.layout(board))
    found = detect(frame, board)
    assert isinstance(found, Detection), found
    seen_mm = np.linalg.norm(found.points[1:] - found.points[0], axis=1) / PX_PER_MM
    flat = 1e3 * board.points()[found.ids]
    np.testing.assert_allclose(seen_mm, np.linalg.norm(flat[1:] - flat[0], axis=1), atol=0.5)


def drawn(sheet: target.Sheet) -> NDArray[np.uint8]:
    """A sheet (H, W) as a good camera sees it."""
    shape = (round(sheet.height * PX_PER_MM), round(sheet.width * PX_PER_MM))
    frame = np.full(shape, 255, np.uint8)
    for item in sheet.shapes:
        if isinstance(item, target.Circle):
            x, y, radius = (round(16 * PX_PER_MM * mm) for mm in (item.x, item.y, item.radius))
            cv2.circle(frame, (x, y), radius, 0, -1, cv2.LINE_AA, 4)
        else:
            right, down = item.x + item.side, item.y + item.side
            x, y, right, down = (round(PX_PER_MM * mm) for mm in (item.x, item.y, right, down))
            frame[y:down, x:right] = 0
    grey = cv2.GaussianBlur(0.8 * frame + 20, (0, 0), 0.7)
    noise = np.random.default_rng(0).normal(0, 1, shape)
    return np.asarray((grey + noise).clip(0, 255), np.uint8)


@pytest.mark.parametrize("board", BOARDS[2:], ids=lambda board: board.kind)
def test_a_part_of_a_board_with_markers_says_which_it_is(board: Board) -> None:
    frame = drawn(target.layout(board))
    corner = frame[: frame.shape[0] * 2 // 3, frame.shape[1] // 3 :]
    whole, part = detect(frame, board), detect(corner, board)
    assert isinstance(whole, Detection), whole
    assert isinstance(part, Detection), part
    assert 12 <= len(part.ids) < len(whole.ids) == len(board.points())
    at = dict(zip(whole.ids.tolist(), whole.points - [frame.shape[1] // 3, 0], strict=True))
    expected = np.array([at[id] for id in part.ids.tolist()])
    np.testing.assert_allclose(part.points, expected, atol=0.3)
    assert isinstance(detect(drawn(target.layout(BOARDS[0])), board), Refusal)
    with pytest.raises(ValueError, match=r"more (squares|tags) than the \d+"):
        target.layout(Board(board.kind, 30, 20, 0.02))


def test_an_april_grid_is_numbered_as_kalibr_does() -> None:
    board = BOARDS[3]
    found = detect(drawn(target.layout(board))[::-1, ::-1].copy(), board)
    assert isinstance(found, Detection), found
    # Turned by half, tag 0 comes from the lower left to the upper right corner of the picture.
    x, y = found.points[found.ids == 10 * 12].ravel()  # its upper left corner
    middle = found.points.mean(0)
    assert x > middle[0]
    assert y < middle[1]


def test_files_hold_millimetres(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--corners", "9x6", "--square-mm", 20]
    for suffix in ("svg", "pdf", "dxf"):
        assert run(monkeypatch, "target", *words, "--out", tmp_path / f"board.{suffix}") == 0
    svg = (tmp_path / "board.svg").read_text()
    assert 'width="240mm"' in svg
    assert svg.count('width="20" height="20"') == 35
    pdf = (tmp_path / "board.pdf").read_text()
    box = re.search(r"MediaBox \[0 0 ([\d.]+)", pdf)
    assert box
    assert float(box[1]) * 25.4 / 72 == pytest.approx(240, abs=1e-3)
    assert pdf.count("20.000000 20.000000 re f") == 35
    dxf = (tmp_path / "board.dxf").read_text().splitlines()
    assert dxf.count("POLYLINE") == 36  # and the edge of the sheet


def test_the_table_of_a_pdf_points_at_its_objects() -> None:
    pdf = target.pdf(target.layout(BOARDS[1]))
    places = re.findall(r"^(\d{10}) 00000 n", pdf, re.MULTILINE)
    assert len(places) == 5
    for number, place in enumerate(places, 1):
        assert pdf[int(place) :].startswith(f"{number} 0 obj")
    stream = re.search(r"/Length (\d+) >>\nstream\n(.*?)\nendstream", pdf, re.DOTALL)
    assert stream
    assert int(stream[1]) == len(stream[2])


def test_another_suffix_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--corners", "9x6", "--square-mm", 20, "--out", tmp_path / "board.png"]
    assert run(monkeypatch, "target", *words) == 1
    assert "ends in .pdf, .svg or .dxf" in capsys.readouterr().err


def picked(path: Path, pairs: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> Path:
    rows = "\n".join(",".join(f"{value:.3f}" for value in pair) for pair in pairs)
    path.write_text(f"visible_x,visible_y,infrared_x,infrared_y\n{rows}\n")
    return path


def test_picked_pairs_make_a_homography_without_the_wrong_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    H = np.array([[0.5, 0.02, 4], [-0.01, 0.5, 6], [1e-5, 0, 1]])
    visible = np.random.default_rng(0).uniform((0, 0), (600, 440), (9, 2))
    infrared = cv2.perspectiveTransform(visible[None], H)[0]
    infrared[3] += 40
    points = picked(tmp_path / "points.csv", np.hstack([visible, infrared]))
    words = ["--visible-size", "640x480", "--infrared-size", "360x300"]
    out = tmp_path / "rig.yaml"
    assert run(monkeypatch, "pick", "--points", points, *words, "--out", out) == 0
    assert "8 of 9 pairs used" in capsys.readouterr().out
    rig = read_rig(out)
    assert isinstance(rig, Homography)
    np.testing.assert_allclose(rig.H_infrared_visible, H, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "are missing"),
        ("visible_x,visible_y,infrared_x,infrared_y\n1,2,3,x\n", "line 2: four numbers"),
        ("visible_x,visible_y,infrared_x,infrared_y\n1,2,3,4\n", "1 pairs, at least 5"),
        ("visible_x,visible_y,infrared_x,infrared_y\n" + "nan,2,3,4\n" * 6, "outside"),
        ("visible_x,visible_y,infrared_x,infrared_y\n" + "1,2,3,4\n" * 6, "no plane explains"),
    ],
)
def test_bad_pairs_are_refused_in_words(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
    said: str,
) -> None:
    points = tmp_path / "points.csv"
    points.write_text(text)
    words = ["--visible-size", "640x480", "--infrared-size", "320x240"]
    assert run(monkeypatch, "pick", "--points", points, *words, "--out", tmp_path / "r.yaml") == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "r.yaml").exists()


def test_a_board_larger_than_any_is_refused_before_it_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--corners", "101x3", "--square-mm", "1", "--out", tmp_path / "board.pdf"]
    assert run(monkeypatch, "target", *words) == 1
    assert "too large: at most 100x100" in capsys.readouterr().err
