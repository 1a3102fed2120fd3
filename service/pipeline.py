"""The stages of a pair from bytes to a prediction, in order: decode, align, infer; each timed."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter, time_ns
from typing import Literal, Protocol, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif import images
from segmif.classes import Taxonomy
from segmif.frames import CONFIDENCE, FramePair, Prediction
from segmif.images import ImageError, Pixels
from segmif.refinement import Refinement, refine
from segmif.runtime import Runtime, predict
from segmif.runtime.errors import SizeError
from segmif.thermal import GainRule, Window
from service.condition import SENSORS, Condition, Memory, examine
from service.errors import BadPair, Degraded, EngineFailed, bad_frame, unfit
from service.mounting import Mounting, Placed
from service.raw_frames import Frame, raw_infrared, raw_visible
from service.schemas import Ask, Policy

ASPECT_TOLERANCE = 0.05  # two sensors' crops differ a little; beyond this, pixels cannot correspond

REFERENCE_LEVELS, REFERENCE_AGREEMENT = 2.0, 0.98
REFERENCE_CONFIDENCE = 5.0  # of 255, in the mean

First = TypeVar("First")
Second = TypeVar("Second")


class Both(Protocol):
    """Calls two functions, perhaps at the same time."""

    def __call__(
        self, first: Callable[[], First], second: Callable[[], Second], /
    ) -> tuple[First, Second]:
        """Give what both gave; raises what either raised."""


def in_turn(first: Callable[[], First], second: Callable[[], Second], /) -> tuple[First, Second]:
    """Call one function after the other."""
    return first(), second()


@dataclass(frozen=True)
class Decoded:
    """The frames of a pair as their cameras took them; None: the camera gave none."""

    visible: NDArray[np.uint8] | None  # (H, W, 3) RGB
    infrared: Pixels | None  # (h, w)


@dataclass(frozen=True)
class Prepared:
    """A pair ready for the network, and how it became so."""

    pair: FramePair
    visible_shape: tuple[int, int] | None  # (H, W) as it came; None: it did not
    infrared_shape: tuple[int, int] | None
    alignment: Literal["none", "resized", "rig"]
    window: Window | None  # None: infrared came with 8 bit
    placed: Placed | None  # by the rig
    condition: Condition
    refinement: Refinement | None = None  # None: nobody asked for one


@dataclass(frozen=True)
class Rules:
    """What the operator has laid down for decoding, judging and aligning."""

    max_pixels: int  # of either frame
    mounting: Mounting | None = None  # None: frames come aligned
    gain: GainRule = field(default_factory=GainRule)
    max_skew_ms: float = math.inf
    degraded: Policy = "flag"


@dataclass
class Times:
    """Milliseconds each stage took, in the order in which the stages ran."""

    ms: dict[str, float] = field(default_factory=dict)
    began_ns: dict[str, int] = field(default_factory=dict)  # of the clock on the wall
    batch: int = 1  # pairs that went through the network together

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Take the time of a `with` block as that of `stage`."""
        start, self.began_ns[stage] = perf_counter(), time_ns()
        yield
        self.ms[stage] = (perf_counter() - start) * 1000

    def note(self, stage: str, ms: float) -> None:
        """Take `ms` until now as the time of `stage`."""
        self.ms[stage] = ms
        self.began_ns[stage] = time_ns() - int(ms * 1e6)

    def worked_s(self) -> float:
        """Seconds of work, without the waits for the client and for the network."""
        return sum(ms for stage, ms in self.ms.items() if stage not in ("receive", "queue")) / 1000


def prepare(
    visible: Frame | None,
    infrared: Frame | None,
    rules: Rules,
    times: Times,
    ask: Ask = Ask(),  # noqa: B008  frozen
    both: Both = in_turn,
) -> Prepared:
    """Decode the frames of a lone moment into one aligned pair; raises as `decode`, `settle`."""
    return settle(decode(visible, infrared, rules.max_pixels, times, both), rules, times, ask)


