"""
Finds a board in a frame of either spectrum, or says why not.

In infrared a heated board is faint: its squares differ little, and either kind may be hotter.
So the frame is searched as it is first. Then its background is subtracted and its local contrast
made even, at several widths and in both polarities.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.geometry.rig import Floats
from segmif.imaging.codecs import Pixels
from segmif.thermal.gain_control import percentile_window, to_8bit

from . import aprilgrid, charuco
from .board import Board
from .grid_extent import continues_beyond, ends_inside

Grey = NDArray[np.uint8]
Size = tuple[int, int]  # columns, rows

SEARCH_ROWS = 480  # frames are searched at this height: time grows faster than the pixels
MARGIN = 30  # [px of the searched picture]
BACKGROUNDS = (8.0, 12.0, 18.0)  # [px at 480 rows] about half to one square of a board that fits
QUICK_VIEWS = 2  # of the prepared frames: those that most often show the board
CONTRAST_FLOOR = 1e-3  # of the frame's range: what lies below is noise, not contrast
STRETCH = 5.0  # local standard deviations shown between black and white
WINDOWS = (0.2, 0.35)  # of the spacing, half widths for the measurement of a corner
SMOOTH_TERMS = 10  # of a cubic polynomial in x and y
MIN_CORNERS = SMOOTH_TERMS + 2  # of a part: fewer leave no residual for their noise
OUTLIER = 6.0  # times the median scatter: one corner in millions, were they all alike
TRIM = 8  # at most one corner of so many is left out
MAX_SIGMA = 0.05  # of the spacing: worse than that is another pattern, or blur
SUBPIXEL = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-4)
UNIFORM = 4  # levels or counts: a frame of fewer shows nothing
SATURATED_SHARE = 0.2  # of the frame
MIN_SHARPNESS = 0.35  # share of gradient energy that a second blur must take from a frame in focus
BLUR_PX = 1.5
MARKERS = {"charuco": charuco.find, "aprilgrid": aprilgrid.find}


@dataclass(frozen=True)
class Detection:
    """A board in one frame, or as much of it as the frame's edge leaves."""

    points: Floats  # (N, 2) [px]
    ids: NDArray[np.intp]  # (N,) which of `Board.points` they are, read in one of its `orders`
    sigma_px: float  # standard deviation of one coordinate, see `corner_noise`
    how: str  # the preparation that showed it


@dataclass(frozen=True)
class Refusal:
    """Why a frame shows no board that can be used."""

    reason: str


@dataclass(frozen=True)
class PreparedFrame:
    """A frame prepared for detection: small for the search, at full size for the measurement."""

    fine: Grey  # (H, W), the pixels of the frame
    small: Grey  # the frame scaled, within a light border of `MARGIN` pixels
    scale: float  # of `small` to the frame
    how: str

    def to_frame(self, points: Floats) -> Floats:
        """Pixels of `small` as pixels of the frame: centres lie at half pixels of an area."""
        return (points - MARGIN + 0.5) / self.scale - 0.5


Candidate = tuple[
    PreparedFrame, Floats, NDArray[np.intp], float
]  # points [px], their ids, spacing [px]


def detect(frame: Pixels, board: Board, *, quick: bool = False) -> Detection | Refusal:
    """
    Find the board in a grey frame (H, W), uint8 or uint16; `quick` leaves out the slow searches.

    Cheap searches come first. The first board with well measured corners ends the search. A board
    that is cut by the frame's edge counts if it is clear which corners are missing.
    """
    if (said := _uniform(frame)) is not None:  # before searches that take seconds
        return Refusal(said)
    worst = 0.0
    search = _marker_grids if board.kind in MARKERS else _plain_grids
    for candidate in search(frame, board, quick):
        if isinstance(candidate, Refusal):
            return candidate
        view, points, ids, spacing = candidate
        seen = _inside(points, frame.shape)
        found = _refined(view, points[seen], ids[seen], board, spacing)
        if found.sigma_px <= MAX_SIGMA * spacing:
            return found
        worst = found.sigma_px
    if worst:
        return Refusal(f"the corners scatter by {worst:.1f} px: not this board, or too blurred")
    return Refusal(explain_failure(frame))


