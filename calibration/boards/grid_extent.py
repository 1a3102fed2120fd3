"""Whether a chessboard goes on beyond a grid of corners that was found in it."""

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.geometry.rig import Floats

REACH = 0.3  # of the spacing: from a corner into the four squares around it
AS_CLEAR = 0.5  # of the grid's own corners
MOST = 0.7  # of a row beyond the grid


def goes_on(picture: NDArray[np.uint8], points: Floats, columns: int, rows: int) -> bool:
    """
    Whether corners of squares follow beyond any side of a grid (rows * columns, 2) [px].

    The board is then larger than the grid, and which part of it was found is not known.
    """
    x, y = np.meshgrid(np.arange(-1.0, columns + 1), np.arange(-1.0, rows + 1))
    grid = np.stack([x, y], axis=-1)
    H = cv2.findHomography(grid[1:-1, 1:-1].reshape(-1, 2), points)[0]
    if H is None:
        return False
    clear = _crossing(picture, cast(Floats, H), grid.reshape(-1, 2)).reshape(x.shape)
    inner = clear[1:-1, 1:-1]
    beyond = (clear[0, 1:-1], clear[-1, 1:-1], clear[1:-1, 0], clear[1:-1, -1])
    limit = AS_CLEAR * np.nanmedian(inner)
    return any(np.isfinite(side).all() and np.mean(side > limit) > MOST for side in beyond)


def _crossing(picture: NDArray[np.uint8], H: Floats, at: Floats) -> Floats:
    """
    How far two squares across a corner differ from the other two (N,), nan outside the picture.

    At an outer corner of a board only one square in four is dark, which gives nothing or less.
    """
    quarters = at[:, None] + REACH * np.array([[1, 1], [-1, -1], [1, -1], [-1, 1]])
    pixels = cv2.perspectiveTransform(quarters.reshape(1, -1, 2), H)[0].astype(np.float32)
    height, width = picture.shape
    inside = ((pixels >= 0) & (pixels <= (width - 1, height - 1))).all(1).reshape(-1, 4).all(1)
    levels = cv2.remap(picture, pixels[:, 0], pixels[:, 1], cv2.INTER_LINEAR).reshape(-1, 4)
    a, b, c, d = levels.astype(np.float64).T
    crossing = np.abs(a + b - c - d) - np.abs(a - b) - np.abs(c - d)
    return np.where(inside, crossing, np.nan)
