"""What a fine-tuned network gained and forgot: before and after, on the same frames."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from segmif.classes import Taxonomy
from segmif.frames import FramePair, Prediction
from segmif.metrics import ConfusionMatrix

from ..data.class_views import ids_by_name
from ..data.datasets import FrameSet

WIDTH = 9  # characters of a column
MEAN = "mean of these"


@dataclass(frozen=True)
class Contender:
    """A network to compare: what it makes of a pair, and its classes."""

    predict: Callable[[FramePair], Prediction]
    classes: Taxonomy


@dataclass(frozen=True)
class Comparison:
    """Two networks on the same labelled frames."""

    frames: str  # which, in words
    classes: Taxonomy  # of the labels
    compared: tuple[str, ...]  # the classes that count here
    known: frozenset[str]  # those that the network had before
    before: ConfusionMatrix
    after: ConfusionMatrix
    fused_difference: float  # mean, of the fused frames of both [levels of 255]

    def mean(self, matrix: ConfusionMatrix) -> float:
        """Mean IoU of the compared classes that the labels show; NaN if they show none."""
        found = [matrix.iou[self.classes.names.index(name)] for name in self.shown]
        return float(np.mean(found)) if found else math.nan

    @property
    def shown(self) -> tuple[str, ...]:
        """The compared classes that the labels show; the same for both networks."""
        labelled = self.before.counts.sum(1)
        return tuple(n for n in self.compared if labelled[self.classes.names.index(n)])

    def as_text(self) -> str:
        """A table for people."""
        width = max(map(len, (*self.compared, MEAN)))
        rows = [f"{self.frames}, intersection over union"]
        rows.append(f"  {'':{width}}{'before':>{WIDTH}}{'after':>{WIDTH}}")
        for name in self.compared:
            id_ = self.classes.names.index(name)
            cells = [_number(self.before.iou[id_]), _number(self.after.iou[id_])]
            if name not in self.known:
                cells[0] = "new"
            if name not in self.shown:
                cells = ["no label"] * 2
            rows.append(f"  {name:{width}}{cells[0]:>{WIDTH}}{cells[1]:>{WIDTH}}")
        means = [_number(self.mean(matrix)) for matrix in (self.before, self.after)]
        rows.append(f"  {MEAN:{width}}{means[0]:>{WIDTH}}{means[1]:>{WIDTH}}")
        return "\n".join(rows)

    def as_json(self) -> dict[str, Any]:
        """The same for programs; what is unknown is null."""
        names = self.classes.names
        numbers = {
            when: {
                "mean_iou": _or_none(self.mean(matrix)),
                "iou": {name: _or_none(matrix.iou[names.index(name)]) for name in self.shown},
            }
            for when, matrix in (("before", self.before), ("after", self.after))
        }
        return {"frames": self.frames, **numbers, "picture_levels": self.fused_difference}


def compare(
    before: Contender,
    after: Contender,
    frames: FrameSet,
    what: str,
    only: Sequence[str] | None = None,
) -> Comparison:
    """
    Both networks on labelled frames; their classes count by equal names, others as background.

    `what`: the frames in words. `only`: the classes to compare, all of the labels by default.
    """
    classes = frames.taxonomy
    assert classes is not None
    networks = before, after
    tables = [ids_by_name(network.classes, classes) for network in networks]
    matrices = [ConfusionMatrix.empty(len(classes.names)) for _ in networks]
    differences = []
    for index in tqdm(range(len(frames.names)), desc=f"comparing on {frames.name}", unit="pair"):
        frame = frames.read(index)
        found = [each.predict(FramePair(frame.visible, frame.infrared)) for each in networks]
        matrices = [
            matrix.add(table[each.labels], frame.labels)
            for matrix, table, each in zip(matrices, tables, found, strict=True)
        ]
        levels = [each.fused.astype(np.int16) for each in found]
        differences.append(float(np.abs(levels[0] - levels[1]).mean()))
    background = classes.names[classes.background]
    return Comparison(
        f"{what}: {len(frames.names)} pairs of {frames.name}",
        classes,
        tuple(classes.names if only is None else only),
        frozenset((*before.classes.names, background)),
        matrices[0],
        matrices[1],
        float(np.mean(differences)),
    )


def _number(value: float) -> str:
    return "absent" if math.isnan(value) else f"{value:.3f}"


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