def views(frame: Pixels) -> Iterator[PreparedFrame]:
    """A frame prepared in several ways, the likely ones first."""
    if frame.dtype == np.uint8:
        yield _view(cast(Grey, frame), "as it is")
    unit = frame.shape[0] / SEARCH_ROWS
    for background in BACKGROUNDS:
        even = flatten(frame, background * unit)
        # OpenCV's searches want dark squares on a light ground; a lamp heats the black ones most.
        yield _view(255 - even, f"hot squares dark, background {background:g}")
        yield _view(even, f"cold squares dark, background {background:g}")


def flatten(frame: Pixels, sigma_px: float) -> Grey:
    """
    Subtract the blurred background of a frame (H, W) and even out its local contrast, to 8 bit.

    (I - G*I) / sqrt(G*(I - G*I)^2) with a Gaussian G of `sigma_px`; mid-grey is no difference.
    """
    levels = frame.astype(np.float32)
    difference = levels - cv2.GaussianBlur(levels, (0, 0), sigma_px)
    spread = np.sqrt(cv2.GaussianBlur(difference**2, (0, 0), sigma_px))
    floor = CONTRAST_FLOOR * max(float(levels.max() - levels.min()), 1.0)
    even = difference / (spread + floor) / STRETCH + 0.5
    return cast(Grey, (even.clip(0, 1) * 255).astype(np.uint8))


def corner_noise(points: Floats, ids: NDArray[np.intp], board: Board) -> float:
    """
    Standard deviation of one coordinate [px], from the scatter about a smooth picture of the board.

    Each coordinate has 10 parameters for its N values.
    """
    rest = _residuals(points, ids, board)
    return float(np.sqrt((rest**2).sum() / max(rest.size - 2 * SMOOTH_TERMS, 1)))


def _residuals(points: Floats, ids: NDArray[np.intp], board: Board) -> Floats:
    """Residuals (N, 2) [px] of the best homography with a cubic polynomial for the lens."""
    flat = board.points()[ids, :2]
    H = cv2.findHomography(flat, points)[0]
    if H is None:
        return np.full_like(points, np.inf)
    ideal = cv2.perspectiveTransform(flat[None], H)[0]
    x, y = ((ideal - ideal.mean(0)) / ideal.std(0)).T
    terms = np.stack([x**i * y**j for i in range(4) for j in range(4 - i)], axis=1)
    error = points - ideal
    return cast(Floats, error - terms @ np.linalg.lstsq(terms, error, rcond=None)[0])


