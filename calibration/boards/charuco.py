"""
Chessboards with a marker in each light square: any part of one identifies itself.

For the visible camera: thermal cameras rarely resolve the markers.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.geometry.rig import Floats

from .board import Board

MARKER = 0.75  # of a square
BITS = 6  # along a marker, with its dark rim
DICTIONARY = cv2.aruco.DICT_4X4_250  # the coarsest: seen from farthest


def find(picture: NDArray[np.uint8], board: Board) -> tuple[Floats, NDArray[np.intp]] | None:
    """Corners (N, 2) [px] in a grey picture and their indices (N,) on the board; None: none."""
    points, ids, _, _ = cv2.aruco.CharucoDetector(_opencv(board)).detectBoard(picture)
    if points is None or ids is None or not len(ids):
        return None
    return points.reshape(-1, 2).astype(np.float64), ids.ravel().astype(np.intp)


def dark_bits(board: Board) -> Iterator[tuple[float, float, float]]:
    """The dark parts of all markers: x, y of the upper left corner from the board's, side [m]."""
    board_cv = _opencv(board)
    for number, place in zip(np.ravel(board_cv.getIds()), board_cv.getObjPoints(), strict=True):
        corners = np.asarray(place, np.float64)  # (4, 3)
        bits = cv2.aruco.generateImageMarker(board_cv.getDictionary(), int(number), BITS)
        side = float(np.ptp(corners[:, 0])) / BITS
        left, top = (float(value) for value in corners.min(0)[:2])
        for row, column in np.argwhere(bits == 0).tolist():
            yield left + column * side, top + row * side, side


def _opencv(board: Board) -> cv2.aruco.CharucoBoard:
    squares, side = (board.columns + 1, board.rows + 1), board.spacing_m
    dictionary = cv2.aruco.getPredefinedDictionary(DICTIONARY)
    if squares[0] * squares[1] // 2 > len(dictionary.bytesList):
        raise ValueError(
            f"{board}: more squares than the {len(dictionary.bytesList)} markers there are"
        )
    return cv2.aruco.CharucoBoard(squares, side, MARKER * side, dictionary)
