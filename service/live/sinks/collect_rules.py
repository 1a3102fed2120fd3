"""Which pairs are worth labelling, and which look like one that is kept already."""

import random
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segmif.imaging.codecs import resize
from segmif.imaging.luma import luma

from ..live_result import LiveResult

Small = NDArray[np.uint8]
Reason = Literal["flag", "unsure", "flicker", "unknown", "random", "differs"]

UNSURE = 128  # confidence below it: another class is about as likely
UNSURE_SHARE = 0.1  # of the pixels
FLICKER_SHARE = 0.5  # of the pixels that show an object in either of two masks
FLICKER_NS = 500_000_000  # two masks further apart are of two scenes
SMALL = (12, 16)  # height, width by which pairs are compared
ALIKE = 4.0  # levels of 255: mean difference of two such, below it they show the same
REMEMBERED = 512  # kept pairs that a new one is compared with


@dataclass
class Reasons:
    """Finds why a pair should be kept; remembers the mask before."""

    random_share: float
    seed: int = 0
    _before: LiveResult | None = None

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def of(
        self, result: LiveResult, is_due: Callable[[Reason], bool] = lambda reason: True
    ) -> list[Reason]:
        """The reasons to keep a pair, of those that are due: pixels are compared for no others."""
        if result.difference:  # seen before, and come again for that alone
            return ["differs"] if is_due("differs") else []
        before, self._before = self._before, result
        chosen = self._random.random() < self.random_share
        found: dict[Reason, Callable[[], bool]] = {
            "flag": lambda: bool(result.result.prepared.condition.flags),
            "unsure": lambda: _is_unsure(result),
            "flicker": lambda: before is not None and _flickers(before, result),
            "unknown": lambda: _has_unknown(result),
            "random": lambda: chosen,
        }
        return [reason for reason, holds in found.items() if is_due(reason) and holds()]


def _is_unsure(result: LiveResult) -> bool:
    confidence = result.result.prediction.confidence
    return confidence is not None and bool((confidence < UNSURE).mean() > UNSURE_SHARE)


def _has_unknown(result: LiveResult) -> bool:
    objects = result.result.objects  # None, or without a list, unless the rig looks for them
    return objects is not None and bool(objects.unknown)


def _flickers(before: LiveResult, now: LiveResult) -> bool:
    masks = [each.result.prediction.labels for each in (before, now)]
    if masks[0].shape != masks[1].shape or now.stamp_ns - before.stamp_ns > FLICKER_NS:
        return False
    background = now.taxonomy.background
    objects = (masks[0] != background) | (masks[1] != background)
    changed = masks[0] != masks[1]
    return bool(changed.sum() > FLICKER_SHARE * max(objects.sum(), masks[0].size // 1000))


def small(result: LiveResult) -> Small:
    """What a pair looks like: levels (2, 12, 16) uint8 of its luma and its infrared."""
    pair = result.result.prepared.pair
    return np.stack([resize(frame, *SMALL) for frame in (luma(pair.visible), pair.infrared)])


def as_text(seen: Small) -> str:
    """Base64 of `small`, for a report."""
    return b64encode(seen.tobytes()).decode()


def from_text(text: object) -> Small | None:
    """`small` from a report; None if it holds none."""
    try:
        held = b64decode(text, validate=True) if isinstance(text, str) else b""
    except ValueError:
        return None
    levels = np.frombuffer(held, np.uint8)
    return levels.reshape(2, *SMALL) if levels.size == 2 * SMALL[0] * SMALL[1] else None


@dataclass
class Seen:
    """What the newest kept pairs look like."""

    _small: deque[NDArray[np.float32]] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    def is_new(self, seen: Small) -> bool:
        """Whether a pair looks like none of the kept ones."""
        held = self._small
        return not held or not (np.abs(np.stack(held) - seen).mean((1, 2, 3)) < ALIKE).any()

    def add(self, seen: Small) -> None:
        """Remember a kept pair."""
        self._small.append(seen.astype(np.float32))