def _drop_outliers(
    points: Floats, ids: NDArray[np.intp], board: Board
) -> tuple[Floats, NDArray[np.intp], float]:
    """Drop single corners that a finger, a glare or the frame's edge has moved."""
    for _ in range(len(points) // TRIM):
        rest = np.hypot(*_residuals(points, ids, board).T)
        worst = int(np.argmax(rest))
        if rest[worst] < OUTLIER * np.median(rest):
            break
        points, ids = np.delete(points, worst, 0), np.delete(ids, worst)
    return points, ids, corner_noise(points, ids, board)


def explain_failure(frame: Pixels) -> str:
    """A sentence on why no board was found in a frame (H, W)."""
    full = float(np.mean(frame >= np.iinfo(frame.dtype).max - 1))
    if full > SATURATED_SHARE:
        return f"no board found; {100 * full:.0f} % of the frame is saturated"
    if sharpness(frame) < MIN_SHARPNESS:
        return "no board found; the frame is blurred"
    return "no board found: it is hidden, cut by the edge, too far, or without thermal contrast"


def _uniform(frame: Pixels) -> str | None:
    low, high = float(frame.min()), float(frame.max())
    return f"the frame is uniform ({low:g} to {high:g})" if high - low < UNIFORM else None


def sharpness(frame: Pixels) -> float:
    """Share (0 to 1) of gradient energy that a blur of 1.5 px removes: low for blurred frames."""

    def energy(picture: Grey) -> float:
        return float(np.mean(cv2.Laplacian(picture, cv2.CV_32F) ** 2))

    # The noise of single pixels is no detail: a median removes it first.
    picture = cast(Grey, cv2.medianBlur(_levels(frame), 3))
    before = energy(picture)
    after = energy(cast(Grey, cv2.GaussianBlur(picture, (0, 0), BLUR_PX)))
    return 1 - after / before if before else 0.0


def _levels(frame: Pixels) -> Grey:
    if frame.dtype == np.uint8:
        return cast(Grey, frame)
    counts = cast(NDArray[np.uint16], frame)
    return to_8bit(counts, percentile_window(counts))


def _view(picture: Grey, how: str) -> PreparedFrame:
    scale = SEARCH_ROWS / picture.shape[0]
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=method)
    # A search needs the squares around the outer corners whole; light, they count as ground.
    bordered = cv2.copyMakeBorder(
        small, MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_CONSTANT, value=255
    )
    return PreparedFrame(picture, cast(Grey, bordered), scale, how)


def _marker_grids(frame: Pixels, board: Board, quick: bool) -> Iterator[Candidate]:
    """Boards whose markers identify any part."""
    for view in islice(views(frame), QUICK_VIEWS if quick else None):
        found = MARKERS[board.kind](view.small, board)
        if found is None or len(found[1]) < MIN_CORNERS:
            continue
        points, ids = view.to_frame(found[0]), found[1]
        flat = board.points()[ids]
        steps = [np.linalg.norm(np.diff(each, axis=0), axis=1) for each in (points, flat)]
        yield view, points, ids, float(np.median(steps[0] / steps[1])) * board.closest_m


def _plain_grids(frame: Pixels, board: Board, quick: bool) -> Iterator[Candidate | Refusal]:
    """Whole grids, or parts cut by the frame's edge; a refusal for a grid of another board."""
    whole = (board.columns, board.rows)
    for view, size, points in _found_grids(frame, board, quick):
        if board.kind == "chessboard" and ends_inside(view.fine, points, *size):
            continue
        ids = _point_ids(points, size, board, frame.shape)
        there, expected = (f"{c}x{r}" for c, r in (size, whole))
        if ids is None:
            yield Refusal(f"{there} corners are in the frame, expected a board of {expected}")
        elif (
            board.kind == "chessboard"
            and size == whole
            and continues_beyond(view.fine, points, *size)
        ):
            yield Refusal(f"more corners are in the frame than those of a board of {expected}")
        else:
            yield view, points, ids, _spacing_px(points, size)


def _found_grids(
    frame: Pixels, board: Board, quick: bool
) -> Iterator[tuple[PreparedFrame, Size, Floats]]:
    """Prepared frame, grid size and points (N, 2) [px of the frame] of each grid found."""
    whole = (board.columns, board.rows)
    looks = list(islice(views(frame), QUICK_VIEWS if quick else None))
    parts = [(board.columns - 1, board.rows), (board.columns - 2, board.rows)]
    parts += [(board.columns, board.rows - 1), (board.columns, board.rows - 2)]
    plan = [(view, whole, thorough) for view in looks for thorough in (False, True)]
    if quick:
        plan = [(view, whole, False) for view in looks]
    elif board.kind == "chessboard":
        plan += [
            (view, part, False) for view in looks[:QUICK_VIEWS] for part in parts if min(part) > 2
        ]
    for view, size, thorough in plan:
        search = _search_circles if board.kind == "circles" else _search_chessboard
        points = search(view.small, size, thorough)
        if points is not None:
            yield view, size, view.to_frame(points)


