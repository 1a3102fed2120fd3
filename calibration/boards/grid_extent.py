"""Whether a grid of corners has the size of the chessboard in which it was found."""

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.geometry.rig import Floats

REACH = 0.3  # of the spacing: from a corner into the four squares around it
AS_CLEAR = 0.5  # of the grid's own corners
MOST = 0.7  # of a row beyond the grid
QUARTERS = np.array([[1, 1], [-1, -1], [1, -1], [-1, 1]])  # across, down: two opposite pairs


def continues_beyond(picture: NDArray[np.uint8], points: Floats, columns: int, rows: int) -> bool:
    """
    Whether corners of squares follow beyond any side of a grid (rows * columns, 2) [px].

    The board is then larger than the grid, and which part of it was found is not known.
    """
    x, y = np.meshgrid(np.arange(-1.0, columns + 1), np.arange(-1.0, rows + 1))
    grid = np.stack([x, y], axis=-1)
    H = cv2.findHomography(grid[1:-1, 1:-1].reshape(-1, 2), points)[0]
    if H is None:
        return False
    quarters = (grid[..., None, :] + REACH * QUARTERS).reshape(1, -1, 2)
    pixels = np.asarray(cv2.perspectiveTransform(quarters, H), np.float64)
    clear = _crossing(picture, pixels).reshape(x.shape)
    limit = AS_CLEAR * np.nanmedian(clear[1:-1, 1:-1])
    beyond = (clear[0, 1:-1], clear[-1, 1:-1], clear[1:-1, 0], clear[1:-1, -1])
    return any(np.isfinite(side).all() and np.mean(side > limit) > MOST for side in beyond)


def ends_inside(picture: NDArray[np.uint8], points: Floats, columns: int, rows: int) -> bool:
    """
    Whether any outer row or column of a grid (rows * columns, 2) [px] shows no corners of squares.

    The board is then smaller than the grid. A search may take the outline of a board for a row of
    corners, since an evened-out contrast continues the squares faintly beyond it.
    """
    grid = points.reshape(rows, columns, 2)
    steps = np.stack(
        [np.gradient(grid, axis=axis) for axis in (1, 0)], axis=-2
    )  # (rows, columns, 2, 2)
    quarters = grid[..., None, :] + REACH * (QUARTERS @ steps)
    clear = _crossing(picture, quarters).reshape(rows, columns)
    limit = AS_CLEAR * np.nanmedian(clear)
    outer = (side[np.isfinite(side)] for side in (clear[0], clear[-1], clear[:, 0], clear[:, -1]))
    return any(side.size and np.mean(side > limit) < 1 - MOST for side in outer)


def _crossing(picture: NDArray[np.uint8], quarters: Floats) -> Floats:
    """
    How far two squares across a corner differ from the other two (N,), nan outside the picture.

    Takes a pixel in each of the four squares around each corner, in the order of `QUARTERS`. At an
    outer corner of a board only one square in four is dark, which gives nothing or less.
    """
    pixels = quarters.reshape(-1, 2).astype(np.float32)
    height, width = picture.shape
    inside = ((pixels >= 0) & (pixels <= (width - 1, height - 1))).all(1).reshape(-1, 4).all(1)
    levels = cv2.remap(picture, pixels[:, 0], pixels[:, 1], cv2.INTER_LINEAR).reshape(-1, 4)
    a, b, c, d = levels.astype(np.float64).T
    crossing = np.abs(a + b - c - d) - np.abs(a - b) - np.abs(c - d)
    return np.where(inside, crossing, np.nan)
