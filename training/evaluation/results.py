"""What evaluation gave: a result per frame, means and sums over the frames of a set."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import TypeVar

import numpy as np

from segmif.classes import Taxonomy
from segmif.metrics import ConfusionMatrix, FusionMetrics

from ..data.datasets import Light
from .fusion_quality import Quality

NETWORK = "network"
BOTH, VISIBLE_BLACK, INFRARED_BLACK = "both sensors", "visible black", "infrared black"

DRIVE_GAP = 100  # in the numbers of frames; MFNet's drives of one light lie further apart

Means = TypeVar("Means", FusionMetrics, Quality)


@dataclass(frozen=True)
class People:
    """Groups of touching person pixels in one frame, and how many of them were found."""

    there: int
    found: int

    def __add__(self, other: "People") -> "People":
        return People(self.there + other.there, self.found + other.found)


@dataclass(frozen=True)
class FrameResult:
    """What one pair gave; empty if a thing was not measured."""

    name: str
    light: Light | None
    fusion: Mapping[str, FusionMetrics]  # by method: NETWORK and the baselines
    quality: Mapping[str, Quality]  # by method
    masks: Mapping[str, ConfusionMatrix]  # by what the network saw: BOTH, ...
    people: Mapping[str, People]  # by what the network saw


@dataclass(frozen=True)
class SetResult:
    """All frames of one set, in its order; `taxonomy` is None if no masks were evaluated."""

    name: str
    taxonomy: Taxonomy | None
    frames: tuple[FrameResult, ...]
    notes: tuple[str, ...] = ()  # what there is to mind in the set, and what was not evaluated

    def fusion(self, light: str = "all") -> dict[str, FusionMetrics]:
        """Mean metrics by method, of a light that the set has; empty if not evaluated."""
        return _means(frame.fusion for frame in self.by_light()[light])

    def quality(self) -> dict[str, Quality]:
        """Mean picture quality by method; NaN if no frame gives a value."""
        return _means(frame.quality for frame in self.frames)

    def masks(self, sensors: str = BOTH) -> dict[str, ConfusionMatrix]:
        """Confusion by light: all, and day and night if the set says so."""
        return self._masks(self.by_light(), sensors)

    def masks_by_drive(self) -> dict[str, ConfusionMatrix]:
        """Confusion by drive: what frames of one drive share, another may not."""
        return self._masks(self.by_drive(), BOTH)

    def people(self, sensors: str) -> dict[str, People]:
        """Persons there and found, by light."""
        return {
            light: sum((frame.people[sensors] for frame in frames), start=People(0, 0))
            for light, frames in self.by_light().items()
        }

    def sensors(self) -> tuple[str, ...]:
        """What the network was shown, BOTH first; empty if no masks were evaluated."""
        return tuple(self.frames[0].masks)

    def by_light(self) -> dict[str, list[FrameResult]]:
        """The frames under all, day, night; a light that no frame has is left out."""
        parts = {"all": list(self.frames)}
        for light in ("day", "night"):
            parts[light] = [frame for frame in self.frames if frame.light == light]
        return {light: frames for light, frames in parts.items() if frames}

    def by_drive(self) -> dict[str, list[FrameResult]]:
        """
        The frames under first-last of each drive, by their numbers: one ends where they jump
        by more than DRIVE_GAP or the light changes. Empty if a name has no number.
        """
        drives: list[list[FrameResult]] = []
        before: tuple[int, Light | None] | None = None
        for frame in self.frames:
            digits = re.search(r"\d+", frame.name)
            if digits is None:
                return {}
            here = (int(digits[0]), frame.light)
            if before is None or here[1] != before[1] or abs(here[0] - before[0]) > DRIVE_GAP:
                drives.append([])
            drives[-1].append(frame)
            before = here
        return {f"{frames[0].name}-{frames[-1].name}": frames for frames in drives}

    def _masks(
        self, parts: Mapping[str, list[FrameResult]], sensors: str
    ) -> dict[str, ConfusionMatrix]:
        if self.taxonomy is None:
            return {}
        empty = ConfusionMatrix.empty(len(self.taxonomy.names))
        return {
            part: sum((frame.masks[sensors] for frame in frames), start=empty)
            for part, frames in parts.items()
        }


def _means(rows: Iterable[Mapping[str, Means]]) -> dict[str, Means]:
    """Mean by method, over the frames; NaN stands for "unknown" and is left out of means."""
    by_method: dict[str, list[Means]] = {}
    for row in rows:
        for method, numbers in row.items():
            by_method.setdefault(method, []).append(numbers)
    return {method: _mean(numbers) for method, numbers in by_method.items()}


def _mean(rows: Sequence[Means]) -> Means:
    columns = zip(*(astuple(row) for row in rows), strict=True)
    return type(rows[0])(*map(_mean_of_known, columns))


def _mean_of_known(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan
