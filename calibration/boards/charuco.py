"""
Chessboards with a marker in each light square, so that any part of one says which part it is.

For the visible camera: a thermal one rarely resolves the markers.
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
    """Corners (N, 2) [px] of a grey picture and which of the board's they are; None without any."""
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
    words = cv2.aruco.getPredefinedDictionary(DICTIONARY)
    if squares[0] * squares[1] // 2 > len(words.bytesList):
        raise ValueError(f"{board}: more squares than the {len(words.bytesList)} markers there are")
    return cv2.aruco.CharucoBoard(squares, side, MARKER * side, words)