def _search_chessboard(picture: Grey, size: Size, thorough: bool) -> Floats | None:
    flags = cv2.CALIB_CB_NORMALIZE_IMAGE
    flags |= cv2.CALIB_CB_EXHAUSTIVE if thorough else cv2.CALIB_CB_ACCURACY
    found, points = cv2.findChessboardCornersSB(picture, size, flags=flags)
    if thorough and not found:
        flags = cv2.CALIB_CB_ADAPTIVE_THRESH | cv2.CALIB_CB_NORMALIZE_IMAGE
        found, points = cv2.findChessboardCorners(picture, size, flags=flags)
    return points.reshape(-1, 2).astype(np.float64) if found else None


def _search_circles(picture: Grey, size: Size, thorough: bool) -> Floats | None:
    flags = cv2.CALIB_CB_ASYMMETRIC_GRID | (cv2.CALIB_CB_CLUSTERING if thorough else 0)
    found, points = cv2.findCirclesGrid(picture, size, flags=flags)
    return points.reshape(-1, 2).astype(np.float64) if found else None


def _point_ids(
    points: Floats, size: Size, board: Board, shape: tuple[int, ...]
) -> NDArray[np.intp] | None:
    """
    Which of the board's points (N,) a grid of `size` shows; None if that is ambiguous.

    A part has a place on the board if all other corners lie outside the frame or at its edge.
    """
    index = np.arange(board.columns * board.rows).reshape(board.rows, board.columns)
    edge = _spacing_px(points, size) / 2
    fitting = []
    for top in range(board.rows - size[1] + 1):
        for left in range(board.columns - size[0] + 1):
            ids = index[top : top + size[1], left : left + size[0]].ravel()
            missing = np.setdiff1d(index, ids)
            if not _any_inside(points, ids, missing, board, shape, edge):
                fitting.append(ids)
    return fitting[0] if len(fitting) == 1 else None


def _any_inside(
    points: Floats,
    ids: NDArray[np.intp],
    missing: NDArray[np.intp],
    board: Board,
    shape: tuple[int, ...],
    edge: float,
) -> bool:
    if not missing.size:
        return False
    flat = board.points()[:, :2]
    H = cv2.findHomography(flat[ids], points)[0]
    if H is None:
        return True
    x, y = cv2.perspectiveTransform(flat[missing][None], H)[0].T
    across = (x > edge) & (x < shape[1] - edge)
    return bool((across & (y > edge) & (y < shape[0] - edge)).any())


def _inside(points: Floats, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    # With the added border a search may find corners beyond the frame.
    x, y = points.T
    return cast(NDArray[np.bool_], (x >= 0) & (y >= 0) & (x <= shape[1] - 1) & (y <= shape[0] - 1))


def _refined(
    view: PreparedFrame, points: Floats, ids: NDArray[np.intp], board: Board, spacing: float
) -> Detection:
    """The points as found or refined at saddle points, whichever scatter least."""
    candidates = [points]
    if board.kind != "circles":
        candidates += [_corner_positions(view.fine, points, share * spacing) for share in WINDOWS]
    trimmed = [_drop_outliers(candidate, ids, board) for candidate in candidates]
    best, kept, sigma = min(trimmed, key=lambda one: one[2])
    return Detection(best, kept, sigma, view.how)


def _corner_positions(picture: Grey, points: Floats, half_px: float) -> Floats:
    """Refine corners in windows of `half_px` to either side."""
    half = max(2, round(half_px))
    start = points.astype(np.float32).reshape(-1, 1, 2)
    refined = cv2.cornerSubPix(picture, start, (half, half), (-1, -1), SUBPIXEL)
    return cast(Floats, refined.reshape(-1, 2).astype(np.float64))


def _spacing_px(points: Floats, size: Size) -> float:
    """Median distance between neighbours of a row [px]."""
    rows = points.reshape(size[1], size[0], 2)
    return float(np.median(np.linalg.norm(np.diff(rows, axis=1), axis=2)))
