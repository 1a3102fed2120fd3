"""The shift of each tile beyond the affine map of its frame: what parallax leaves."""

from typing import cast

import cv2
import numpy as np

from segmif.geometry.rig import Floats
from segmif.geometry.stream.surfaces import (
    REACH,
    Surfaces,
    Tiles,
    peaks_about,
    places_about,
    variances,
)

RADIUS = 4  # [px of a field] largest shift beyond the map
FAR_COST = 0.06  # [deviations] of a shift by one px, squared
NOISE, CLEAR = 3.0, 6.0  # [deviations] of a tile's peak that says nothing, and that is sure
SMOOTHNESS, ZERO = 0.5, 0.1  # weight of the neighbours' and of no shift, against a sure tile
ROUNDS = 6
NEIGHBOURS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]]) / 4


def local_shifts(found: Surfaces, base: Floats, tiles: Tiles) -> Floats:
    """
    Shifts (tiles, 2) beyond `base` (tiles, 2), in px of a field.

    A tile that is not sure follows its neighbours, and without sure ones there is no shift.
    """
    offsets = np.arange(-RADIUS, RADIUS + 1)
    most = REACH - RADIUS - 1
    middle = np.clip(np.rint(base).astype(np.intp), -most, most)
    near = found.ravel().take(places_about(middle, RADIUS))  # (tiles, shifts)
    near /= np.sqrt(variances(found))[:, None] + 1e-6
    cost = FAR_COST * (offsets[:, None] ** 2 + offsets**2)
    place = (near - cost.ravel().astype(np.float32)).argmax(1)
    row, column = np.divmod(place, len(offsets))
    whole = middle + np.column_stack([offsets[column], offsets[row]])
    fine, _ = peaks_about(found, whole.astype(np.float64), 0)
    height = near[np.arange(tiles.count), place]
    return _smoothed(fine - base, np.clip((height - NOISE) / (CLEAR - NOISE), 0, 1), tiles)


def _smoothed(shifts: Floats, sure: Floats, tiles: Tiles) -> Floats:
    """Weighted least squares of shifts, differences of neighbours, and zero, by Jacobi's rounds."""
    grid = shifts.reshape(tiles.rows, tiles.columns, 2)
    own = sure.reshape(tiles.rows, tiles.columns, 1)
    result = grid * own
    for _ in range(ROUNDS):
        around = cv2.filter2D(result, -1, NEIGHBOURS, borderType=cv2.BORDER_REPLICATE)
        result = (own * grid + SMOOTHNESS * around) / (own + SMOOTHNESS + ZERO)
    return cast(Floats, result.reshape(-1, 2))
