"""Whether what a network runs on answers rightly: how far it strays from float64, beside torch."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gpu_setting import Check, Row
from numpy.typing import NDArray

from segmif.frames import FramePair, Prediction
from segmif.model.network import Network
from segmif.model.precision import to_half

if TYPE_CHECKING:
    from export.verify import Strays

SAMPLE = Path(__file__).parents[1] / "service/web/samples/day"
SHOWN = ("fused_differs", "fused_mean", "labels_differ")  # of Strays

Bytes = NDArray[np.uint8]
Answer = Callable[[Bytes, Bytes], Sequence[Bytes]]  # frames (B, H, W, 3), (B, H, W) to outputs


def comparison(check: Check, variant: str, precision: str) -> Callable[[Answer, int], Row]:
    """What compares answers with torch; where it cannot, it says why, for times count without."""
    try:
        return Comparison(check, check.network(variant), precision).row
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        return lambda answer, batch: {"not_compared": reason}


class Comparison:
    """The repository's sample pair, and what torch makes of it exactly and in one precision."""

    def __init__(self, check: Check, network: Network, precision: str) -> None:
        """Asks the network, in FP32 and on the device, in float64 and `precision`."""
        from export.verify import Frame, Trial
        from segmif import images

        frames = (
            images.read_visible(SAMPLE / "visible.png"),
            images.read_infrared(SAMPLE / "infrared.png"),
        )
        pair = FramePair(*(_middle(frame, check.height, check.width) for frame in frames))
        exact = _at_the_end(of_torch(copy.deepcopy(network).double(), check.device), 1)
        classes = len(network.config.taxonomy.names)
        self._trial = Trial([Frame(pair, None)], [exact(pair)], classes)
        plain = to_half(network).to(check.device) if precision == "fp16" else network
        self._plain = self._strays("plain torch", of_torch(plain, check.device), 1)
        if check.device == "cuda":
            torch.cuda.empty_cache()  # an engine takes memory of its own

    def row(self, answer: Answer, batch: int) -> Row:
        """How far the answers in a batch of that size stray, by the rule of `export verify`."""
        try:
            found = self._strays("found", answer, batch)
        except Exception as error:
            return {"right": False, "why": f"{type(error).__name__}: {error}"}
        faults = found.exceeds(self._plain)
        row = {name: getattr(found, name) for name in SHOWN}
        row["plain_torch"] = {name: getattr(self._plain, name) for name in SHOWN}
        return row | {"right": not faults} | ({"why": faults} if faults else {})

    def _strays(self, name: str, answer: Answer, batch: int) -> "Strays":
        return self._trial.strays(name, _at_the_end(answer, batch))


def of_torch(network: Callable[..., Any], device: str) -> Answer:
    """The answers of a network that is on the device."""

    def answer(*frames: Bytes) -> Sequence[Bytes]:
        with torch.no_grad():
            given = (torch.from_numpy(np.ascontiguousarray(each)).to(device) for each in frames)
            return [output.cpu().numpy() for output in network(*given)]

    return answer


def _middle(frame: Bytes, height: int, width: int) -> Bytes:
    top, left = (frame.shape[0] - height) // 2, (frame.shape[1] - width) // 2
    return frame[top : top + height, left : left + width]


def _at_the_end(answer: Answer, batch: int) -> Callable[[FramePair], Prediction]:
    """Answers a pair as the last of a batch, whose other pairs are upside down."""

    def predict(pair: FramePair) -> Prediction:
        both = (pair.visible, pair.infrared)
        frames = (np.stack([each[::-1]] * (batch - 1) + [each]) for each in both)
        return Prediction(*(output[-1] for output in answer(*frames)))

    return predict
