"""
Affine maps between fields: their composition, their bounds, and what they are in pixels.

A map is an array (3, 2): displacement to the right and down [px of a field] = basis @ map, with the
basis of `Tiles.basis`. Its first two rows are the linear part, the last one is the shift.
"""

import numpy as np

from segmif.geometry.rig import Floats
from segmif.geometry.stream.surfaces import Tiles

MOST_SHIFT = 0.09  # of the width; a little more than `registration.refine` searches
MOST_LINEAR = 0.25  # of a length: a turn of 14 degrees, or a quarter larger

NO_MAP = np.zeros((3, 2))


def composed(base: Floats, rest: Floats, tiles: Tiles) -> Floats:
    """One map that does as `rest` and then `base`."""
    return base + rest + rest @ (base[:2] / tiles.half_width)


def bounded(displacement: Floats, tiles: Tiles) -> bool:
    """Whether a map is one that a rig can need."""
    shift, linear = np.abs(displacement[2]).max(), np.abs(displacement[:2]).max()
    return bool(shift <= MOST_SHIFT * tiles.size[0] and linear <= MOST_LINEAR * tiles.half_width)


def pixel_map(displacement: Floats, tiles: Tiles, shape: tuple[int, ...]) -> Floats:
    """(2, 3) visible pixel (x, y, 1) -> infrared pixel, of frames (H, W)."""
    sides = np.array([shape[1], shape[0]]) / tiles.size  # [px a px of the field]
    linear = np.eye(2) + displacement[:2].T / tiles.half_width * sides[:, None] / sides
    middle = np.array([shape[1] - 1, shape[0] - 1]) / 2
    return np.column_stack([linear, middle + sides * displacement[2] - linear @ middle])
