"""Agreement surfaces: how well each tile of the visible field agrees with infrared, by shift."""

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.geometry.rig import Floats
from segmif.geometry.stream.edge_field import Field

Surfaces = NDArray[np.float32]  # (tiles, SIDE, SIDE): by shift down, shift to the right

TILE = 16  # [px of a field] side of a tile
REACH = 12  # [px of a field] largest shift
SIDE = 2 * REACH + 1
WINDOW = TILE + 2 * REACH  # of infrared that a tile may lie in


@dataclass(frozen=True)
class Tiles:
    """The tiles of fields of one size, row by row."""

    size: tuple[int, int]  # width, height of the fields [px]
    columns: int
    rows: int
    left: int  # [px] beside the first column
    top: int

    @classmethod
    def of(cls, size: tuple[int, int]) -> "Tiles":
        """As many whole tiles as fit, in the middle."""
        columns, rows = size[0] // TILE, size[1] // TILE
        return cls(
            size, columns, rows, (size[0] - columns * TILE) // 2, (size[1] - rows * TILE) // 2
        )

    @property
    def count(self) -> int:
        """Number of tiles."""
        return self.columns * self.rows

    @property
    def half_width(self) -> float:
        """The unit of `basis` [px of a field]."""
        return self.size[0] / 2

    def corner(self, tile: int) -> tuple[int, int]:
        """Column and row of a tile's first pixel."""
        row, column = divmod(tile, self.columns)
        return self.left + column * TILE, self.top + row * TILE

    def basis(self) -> Floats:
        """(tiles, 3): x, y of each tile's middle from the frame's, in half widths, and 1."""
        corners = np.array([self.corner(tile) for tile in range(self.count)], float).reshape(-1, 2)
        middles = corners + (TILE - 1) / 2 - (np.array(self.size) - 1) / 2
        return np.column_stack([middles / self.half_width, np.ones(self.count)])

    def spread(self, shifts: Floats) -> Field:
        """Shifts (tiles, 2) for every pixel of a field (h, w, 2), bilinear between the middles."""
        grid = shifts.reshape(self.rows, self.columns, 2).astype(np.float32)
        first = np.array([self.left, self.top]) + (TILE - 1) / 2
        there = np.column_stack([np.eye(2) / TILE, -first / TILE])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        spread = cv2.warpAffine(
            grid, there, self.size, flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        return cast(Field, spread)


def surfaces(visible: Field, infrared: Field, tiles: Tiles, chosen: NDArray[np.intp]) -> Surfaces:
    """
    Correlation of each `chosen` tile of `visible` with `infrared`, less its mean over all shifts.

    A peak at (x, y) from the middle says that what the tile shows lies x, y further in infrared.
    """
    padded = cv2.copyMakeBorder(
        infrared, REACH, REACH, REACH, REACH, cv2.BORDER_CONSTANT, value=(0, 0)
    )
    found = np.empty((len(chosen), SIDE, SIDE), np.float32)
    for place, number in enumerate(chosen.tolist()):
        x, y = tiles.corner(number)
        tile, around = visible[y : y + TILE, x : x + TILE], padded[y : y + WINDOW, x : x + WINDOW]
        cv2.matchTemplate(around, tile, cv2.TM_CCORR, found[place])
    found -= found.mean((1, 2), keepdims=True)
    return found


def variances(found: Surfaces) -> Floats:
    """Variance of each surface (tiles,)."""
    flat = found.reshape(len(found), -1)
    squares = np.einsum("ts,ts->t", flat, flat)  # a third of the time of `var`
    return cast(Floats, np.maximum(squares / flat.shape[1] - flat.mean(1) ** 2, 0.0))


def pooled(found: Surfaces, tiles: Tiles) -> Surfaces:
    """Each tile's surface and half of its neighbours'."""
    grid = found.reshape(tiles.rows, tiles.columns, SIDE, SIDE)
    down = grid.copy()
    down[1:] += 0.5 * grid[:-1]
    down[:-1] += 0.5 * grid[1:]
    both = down.copy()
    both[:, 1:] += 0.5 * down[:, :-1]
    both[:, :-1] += 0.5 * down[:, 1:]
    return cast(Surfaces, both.reshape(found.shape))


def values_at(found: Surfaces, shifts: Floats) -> Floats:
    """Surfaces at shifts (..., tiles, 2) [px], bilinear; 0 beyond their reach."""
    x, y = np.moveaxis(shifts, -1, 0) + REACH
    inside = (x >= 0) & (x <= SIDE - 1) & (y >= 0) & (y <= SIDE - 1)
    x, y = (np.clip(axis, 0, SIDE - 1.001) for axis in (x, y))
    left, above = x.astype(np.intp), y.astype(np.intp)
    right, below = x - left, y - above
    flat, at = found.ravel(), np.arange(len(found)) * SIDE * SIDE + above * SIDE + left
    upper = (1 - right) * flat[at] + right * flat[at + 1]
    lower = (1 - right) * flat[at + SIDE] + right * flat[at + SIDE + 1]
    return cast(Floats, np.where(inside, (1 - below) * upper + below * lower, 0.0))


def peaks_about(found: Surfaces, shifts: Floats, radius: int) -> tuple[Floats, Floats]:
    """The best shift (tiles, 2) within `radius` of `shifts`, finer than a pixel, and its value."""
    at = places_about(np.rint(shifts).astype(np.intp), radius)
    flat, count = found.ravel(), len(found)
    at = at[np.arange(count), flat.take(at).argmax(1)]
    around = flat.take(at + np.array([[0], [-1], [1], [-SIDE], [SIDE]]))  # (5, tiles)
    row, column = np.divmod(at % SIDE**2, SIDE)
    x = column + _vertex(around[1], around[0], around[2])
    y = row + _vertex(around[3], around[0], around[4])
    return np.column_stack([x, y]) - REACH, around[0].astype(np.float64)


def places_about(shifts: NDArray[np.intp], radius: int) -> NDArray[np.intp]:
    """
    Where the shifts within `radius` of whole `shifts` (tiles, 2) lie in the flat surfaces.

    (tiles, (2 radius + 1)^2), row by row; all of them have four neighbours.
    """
    offsets = np.arange(-radius, radius + 1)
    column, row = np.clip(shifts.T[..., None] + (offsets + REACH), 1, SIDE - 2)
    row += SIDE * np.arange(len(shifts))[:, None]
    return cast(
        NDArray[np.intp],
        (SIDE * row[:, :, None] + column[:, None, :]).reshape(len(shifts), -1),
    )


def _vertex(before: Surfaces, middle: Surfaces, after: Surfaces) -> Floats:
    """Where the parabola through three neighbours has its vertex, from the middle one."""
    curvature = np.minimum(before - 2 * middle + after, -1e-6)
    return cast(Floats, np.clip(0.5 * (before - after) / curvature, -0.5, 0.5).astype(np.float64))


def moved(found: Surfaces, shifts: Floats) -> Surfaces:
    """Surfaces as they would be had infrared been moved by `shifts` (tiles, 2) before."""
    result = np.empty_like(found)
    for tile, (x, y) in enumerate(shifts.tolist()):
        there = np.array([[1, 0, x], [0, 1, y]], np.float64)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        result[tile] = cv2.warpAffine(found[tile], there, (SIDE, SIDE), flags=flags)
    return result
