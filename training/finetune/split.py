"""Which pairs of a recording are held out of training, apart in time from the others."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

BLOCKS = 4  # of successive pairs, one of which is held out
FEWEST = 4  # pairs of which one can be spared
# Neighbours in time look alike. So for each 40 pairs, one at either end of the held-out block is
# used for neither.
PAIRS_PER_GAP = 40


@dataclass(frozen=True)
class Split:
    """Names of pairs."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]  # successive ones; none if there are too few


def in_order(names: Sequence[str]) -> list[str]:
    """Names in the order of the numbers in them: 9 before 10."""
    return sorted(
        names,
        key=lambda name: [
            (0, int(part), "") if part.isdecimal() else (1, 0, part)
            for part in re.split(r"(\d+)", name)
        ],
    )


def split(names: Sequence[str], shown: NDArray[np.bool_]) -> Split:
    """
    One of `BLOCKS` blocks of successive pairs is held out, if there are enough pairs.

    It is the block that leaves most classes in the training, then shows most, then is the latest.
    `names` (N) are in order. `shown` (N, K) says which of K classes each pair shows.
    """
    count = len(names)
    if count < FEWEST:
        return Split(tuple(names), ())
    ends = np.linspace(0, count, BLOCKS + 1).round().astype(int).tolist()
    gap = count // PAIRS_PER_GAP

    def rest(first: int, last: int) -> list[int]:
        return [*range(first - gap), *range(last + gap, count)]

    def worth(block: tuple[int, int]) -> tuple[int, int, int]:
        taught = int(shown[rest(*block)].any(0).sum())
        return taught, int(shown[slice(*block)].any(0).sum()), block[0]

    first, last = max(pairwise(ends), key=worth)
    kept = rest(first, last)
    return Split(tuple(names[i] for i in kept), tuple(names[first:last]))