def decode(
    visible: Frame | None,
    infrared: Frame | None,
    max_pixels: int,
    times: Times,
    both: Both = in_turn,
) -> Decoded:
    """Decode the frames there are; raises BadFrame, which names the one at fault."""
    files = all(frame and not frame.layout for frame in (visible, infrared))
    with times.measure("decode"):
        return Decoded(
            *(both if files else in_turn)(  # raw pixels are not worth another thread
                partial(_decoded, "visible", decode_visible, visible, max_pixels),
                partial(_decoded, "infrared", decode_infrared, infrared, max_pixels),
            )
        )


def _decoded(
    part: str, decoder: Callable[[Frame, int], First], frame: Frame | None, max_pixels: int
) -> First | None:
    try:
        return decoder(frame, max_pixels) if frame else None
    except ImageError as error:
        raise bad_frame(part, error) from error


def decode_visible(frame: Frame, max_pixels: int) -> NDArray[np.uint8]:
    """Colour (H, W, 3) RGB of a file or of raw pixels; raises ImageError."""
    if frame.layout:
        return raw_visible(frame, max_pixels)
    return images.decode_visible(bytes(frame.data), max_pixels)


def decode_infrared(frame: Frame, max_pixels: int) -> Pixels:
    """Heat (h, w) of a file or of raw pixels; raises ImageError."""
    if frame.layout:
        return raw_infrared(frame, max_pixels)
    return images.decode_infrared(bytes(frame.data), max_pixels)


def settle(
    decoded: Decoded,
    rules: Rules,
    times: Times,
    ask: Ask = Ask(),  # noqa: B008  frozen
    memory: Memory | None = None,
) -> Prepared:
    """
    Judge decoded frames and bring them into one view and 8 bit; raises BadPair or Degraded.

    A frame that shows nothing becomes black, which the networks have learned to do without.
    """
    with times.measure("align"):
        condition = examine(
            {"visible": decoded.visible, "infrared": decoded.infrared},
            (ask.visible_ns, ask.infrared_ns),
            rules.max_skew_ms,
            memory,
            ask.shutter,
        )
        require(condition, ask.degraded or rules.degraded)
        last = memory.window if memory else None
        prepared = bring_together(decoded, rules, ask.depth_m, last, condition)
        if memory and prepared.window and "infrared" in condition.sensors:
            memory.window = prepared.window
        if len(condition.sensors) < len(SENSORS):
            return replace(prepared, pair=without_the_blind(prepared.pair, condition))
        return refined(prepared) if ask.refine else prepared


def require(condition: Condition, policy: Policy) -> None:
    """Raise Degraded for a pair that the policy does not take."""
    flags = ", ".join(condition.flags)
    if not condition.sensors:
        raise Degraded(f"neither frame shows anything: {flags}")
    if flags and policy == "refuse":
        skew = f"; skew {condition.skew_ms:.1f} ms" if condition.skew_ms is not None else ""
        raise Degraded(f"the pair is not whole: {flags}{skew}; degraded=flag takes it, marked")


def bring_together(
    decoded: Decoded,
    rules: Rules,
    depth_m: float | None,
    last: Window | None,
    condition: Condition,
) -> Prepared:
    """Bring infrared to 8 bit and into the visible view; a missing frame is black."""
    visible, infrared = decoded.visible, decoded.infrared
    shapes = _shape(visible), _shape(infrared)
    if infrared is None:
        assert visible is not None  # `require` has seen to it
        pair = FramePair(visible, np.zeros(visible.shape[:2], np.uint8))
        return Prepared(pair, *shapes, "none", None, None, condition)
    levels, window = images.infrared_levels(infrared, rules.gain, last)
    if visible is None:
        size = rules.mounting.visible_shape if rules.mounting else levels.shape
        visible = np.zeros((*size, 3), np.uint8)
    if rules.mounting:
        aligned, placed = rules.mounting.place(visible, levels, depth_m)
        return Prepared(FramePair(visible, aligned), *shapes, "rig", window, placed, condition)
    check_proportions(visible, levels)
    height, width = visible.shape[:2]
    alignment: Literal["none", "resized"] = "none" if levels.shape == (height, width) else "resized"
    pair = FramePair(visible, images.resize(levels, height, width))
    return Prepared(pair, *shapes, alignment, window, None, condition)


