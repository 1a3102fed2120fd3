"""What torch makes of a pair, in float64 and in one precision: the tolerance of the others."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.comparison import Answer, Tolerance, at_the_end
from benchmarks.gpu.setting import Setting
from export.tolerance import Bytes, Frame, Reference
from segmif.frames import FramePair
from segmif.imaging import codecs
from segmif.model.precision import to_half

SAMPLE = Path(__file__).parents[2] / "service/web/samples/day"


def tolerance(setting: Setting, variant: str, precision: str) -> Tolerance:
    """The repository's sample pair through the network in float64, and in `precision`."""
    network = setting.network(variant)
    frames = (
        codecs.read_visible(SAMPLE / "visible.png"),
        codecs.read_infrared(SAMPLE / "infrared.png"),
    )
    pair = FramePair(*(_middle(frame, setting.height, setting.width) for frame in frames))
    exact = at_the_end(of_torch(copy.deepcopy(network).double(), setting.device), 1)
    reference = Reference([Frame(pair, None)], [exact(pair)], len(network.config.taxonomy.names))
    plain = to_half(network).to(setting.device) if precision == "fp16" else network
    deviation = reference.deviation("plain torch", at_the_end(of_torch(plain, setting.device), 1))
    if setting.device == "cuda":
        torch.cuda.empty_cache()  # what is compared takes memory of its own
    return Tolerance(reference, deviation)


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
