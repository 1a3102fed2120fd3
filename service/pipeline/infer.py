"""The network runs on a pair; what it gives is checked, and compared with a reference."""

import numpy as np

from segmif.classes import Taxonomy
from segmif.frames import CONFIDENCE, FramePair, Prediction
from segmif.runtime import Runtime, predict

from ..errors import EngineFailed, network_error
from .stage_times import StageTimes

REFERENCE_LEVELS, REFERENCE_AGREEMENT = 2.0, 0.98
REFERENCE_CONFIDENCE = 5.0  # of 255, in the mean


def infer(
    runtime: Runtime,
    pair: FramePair,
    times: StageTimes,
    tint: float | None = None,
    *,
    confidence: bool = False,
) -> Prediction:
    """
    Run the network on a pair; gives the confidence if it is asked for and there is one.

    Raises UnfitSize, OutOfMemory, or EngineFailed for all else.
    """
    try:
        with times.measure("infer"):
            confidence = confidence and CONFIDENCE in runtime.outputs
            return predict(runtime, pair, confidence=confidence, tint=tint)
    except Exception as error:
        said = f"the network gave no result: {error}"
        raise network_error(error, pair.infrared.shape, said) from error


def predict_all(runtime: Runtime, pair: FramePair) -> Prediction:
    """Run a network on a pair for all of its outputs."""
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

    Half precision changes single levels and border pixels; more means a wrong network.
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