def refined(prepared: Prepared) -> Prepared:
    """Mend what misalignment the pair itself shows, where that is sure."""
    visible, infrared = prepared.pair.visible, prepared.pair.infrared
    grey = np.asarray(cv2.cvtColor(visible, cv2.COLOR_RGB2GRAY), np.uint8)
    found = refine(grey, infrared)
    mended = found.apply(infrared) if found.sure else infrared
    return replace(prepared, pair=FramePair(visible, mended), refinement=found)


def check_proportions(visible: NDArray[np.uint8], infrared: NDArray[np.uint8]) -> None:
    """Raise BadPair for frames (H, W, 3) and (h, w) of too different proportions."""
    (height, width), (infrared_height, infrared_width) = visible.shape[:2], infrared.shape
    aspects = (width / height) / (infrared_width / infrared_height)
    if max(aspects, 1 / aspects) > 1 + ASPECT_TOLERANCE:
        raise BadPair(
            f"visible is {width}x{height}, infrared {infrared_width}x{infrared_height}: with sides "
            "in so different proportions they cannot be one pair; crop both to the same view"
        )


def without_the_blind(pair: FramePair, condition: Condition) -> FramePair:
    """Black out a frame that shows nothing: white, or a shutter, would only veil the other."""
    return FramePair(
        pair.visible if "visible" in condition.sensors else np.zeros_like(pair.visible),
        pair.infrared if "infrared" in condition.sensors else np.zeros_like(pair.infrared),
    )


def _shape(pixels: Pixels | None) -> tuple[int, int] | None:
    return None if pixels is None else (pixels.shape[0], pixels.shape[1])


def infer(runtime: Runtime, pair: FramePair, times: Times) -> Prediction:
    """Run the network on a pair; raises UnfitSize, or EngineFailed whatever the engine raises."""
    try:
        with times.measure("infer"):
            return predict(runtime, pair)
    except SizeError as error:
        raise unfit(pair.infrared.shape, error) from error
    except Exception as error:
        raise EngineFailed(f"the network gave no result: {error}") from error


def predict_all(runtime: Runtime, pair: FramePair) -> Prediction:
    """Run a network on a pair for all that it can give."""
    return predict(runtime, pair, confidence=CONFIDENCE in runtime.outputs)


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
    if prediction.confidence is not None and prediction.confidence.shape != size:
        raise EngineFailed(f"a pair of {size} gave a confidence of {prediction.confidence.shape}")


def compare(prediction: Prediction, reference: Prediction) -> None:
    """
    Raise EngineFailed unless a prediction comes close to that of the reference network.

    Half precision moves a level here and a border pixel there; what loses more loses the answer.
    """
    difference = np.abs(prediction.fused.astype(np.int16) - reference.fused).mean()
    agreement = float((prediction.labels == reference.labels).mean())
    if difference > REFERENCE_LEVELS or agreement < REFERENCE_AGREEMENT:
        raise EngineFailed(
            f"fused is off by {difference:.2f} levels in the mean and {agreement:.2%} of the mask "
            f"agree with the reference; {REFERENCE_LEVELS} and {REFERENCE_AGREEMENT:.0%} are asked"
        )
    if prediction.confidence is not None and reference.confidence is not None:
        off = np.abs(prediction.confidence.astype(np.int16) - reference.confidence).mean()
        if off > REFERENCE_CONFIDENCE:
            raise EngineFailed(
                f"confidence is off by {off:.1f} of 255 in the mean from the reference, "
                f"{REFERENCE_CONFIDENCE} are asked"
            )


def shares(labels: NDArray[np.uint8], classes: int) -> list[float]:
    """Share of the pixels that each class id covers."""
    # Ten times as fast as np.bincount, which makes eight bytes of each label first.
    counts = cv2.calcHist([labels], [0], None, [classes], [0, classes])
    return [float(share) for share in counts.ravel() / labels.size]


def mean_confidences(prediction: Prediction, classes: int) -> list[float | None]:
    """Mean confidence (0 to 1) in the pixels of each class id; None for what has none."""
    if prediction.confidence is None:
        return [None] * classes
    labels = prediction.labels.ravel()
    pixels = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, prediction.confidence.ravel(), minlength=classes)
    return [
        round(float(total) / (255 * count), 4) if count else None
        for total, count in zip(sums, pixels.tolist(), strict=True)
    ]
