"""
AprilGrids as Kalibr prints them: any part of one identifies itself.

The tags are of family 36h11, with a border of two bits, 0.3 of their side apart. They are numbered
from the lower left corner to the right and upwards. A dark square fills the gap between four tags,
so each corner of a tag is a chessboard corner. For the visible camera: thermal cameras rarely
resolve the bits.
"""

from collections.abc import Iterator
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.geometry.rig import Floats

from .board import GAP, Board

FAMILY = cv2.aruco.DICT_APRILTAG_36h11
BORDER_BITS = 2
BITS = 6 + 2 * BORDER_BITS  # along a tag


def find(picture: NDArray[np.uint8], board: Board) -> tuple[Floats, NDArray[np.intp]] | None:
    """Corners (N, 2) [px] in a grey picture and their indices (N,) on the board; None: no tag."""
    settings = cv2.aruco.DetectorParameters()
    settings.markerBorderBits = BORDER_BITS
    settings.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    found, names, _ = cv2.aruco.ArucoDetector(_family(), settings).detectMarkers(picture)
    tags = _tags(board)
    known = [at for at, name in enumerate(np.ravel(names)) if name in tags] if found else []
    if not known:
        return None
    points = np.array([found[at].reshape(4, 2) for at in known], np.float64)
    ids = np.array([tags[int(np.ravel(names)[at])] for at in known])
    # Kalibr prints the codes upside down, so the corner that OpenCV calls the first is another.
    turned = [np.roll(ids, turn, axis=1).ravel() for turn in range(4)]
    errors = [_plane_error(points.reshape(-1, 2), board.points()[each, :2]) for each in turned]
    return points.reshape(-1, 2), turned[int(np.argmin(errors))].astype(np.intp)


def dark_squares(board: Board) -> Iterator[tuple[float, float, float]]:
    """All dark parts: x, y of the upper left corner from the board's, side [m]."""
    side, gap = board.spacing_m, GAP * board.spacing_m
    pitch = side + gap
    for row, column in product(range(board.rows + 1), range(board.columns + 1)):
        yield column * pitch, row * pitch, gap
    bit = side / BITS
    for number, ids in _tags(board).items():
        row, column = divmod(int(ids[0]), 2 * board.columns)
        left, top = gap + column // 2 * pitch, gap + row // 2 * pitch
        marker = cv2.aruco.generateImageMarker(_family(), number, BITS, borderBits=BORDER_BITS)[
            ::-1, ::-1
        ]
        for down, right in np.argwhere(marker == 0).tolist():
            yield left + right * bit, top + down * bit, bit


def _tags(board: Board) -> dict[int, NDArray[np.intp]]:
    """Number of a tag to its corners (4,) among the board's points, clockwise from upper left."""
    count, names = board.columns * board.rows, len(_family().bytesList)
    if count > names:
        raise ValueError(f"{board}: more tags than the {names} of the family")
    grid = np.arange(4 * count).reshape(2 * board.rows, 2 * board.columns)
    tags = {}
    for row, column in product(range(board.rows), range(board.columns)):
        a, b, c, d = grid[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].ravel()
        tags[(board.rows - 1 - row) * board.columns + column] = np.array([a, b, d, c])
    return tags


def _plane_error(points: Floats, flat: Floats) -> float:
    """Mean square distance [px^2] of points (N, 2) to the best homography of `flat` (N, 2)."""
    H = cv2.findHomography(flat, points)[0]
    if H is None:
        return float("inf")
    return float(((cv2.perspectiveTransform(flat[None], H)[0] - points) ** 2).mean())


def _family() -> cv2.aruco.Dictionary:
    return cv2.aruco.getPredefinedDictionary(FAMILY)
