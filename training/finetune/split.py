"""Which moments of a recording are kept out of training, apart in time from the others."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

PARTS = 4  # one of so many is held out
FEWEST = 4  # moments of which one can be spared
FRAMES_APART = 40  # of so many moments, one at each end of the held-out part is used for neither


@dataclass(frozen=True)
class Split:
    """Names of moments."""

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
    One of PARTS blocks of successive moments is held out; `shown` (N, K) says which classes each
    of `names`, which are in order, shows.

    It is the block that leaves most classes in the training, then shows most, then is the latest.
    """
    count = len(names)
    if count < FEWEST:
        return Split(tuple(names), ())
    ends = np.linspace(0, count, PARTS + 1).round().astype(int).tolist()
    apart = count // FRAMES_APART

    def rest(first: int, last: int) -> list[int]:
        return [*range(first - apart), *range(last + apart, count)]

    def worth(block: tuple[int, int]) -> tuple[int, int, int]:
        taught = int(shown[rest(*block)].any(0).sum())
        return taught, int(shown[slice(*block)].any(0).sum()), block[0]

    first, last = max(pairwise(ends), key=worth)
    kept = rest(first, last)
    return Split(tuple(names[i] for i in kept), tuple(names[first:last]))
