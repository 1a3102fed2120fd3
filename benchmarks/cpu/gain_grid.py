"""
Grids of synthetic 16-bit infrared frames: in which cases the gain control breaks its bounds.

Windows: a tenth of the pixels set to 0, to 65,535 or to noise moves the window by less than 5 % of
its span. Objects: a connected one of 0.2 to 10 % of the pixels beyond the scene is never counted
invalid. At least a fifth of the output's range lies between it and its surroundings.

`python -m benchmarks.cpu.gain_grid` takes half a minute of one core; its cases are always the same.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.argument_types import IntegerRange
from segmif.thermal.gain_control import GainRule, apply_gain, percentile_window
from segmif.thermal.invalid_counts import find_invalid

Counts = NDArray[np.uint16]
Chosen = NDArray[np.bool_]
Grid = Callable[[int], Iterator[tuple[dict[str, Any], float]]]

SHAPE = (120, 160)
# bits and span [counts] of scenes
DEPTHS = ((8, 30), (8, 250), (10, 300), (12, 30), (14, 1500), (14, 12_000), (16, 300), (16, 30_000))
SHARES = (0.002, 0.005, 0.01, 0.03, 0.1)  # of the pixels
BEYOND = (0.3, 0.6, 0.8, 1.5, 5.0, 30.0)  # of the scene's span
MOVED = 0.05  # of the span, at most
APART = 255 / 5  # levels, at least
INVALID = 0.02  # of an object's pixels, at most
WORST = 8  # cases of a grid that are printed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--seeds", type=IntegerRange(1), default=3, help="of each case (%(default)s)"
    )
    args = parser.parse_args()
    grids: dict[str, Grid] = {"windows": windows, "objects": objects}
    for name, grid in grids.items():
        cases = list(grid(args.seeds))
        failed = sorted((case for case in cases if case[1] > 1), key=lambda case: -case[1])
        print(f"{name}: {len(failed)} of {len(cases)} cases fail")
        for case_, excess in failed[:WORST]:
            print(f"  {excess:.2f} of what is allowed: {json.dumps(case_)}")


def windows(seeds: int) -> Iterator[tuple[dict[str, Any], float]]:
    """Each case, and how far it moves the window, as a multiple of the bound."""
    for (bits, span), shape, value, seed in product(DEPTHS, PLACES, VALUES, range(seeds)):
        random = np.random.default_rng([bits, span, seed])
        counts = scene(bits, span, random)
        chosen = PLACES[shape](random)
        low, high = np.percentile(counts[~chosen], [1, 99])
        counts[chosen] = VALUES[value](random, np.count_nonzero(chosen))
        window = percentile_window(counts)
        off = max(abs(window.low - low), abs(window.high - high))
        case_ = {"bits": bits, "span": span, "place": shape, "value": value, "seed": seed}
        yield case_, off / max(MOVED * (high - low), 1)


def objects(seeds: int) -> Iterator[tuple[dict[str, Any], float]]:
    """Each case, and its shortfall: above 1 it breaks a bound."""
    grid = product(
        DEPTHS, SHARES, BEYOND, (1, -1), ("anywhere", "beside the extreme"), range(seeds)
    )
    for (bits, span), share, beyond, side, place, seed in grid:
        random = np.random.default_rng([bits, span, seed])
        counts = scene(bits, span, random)
        level = counts.max() + beyond * span if side > 0 else counts.min() - beyond * span
        if not 0 <= level <= 65_535:
            continue
        mask = _disc(share, _middle(counts, share, side, place, random))
        values = level + random.normal(0, 0.005 * span, np.count_nonzero(mask))
        counts[mask] = values.round().clip(0, 65_535)
        case_ = {"bits": bits, "span": span, "share": share, "beyond": side * beyond}
        yield case_ | {"place": place, "seed": seed}, _short(counts, mask)


def _short(counts: Counts, mask: Chosen) -> float:
    validity = find_invalid(counts)
    invalid = 0.0 if validity.invalid is None else float((validity.invalid[mask] > 0).mean())
    levels = apply_gain(counts, GainRule(), validity=validity).pixels.astype(float)
    near = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    apart = abs(levels[mask].mean() - levels[near & ~mask].mean())
    return max(invalid / INVALID, APART / max(apart, 1.0))


def scene(bits: int, span: int, random: np.random.Generator) -> Counts:
    """Hills, edges and noise somewhere in the range of the sensor, (H, W)."""
    height, width = SHAPE
    values = np.zeros(SHAPE)
    for side in (2.0, 6.0, 15.0):
        values += side * cv2.GaussianBlur(random.normal(0, 1, SHAPE), (0, 0), side)
    spread = values.std()
    for _ in range(12):
        y, x = random.integers(0, height), random.integers(0, width)
        part = np.s_[y : y + random.integers(4, 24), x : x + random.integers(4, 32)]
        values[part] += random.normal(0, 1.5) * spread
    values = (values - values.min()) / np.ptp(values)
    base = random.integers(0, 2**bits - span) * (span < 2**bits - 1)
    counts = base + values * span + random.normal(0, 0.005 * span, SHAPE)
    return np.asarray(counts.round().clip(0, 2**bits - 1), np.uint16)


def _middle(
    counts: Counts, share: float, side: int, place: str, random: np.random.Generator
) -> tuple[float, float]:
    """Row and column of an object's middle: anywhere, or at the scene's hottest (coldest) part."""
    radius = np.sqrt(share * counts.size / np.pi)
    if place == "anywhere":
        y, x = (random.uniform(0.8 * radius, length - 0.8 * radius) for length in SHAPE)
        return y, x
    smooth = cv2.GaussianBlur(counts.astype(np.float32), (0, 0), 3)
    row, column = np.unravel_index(int((side * smooth).argmax()), SHAPE)
    return float(row), float(column + radius)


def _disc(share: float, middle: tuple[float, float]) -> Chosen:
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    distance = np.hypot(rows - middle[0], columns - middle[1])
    # As many pixels as stated, even if the frame cuts the disc.
    nearest = np.partition(distance.ravel(), round(share * distance.size))
    return np.asarray(distance <= nearest[round(share * distance.size)])


def _scattered(random: np.random.Generator) -> Chosen:
    return np.asarray(random.random(SHAPE) < 0.1)


def _border(random: np.random.Generator) -> Chosen:
    inner = np.zeros((SHAPE[0] - 6, SHAPE[1] - 8), bool)
    return np.pad(inner, ((3, 3), (4, 4)), constant_values=True)


def _rows(random: np.random.Generator) -> Chosen:
    chosen = np.zeros(SHAPE, bool)
    chosen[random.choice(SHAPE[0], SHAPE[0] // 10, replace=False)] = True
    return chosen


def _columns(random: np.random.Generator) -> Chosen:
    chosen = np.zeros(SHAPE, bool)
    chosen[:, random.choice(SHAPE[1], SHAPE[1] // 10, replace=False)] = True
    return chosen


def _strip(random: np.random.Generator) -> Chosen:
    return np.repeat(np.arange(SHAPE[0]) >= 0.9 * SHAPE[0], SHAPE[1]).reshape(SHAPE)


def _rotated(random: np.random.Generator) -> Chosen:
    height, width = SHAPE
    turn = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), 6, 1)
    return np.asarray(cv2.warpAffine(np.ones(SHAPE, np.uint8), turn, (width, height)) == 0)


PLACES: dict[str, Callable[[np.random.Generator], Chosen]] = {
    "scattered": _scattered,
    "border": _border,
    "rows": _rows,
    "columns": _columns,
    "strip": _strip,
    "rotated": _rotated,
}
VALUES: dict[str, Callable[[np.random.Generator, int], Any]] = {
    "zero": lambda random, count: 0,
    "highest": lambda random, count: 65_535,
    "noise": lambda random, count: random.integers(0, 65_536, count),
}

if __name__ == "__main__":
    main()
