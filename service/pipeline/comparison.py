"""Where a candidate network differs from the one in service, on the same pairs."""

import heapq
import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from segmif.frames import Prediction

LARGEST = 10  # pairs that are named
NOTABLE = 0.01  # share of the pixels: a pair that differs in fewer is not named


@dataclass(frozen=True)
class Difference:
    """Where two networks differ on one pair."""

    pixels: NDArray[np.int64]  # (K, K) by class in service (row) and of the candidate (column)
    fused_levels: float  # mean difference of the fused frames, of 255

    @property
    def share(self) -> float:
        """Share of the pixels whose class differs, 0 to 1."""
        return differing_share(self.pixels)


@dataclass(frozen=True, order=True)
class NotedPair:
    """A pair on which the networks differ much."""

    share: float
    at_s: float  # of the system's clock, since 1970
    request_id: str


@dataclass
class Durations:
    """Milliseconds that a network took."""

    total: float = 0.0
    worst: float = 0.0
    count: int = 0

    def add(self, ms: float) -> None:
        """Note those of one pair."""
        self.total, self.worst, self.count = self.total + ms, max(self.worst, ms), self.count + 1

    @property
    def mean(self) -> float | None:
        """Their mean; None without any."""
        return self.total / self.count if self.count else None


@dataclass
class Comparison:
    """The differences of many pairs."""

    classes: int
    pairs: int = 0
    fused_levels: float = 0.0  # sum over the pairs of their mean differences
    serving_ms: Durations = field(default_factory=Durations)
    candidate_ms: Durations = field(default_factory=Durations)
    largest: list[NotedPair] = field(default_factory=list)  # a heap

    def __post_init__(self) -> None:
        self.pixels = np.zeros((self.classes, self.classes), np.int64)

    def add(self, difference: Difference, request_id: str) -> bool:
        """Add a pair; gives whether it is now among those with the largest difference."""
        self.pairs += 1
        self.pixels += difference.pixels
        self.fused_levels += difference.fused_levels
        noted = NotedPair(difference.share, time.time(), request_id)
        if noted.share < NOTABLE:
            return False
        if len(self.largest) < LARGEST:
            heapq.heappush(self.largest, noted)
            return True
        return heapq.heappushpop(self.largest, noted) is not noted


def difference_of(serving: Prediction, candidate: Prediction, classes: int) -> Difference:
    """Compare two predictions for one pair, whose class ids are below `classes`."""
    both = serving.labels.astype(np.uint16) * classes + candidate.labels
    counts = np.bincount(both.ravel(), minlength=classes**2)
    levels = np.abs(serving.fused.astype(np.int16) - candidate.fused)
    return Difference(
        counts.reshape(classes, classes).astype(np.int64), float(levels.mean(dtype=np.float64))
    )


def differing_share(pixels: NDArray[np.int64]) -> float:
    """Share of the counted pixels (K, K) that lie off the diagonal; 0 without any."""
    total = int(pixels.sum())
    return 1 - float(np.trace(pixels)) / total if total else 0.0
