"""Boards in rendered frames, whose corners are known exactly."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from calibration.boards import detection
from calibration.boards.board import Board
from calibration.boards.detection import Detection, Refusal, detect, flatten
from calibration.boards.grid_extent import ends_inside
from calibration.solver.synthetic import BOARD, RenderedPair, example_rig, poses, render
from segmif.geometry.rig import Floats
from segmif.imaging.codecs import Pixels
from tests.calibration.commands.test_live import half_size


@pytest.fixture(scope="module")
def moment() -> RenderedPair:
    random = np.random.default_rng(3)
    rig = example_rig()
    return render(rig, BOARD, next(poses(rig, BOARD, 1, random)), random)


@pytest.fixture(scope="module")
def coarse(moment: RenderedPair) -> NDArray[np.uint8]:
    """The visible frame at half the size, for what is not about exactness."""
    half = cv2.resize(moment.visible, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return np.asarray(half, np.uint8)


def miss_px(found: Detection | Refusal, truth: Floats, board: Board = BOARD) -> float:
    """Root mean square error of one coordinate, in the better of the orders."""
    assert isinstance(found, Detection), found
    misses = [found.points - truth[order[found.ids]] for order in board.orders()]
    return min(float(np.sqrt((miss**2).mean())) for miss in misses)


def test_corners_are_found_in_both_spectra(moment: RenderedPair) -> None:
    for frame, truth in (
        (moment.visible, moment.visible_points),
        (moment.infrared, moment.infrared_points),
    ):
        found = detect(frame, BOARD)
        miss = miss_px(found, truth)
        assert miss < 0.25
        assert isinstance(found, Detection)
        assert found.sigma_px == pytest.approx(miss, rel=0.6, abs=0.05)


def test_a_board_whose_light_squares_are_hot_is_found_too(moment: RenderedPair) -> None:
    middle = np.float64(np.median(moment.infrared))
    turned = (2 * middle - moment.infrared).clip(0, 65_535).astype(np.uint16)
    assert miss_px(detect(turned, BOARD), moment.infrared_points) < 0.3


def test_a_board_cut_by_the_edge_counts_as_far_as_it_goes() -> None:
    upright = np.array([0.15, 0.1, 0.01, -0.08, -0.06, 0.45])
    moment = render(half_size(), BOARD, upright, np.random.default_rng(1))
    columns = moment.visible_points.reshape(BOARD.rows, BOARD.columns, 2)[..., 0]
    cut = int((columns[:, 0].max() + columns[:, 1].min()) / 2)
    found = detect(moment.visible[:, cut:], BOARD)
    assert isinstance(found, Detection), found
    assert len(found.ids) == BOARD.rows * (BOARD.columns - 1)
    moved = replace(found, points=found.points + np.array([cut, 0.0]))
    assert miss_px(moved, moment.visible_points) < 0.25


def test_a_quick_search_prepares_only_the_views_that_it_searches(
    coarse: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    widths: list[float] = []

    def counted(frame: Pixels, sigma_px: float) -> NDArray[np.uint8]:
        widths.append(sigma_px)
        return flatten(frame, sigma_px)

    monkeypatch.setattr(detection, "flatten", counted)
    assert isinstance(detect(blurred(coarse), BOARD, quick=True), Refusal)
    assert len(widths) == 1  # of three


def uniform(frame: Pixels) -> Pixels:
    return np.full(frame.shape, 100, np.uint8)


def saturated(frame: Pixels) -> Pixels:
    glare = frame.copy()
    glare[frame.shape[0] // 3 :] = np.iinfo(frame.dtype).max
    return glare


def blurred(frame: Pixels) -> Pixels:
    return cv2.GaussianBlur(frame, (0, 0), frame.shape[0] / 25).astype(np.uint8)


@pytest.mark.parametrize(
    ("spoil", "said"), [(uniform, "uniform"), (saturated, "saturated"), (blurred, "blurred")]
)
def test_a_refused_frame_says_why(coarse: NDArray[np.uint8], spoil: object, said: str) -> None:
    assert callable(spoil)
    found = detect(spoil(coarse), BOARD, quick=True)
    assert isinstance(found, Refusal)
    assert said in found.reason


def test_another_board_is_named(moment: RenderedPair) -> None:
    found = detect(moment.infrared, Board("chessboard", 10, 6, 0.0231))
    assert isinstance(found, Refusal)
    assert found.reason == "9x6 corners are in the frame, expected a board of 10x6"


@pytest.mark.parametrize(("columns", "rows"), [(8, 6), (9, 5)])
def test_a_part_of_a_larger_board_is_no_board(
    moment: RenderedPair, coarse: NDArray[np.uint8], columns: int, rows: int
) -> None:
    for frame in (coarse, moment.infrared):
        found = detect(frame, Board("chessboard", columns, rows, 0.0231))
        assert isinstance(found, Refusal)
        assert "corners are in the frame" in found.reason


def test_the_outline_of_a_board_is_no_row_of_corners(
    moment: RenderedPair, coarse: NDArray[np.uint8]
) -> None:
    """Where contrast is evened out, OpenCV's search finds a 10x6 board in this frame of 9x6."""
    half = (moment.visible_points + 0.5) / 2 - 0.5
    H = cv2.findHomography(BOARD.points()[:, :2], half)[0]
    longer = Board("chessboard", 10, 6, BOARD.spacing_m)
    flat = longer.points()[None, :, :2] - (BOARD.spacing_m, 0)
    outline = cv2.perspectiveTransform(flat, H)[0]
    even = flatten(coarse, 8.0)
    assert not ends_inside(even, half, 9, 6)
    assert ends_inside(even, outline, 10, 6)
    assert ends_inside(even, np.vstack([half, half[-9:] * 2 - half[-18:-9]]), 9, 7)


def test_asymmetric_circles() -> None:
    board = Board("circles", 4, 11, 0.02)
    truth = board.points()[:, :2] * 1500 + (150, 60)
    frame = np.full((480, 640), 230, np.uint8)
    for x, y in truth:
        cv2.circle(frame, (round(x * 16), round(y * 16)), 10 * 16, 20, -1, cv2.LINE_AA, 4)
    assert miss_px(detect(frame, board), truth, board) < 0.1
