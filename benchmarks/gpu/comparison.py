"""The speed of a runtime, and its deviation from float64 beside that of torch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.gpu.report import Row
from benchmarks.gpu.timing import host_milliseconds
from export.tolerance import Bytes, Deviation, Reference
from segmif.frames import CONFIDENCE, FramePair, Prediction

if TYPE_CHECKING:
    from benchmarks.gpu.setting import Setting
    from segmif.runtime import Runtime

SHOWN = ("fused_differs", "fused_mean", "psnr_db", "labels_differ")  # of a Deviation

Answer = Callable[[Bytes, Bytes], Sequence[Bytes]]  # frames (B, H, W, 3), (B, H, W) to outputs
Compare = Callable[[Answer, int], Row]


@dataclass(frozen=True)
class Tolerance:
    """A pair, its exact prediction, and the deviation of plain torch from that."""

    reference: Reference  # of that pair alone
    plain: Deviation  # of torch in the precision of what is compared

    def row(self, answer: Answer, batch: int, *, engine: bool = False) -> Row:
        """The deviation of the answers in a batch of that size, by the rules of `export verify`."""
        try:
            found = self.reference.deviation("found", at_the_end(answer, batch))
        except Exception as error:
            return {"right": False, "why": f"{type(error).__name__}: {error}"}
        beyond_rounding = found.exceeds(self.plain)
        faults = found.noticeable() if engine else beyond_rounding
        row = shown(found) | {"plain_torch": shown(self.plain), "right": not faults}
        if engine:
            row["within_rounding"] = not beyond_rounding
        return row | ({"why": faults} if faults else {})


def shown(deviation: Deviation) -> Row:
    """The columns of a row."""
    return {name: getattr(deviation, name) for name in SHOWN}


def comparison(tolerance: Callable[[], Tolerance], *, engine: bool = False) -> Compare:
    """Compares answers. If there is no tolerance, each row has the reason: times count without."""
    try:
        return partial(tolerance().row, engine=engine)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        return lambda answer, batch: {"not_compared": reason}


def served(
    setting: "Setting",
    runtime: "Runtime",
    compare: Compare,
    facts: Row,
) -> Iterator[Row]:
    """Times of whole pairs through a runtime, and whether its answers are right."""
    answer = partial(runtime.run, confidence=CONFIDENCE in runtime.outputs)
    for batch in setting.batches:
        times = host_milliseconds(partial(runtime.run, *setting.frames(batch)), setting.runs)
        yield facts | {"batch": batch, "host_ms": times} | compare(answer, batch)


def at_the_end(answer: Answer, batch: int) -> Callable[[FramePair], Prediction]:
    """A predictor that puts the pair last in a batch, after pairs upside down."""

    def predict(pair: FramePair) -> Prediction:
        both = (pair.visible, pair.infrared)
        frames = (np.stack([each[::-1]] * (batch - 1) + [each]) for each in both)
        return Prediction(*(output[-1] for output in answer(*frames)))

    return predict
