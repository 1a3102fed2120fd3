"""The stages of a pair from bytes to a prediction, in order: decode, align, infer; each timed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segmif import images
from segmif.classes import Taxonomy
from segmif.frames import FramePair, Prediction
from segmif.images import ImageError, Pixels
from segmif.runtime import Runtime, predict
from segmif.thermal import Window
from service.errors import BadPair, EngineFailed, bad_frame
from service.mounting import Mounting, Placed

ASPECT_TOLERANCE = 0.05  # two sensors' crops differ a little; beyond this, pixels cannot correspond


@dataclass(frozen=True)
class Prepared:
    """A pair ready for the network, and how it became so."""

    pair: FramePair
    infrared_shape: tuple[int, int]  # (H, W) as it came
    alignment: Literal["none", "resized", "rig"]
    window: Window | None  # None: infrared came with 8 bit
    placed: Placed | None = None  # by the rig


@dataclass(frozen=True)
class Rules:
    """What the operator has laid down for decoding and aligning."""

    max_pixels: int  # of either frame
    mounting: Mounting | None = None  # None: frames come aligned


@dataclass
class Times:
    """Milliseconds each stage took, in the order in which the stages ran."""

    ms: dict[str, float] = field(default_factory=dict)
    batch: int = 1  # pairs that went through the network together

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Take the time of a `with` block as that of `stage`."""
        start = perf_counter()
        yield
        self.ms[stage] = (perf_counter() - start) * 1000

    def worked_s(self) -> float:
        """Seconds of work, without the wait for the network."""
        return sum(ms for stage, ms in self.ms.items() if stage != "queue") / 1000


def prepare(
    visible: bytes, infrared: bytes, rules: Rules, times: Times, depth_m: float | None = None
) -> Prepared:
    """
    Decode two encoded frames into one aligned pair; raises BadFrame or BadPair.

    `depth_m` is that of the plane a rig aligns; None: as the operator chose.
    """
    return settle(*decode(visible, infrared, rules.max_pixels, times), rules, times, depth_m)


def decode(
    visible: bytes, infrared: bytes, max_pixels: int, times: Times
) -> tuple[NDArray[np.uint8], Pixels]:
    """Decode both frames; raises BadFrame, which names the one at fault."""
    part = "visible"
    try:
        with times.measure("decode"):
            visible_pixels = images.decode_visible(visible, max_pixels)
            part = "infrared"
            return visible_pixels, images.decode_infrared(infrared, max_pixels)
    except ImageError as error:
        raise bad_frame(part, error) from error


def settle(
    visible: NDArray[np.uint8],
    infrared: Pixels,
    rules: Rules,
    times: Times,
    depth_m: float | None = None,
) -> Prepared:
    """Bring decoded frames into one view and 8 bit; raises BadPair."""
    with times.measure("align"):
        if rules.mounting:
            return place(visible, infrared, rules.mounting, depth_m)
        return align(visible, infrared)


def align(visible: NDArray[np.uint8], infrared: Pixels) -> Prepared:
    """Bring infrared to 8 bit and to the visible size; raises BadPair for other proportions."""
    height, width = visible.shape[:2]
    infrared_height, infrared_width = infrared.shape
    aspects = (width / height) / (infrared_width / infrared_height)
    if max(aspects, 1 / aspects) > 1 + ASPECT_TOLERANCE:
        raise BadPair(
            f"visible is {width}x{height}, infrared {infrared_width}x{infrared_height}: with sides "
            "in so different proportions they cannot be one pair; crop both to the same view"
        )
    levels, window = images.infrared_levels(infrared)
    same = infrared.shape == (height, width)
    pair = FramePair(visible, images.resize(levels, height, width))
    shape = (infrared_height, infrared_width)
    return Prepared(pair, shape, "none" if same else "resized", window)


def place(
    visible: NDArray[np.uint8], infrared: Pixels, mounting: Mounting, depth_m: float | None
) -> Prepared:
    """Bring infrared to 8 bit and, by the rig, into the visible view; raises BadPair."""
    levels, window = images.infrared_levels(infrared)
    aligned, placed = mounting.place(visible, levels, depth_m)
    shape = (infrared.shape[0], infrared.shape[1])
    return Prepared(FramePair(visible, aligned), shape, "rig", window, placed)


def infer(runtime: Runtime, pair: FramePair, times: Times) -> Prediction:
    """Run the network on a pair; raises EngineFailed whatever the engine raises."""
    try:
        with times.measure("infer"):
            return predict(runtime, pair)
    except Exception as error:
        raise EngineFailed(f"the network gave no result: {error}") from error


def check(prediction: Prediction, pair: FramePair, taxonomy: Taxonomy) -> None:
    """Raise EngineFailed unless a prediction is one that a healthy network could give."""
    size = pair.infrared.shape
    if prediction.fused.shape != (*size, 3) or prediction.labels.shape != size:
        raise EngineFailed(f"a pair of {size} gave {prediction.fused.shape} pixels")
    if prediction.fused.min() == prediction.fused.max():
        raise EngineFailed("the fused frame has one brightness only")
    highest = int(prediction.labels.max())
    if highest >= len(taxonomy.names):
        raise EngineFailed(f"the mask holds id {highest}, {taxonomy.name} ends before it")


def shares(labels: NDArray[np.uint8], classes: int) -> list[float]:
    """Share of the pixels that each class id covers."""
    counts = np.bincount(labels.ravel(), minlength=classes)
    return [float(share) for share in counts[:classes] / labels.size]
