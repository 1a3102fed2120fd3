"""The affine map, as `affine_map` has it, with the best agreement over all tiles of a frame."""

from typing import cast

import numpy as np
from numpy.typing import NDArray

from segmif.geometry.rig import Floats
from segmif.geometry.stream.surfaces import REACH, SIDE, Surfaces, peaks_about, values_at, variances

DRAWS = 48  # of two and of three tiles
BEST_TILES = 24  # whose peaks are tried as shifts
FOLLOWED = 3  # candidates that are refined
STEPS, TRACKING_STEPS = 3, 1  # of the refinement: of a new map, of one that is followed
NEAR_PX = 2  # how far a peak may lie from the map
SPREAD = 0.15, 0.4  # least determinant of three tiles, least distance of two [half widths]

Generator = np.random.Generator


def agreement(found: Surfaces, basis: Floats, maps: Floats) -> Floats:
    """Sum over the tiles under maps (..., 3, 2)."""
    return cast(Floats, values_at(found, basis @ maps).sum(-1))


def deviation(found: Surfaces) -> float:
    """Standard deviation of the agreement under maps that mean nothing."""
    return float(np.sqrt(variances(found).sum())) + 1e-9


def best_map(found: Surfaces, basis: Floats, known: Floats, random: Generator) -> Floats:
    """The best map of those that the peaks of one, two or three tiles make."""
    maps = _candidates(found, basis, known, random)
    order = np.argsort(-agreement(found, basis, maps))[:FOLLOWED]
    refined = [refined_map(found, basis, maps[place]) for place in order]
    return max(refined, key=lambda each: float(agreement(found, basis, each)))


def refined_map(found: Surfaces, basis: Floats, start: Floats, steps: int = STEPS) -> Floats:
    """Least squares through the peaks near a map, the nearer and higher the heavier."""
    result = start
    for _ in range(steps):
        shifts = basis @ result
        peaks, heights = peaks_about(found, shifts, NEAR_PX)
        far = ((peaks - shifts) ** 2).sum(1)
        inside = (np.abs(shifts) <= REACH).all(1)
        weights = (np.maximum(heights, 0) * inside / (1 + far))[:, None]
        normal = basis.T @ (weights * basis)
        # A little of each diagonal: few tiles must not bend what they do not see.
        normal += np.diag([0.02, 0.02, 1e-6]) * (weights.sum() + 1e-6)
        result = result + np.linalg.solve(normal, basis.T @ (weights * (peaks - shifts)))
    return result


def _candidates(found: Surfaces, basis: Floats, known: Floats, random: Generator) -> Floats:
    """Maps (n, 3, 2): the known one, none, and those of the peaks."""
    flat = found.reshape(len(found), -1)
    places = flat.argmax(1)
    row, column = np.divmod(places, SIDE)
    peaks = np.column_stack([column, row]) - float(REACH)
    weights = np.maximum(flat[np.arange(len(flat)), places], 1e-9).astype(np.float64) ** 2
    linear = known * [[1], [1], [0]]
    first = np.argsort(-weights)[:BEST_TILES]
    shifts = [_with_shift(each, basis[first], peaks[first]) for each in (linear, 0 * known)]
    drawn = np.searchsorted(np.cumsum(weights / weights.sum()), random.random((DRAWS, 3)))
    drawn = np.minimum(drawn, len(found) - 1)
    maps = [known[None], 0 * known[None], *shifts, _by_two(drawn, basis, peaks)]
    return np.concatenate([*maps, _by_three(drawn, basis, peaks)])


def _with_shift(linear: Floats, basis: Floats, peaks: Floats) -> Floats:
    maps = np.repeat(linear[None], len(peaks), axis=0)
    maps[:, 2] = peaks - basis @ linear
    return maps


def _by_two(drawn: NDArray[np.intp], basis: Floats, peaks: Floats) -> Floats:
    """Maps of rotation, scale and shift through the peaks of two tiles each."""
    first, second = drawn[:, 0], drawn[:, 1]
    unit = np.array([1, 1j])
    apart = (basis[second] - basis[first])[:, :2] @ unit
    first, second, apart = (each[np.abs(apart) > SPREAD[1]] for each in (first, second, apart))
    turn = (peaks[second] - peaks[first]) @ unit / apart
    maps = np.zeros((len(turn), 3, 2))
    maps[:, 0] = np.column_stack([turn.real, turn.imag])
    maps[:, 1] = np.column_stack([-turn.imag, turn.real])
    maps[:, 2] = peaks[first] - np.einsum("nb,nbc->nc", basis[first], maps)
    return maps


def _by_three(drawn: NDArray[np.intp], basis: Floats, peaks: Floats) -> Floats:
    """Maps through the peaks of three tiles each."""
    corners = basis[drawn]
    drawn = drawn[np.abs(np.linalg.det(corners)) > SPREAD[0]]
    return cast(Floats, np.linalg.solve(basis[drawn], peaks[drawn]))
