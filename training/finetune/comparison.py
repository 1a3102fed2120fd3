"""What a network gained and forgot by training: before and after, on the same frames."""

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
    """Two networks on the same labelled frames; one alone that began from nothing."""

    frames: str  # which, in words
    classes: Taxonomy  # of the labels
    compared: tuple[str, ...]  # the classes that count here
    known: frozenset[str]  # those that the network had before
    before: ConfusionMatrix | None  # None: there was none
    after: ConfusionMatrix
    fused_difference: float | None  # mean, of the fused frames of both [levels of 255]

    def mean(self, matrix: ConfusionMatrix) -> float:
        """Mean IoU of the compared classes that the labels show; NaN if they show none."""
        found = [matrix.iou[self.classes.names.index(name)] for name in self.shown]
        return float(np.mean(found)) if found else math.nan

    @property
    def shown(self) -> tuple[str, ...]:
        """The compared classes that the labels show; the same for both networks."""
        labelled = self.after.counts.sum(axis=1)  # pixels by class of the labels
        return tuple(name for name in self.compared if labelled[self.classes.names.index(name)])

    @property
    def matrices(self) -> dict[str, ConfusionMatrix]:
        """Of each network by when it is: `before`, if there was one, and `after`."""
        both = {"before": self.before, "after": self.after}
        return {when: matrix for when, matrix in both.items() if matrix}

    def as_text(self) -> str:
        """A table for people."""
        width = max(map(len, (*self.compared, MEAN)))
        table = [("", list(self.matrices))]
        table += [(name, self._cells(name)) for name in self.compared]
        table += [(MEAN, [_number(self.mean(matrix)) for matrix in self.matrices.values()])]
        lines = [f"{self.frames}, intersection over union"]
        for name, cells in table:
            columns = "".join(f"{cell:>{WIDTH}}" for cell in cells)
            lines.append(f"  {name:{width}}{columns}")
        return "\n".join(lines)

    def _cells(self, name: str) -> list[str]:
        """What the table says of a class."""
        if name not in self.shown:
            return ["no label"] * len(self.matrices)
        id_ = self.classes.names.index(name)
        return [
            "new" if when == "before" and name not in self.known else _number(matrix.iou[id_])
            for when, matrix in self.matrices.items()
        ]

    def as_json(self) -> dict[str, Any]:
        """The same for programs; what is unknown is null."""
        names = self.classes.names
        numbers = {
            when: {
                "mean_iou": _or_none(self.mean(matrix)),
                "iou": {name: _or_none(matrix.iou[names.index(name)]) for name in self.shown},
            }
            for when, matrix in self.matrices.items()
        }
        return {"frames": self.frames, **numbers, "picture_levels": self.fused_difference}


def compare(
    before: Contender | None,
    after: Contender,
    frames: FrameSet,
    what: str,
    only: Sequence[str] | None = None,
) -> Comparison:
    """
    Both networks, or `after` alone, on labelled frames.

    Their classes count by equal names, others as background.

    `what`: the frames in words. `only`: the classes to compare, all of the labels by default.
    """
    classes = frames.taxonomy
    assert classes is not None
    networks = (before, after) if before else (after,)
    # The id of the labels for each id of a network.
    id_tables = [ids_by_name(network.classes, classes) for network in networks]
    matrices = [ConfusionMatrix.empty(len(classes.names)) for _ in networks]
    differences = []
    for index in tqdm(range(len(frames.names)), desc=f"comparing on {frames.name}", unit="pair"):
        frame = frames.read(index)
        pair = FramePair(frame.visible, frame.infrared)
        predictions = [network.predict(pair) for network in networks]
        matrices = [
            matrix.add(id_table[prediction.labels], frame.labels)
            for matrix, id_table, prediction in zip(matrices, id_tables, predictions, strict=True)
        ]
        levels = [prediction.fused.astype(np.int16) for prediction in predictions]  # signed
        differences.append(float(np.abs(levels[0] - levels[-1]).mean()))
    background = classes.names[classes.background]
    return Comparison(
        f"{what}: {len(frames.names)} pairs of {frames.name}",
        classes,
        tuple(classes.names if only is None else only),
        frozenset((*networks[0].classes.names, background)),
        matrices[0] if before else None,
        matrices[-1],
        float(np.mean(differences)) if before else None,
    )


def _number(value: float) -> str:
    return "absent" if math.isnan(value) else f"{value:.3f}"


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
