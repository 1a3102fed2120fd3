"""A frame pair and a prediction, and the frame sizes that a network takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MULTIPLE = 32  # the network's deepest stride: both sides of a frame must divide by it

# The tensors of a network and their bytes a pixel: uint8 (B, H, W, 3) or (B, H, W).
INPUTS = {"visible": 3, "infrared": 1}
OUTPUTS = {"fused": 3, "labels": 1, "confidence": 1}
CONFIDENCE = "confidence"  # older exports lack it

# A further input, float32 (B,): how strong the hue of each pair's fused frame is. 0: the visible
# colour alone, 1: the strongest. Older exports lack it; the hue of theirs is fixed.
TINT = "tint"
TINTS = (0.0, 1.0)
DEFAULT_TINT = 0.5  # docs/decisions/0027-tint.md
FIXED_HUE = "the hue of this network is fixed: export its weights again to choose a tint"


@dataclass(frozen=True)
class FramePair:
    """One pair, with infrared already in the visible view. Raises ValueError for other arrays."""

    visible: NDArray[np.uint8]  # (H, W, 3) RGB
    infrared: NDArray[np.uint8]  # (H, W) white hot

    def __post_init__(self) -> None:
        if self.visible.ndim != 3 or self.visible.shape[2] != 3 or self.visible.dtype != np.uint8:
            raise ValueError(
                f"visible must be (H, W, 3) uint8, got {self.visible.shape} {self.visible.dtype}"
            )
        if self.infrared.ndim != 2 or self.infrared.dtype != np.uint8:
            raise ValueError(
                f"infrared must be (H, W) uint8, got {self.infrared.shape} {self.infrared.dtype}"
            )
        if self.visible.shape[:2] != self.infrared.shape:
            raise ValueError(
                f"visible is {self.visible.shape[:2]}, infrared {self.infrared.shape}: "
                "align them first"
            )


@dataclass(frozen=True)
class Prediction:
    """The result of the network for a pair, in the pixels of the visible view."""

    fused: NDArray[np.uint8]  # (H, W, 3) RGB
    labels: NDArray[np.uint8]  # (H, W) class ids
    confidence: NDArray[np.uint8] | None = None  # (H, W) of the labels, 255: certain; if asked for


def fit(pair: FramePair) -> FramePair:
    """
    Pad a pair at the bottom and right to the next multiples of 32 with its edge pixels.
    """
    height, width = pair.infrared.shape
    bottom, right = -height % MULTIPLE, -width % MULTIPLE
    if not bottom and not right:
        return pair
    edges = ((0, bottom), (0, right))
    return FramePair(
        np.pad(pair.visible, (*edges, (0, 0)), mode="edge"),
        np.pad(pair.infrared, edges, mode="edge"),
    )


def unfit(prediction: Prediction, height: int, width: int) -> Prediction:
    """Crop a prediction to the height and width of the pair before `fit`."""
    confidence = prediction.confidence
    return Prediction(
        prediction.fused[:height, :width],
        prediction.labels[:height, :width],
        None if confidence is None else confidence[:height, :width],
    )


def requested_outputs(outputs: Sequence[str], confidence: bool) -> list[str]:
    """The outputs of a network to fetch; ValueError for a confidence that it does not have."""
    if confidence and CONFIDENCE not in outputs:
        raise ValueError(
            "this network has no output for confidence: export its weights again "
            "(segmif export onnx)"
        )
    return [name for name in outputs if confidence or name != CONFIDENCE]


def check_batch(visible: NDArray[np.uint8], infrared: NDArray[np.uint8]) -> None:
    """Raise ValueError unless both are a batch for a network: (B, H, W, 3) and (B, H, W)."""
    fits = visible.ndim == 4 and visible.shape == (*infrared.shape, 3)
    if not fits or infrared.shape[1] % MULTIPLE or infrared.shape[2] % MULTIPLE:
        raise ValueError(
            f"visible {visible.shape} and infrared {infrared.shape}: expected (B, H, W, 3) and "
            f"(B, H, W) with H and W multiples of {MULTIPLE}; frames.fit makes them so"
        )


def tints(given: NDArray[np.float32] | None, default: float | None, batch: int) -> NDArray[Any]:
    """
    The input `tint` (B,) of a network; `default` if none is given.

    A network without the input has no default. Raises ValueError for values that a network does not
    take.
    """
    if default is None:
        raise ValueError(FIXED_HUE)
    values = np.full(batch, default, np.float32) if given is None else np.asarray(given)
    in_range = values.shape == (batch,) and np.all((values >= TINTS[0]) & (values <= TINTS[1]))
    if not in_range:
        raise ValueError(
            f"tint {values.shape} is {np.array2string(values, threshold=8)}: expected "
            f"{batch} values from {TINTS[0]:g} to {TINTS[1]:g}, one for each pair"
        )
    return values.astype(np.float32)
