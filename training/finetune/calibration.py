"""
Confidence after a fine-tuning: a temperature from the pairs that were held out of it.

A network is surer on other frames than it is right, after it learnt from a few. One number from
frames that it did not learn from mends part of that (Guo et al., ICML 2017). It changes no label.
"""

from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from segmif.model.network import Network
from segmif.model.weights import open_network, save_network

from ..data.datasets import FrameSet
from ..evaluation.calibration_fit import (
    CalibrationFit,
    apply,
    calibration_error,
    fit_temperature,
    labelled_logits,
)


def calibrate(weights: Path, held_out: FrameSet) -> str:
    """Divides the logits of a weights file by the temperature of labelled frames; says how."""
    network, manifest = open_network(weights)
    logits, labels = _labelled_pixels(network, held_out)
    found = CalibrationFit(fit_temperature(logits, labels), (0.0,) * len(logits))
    errors = {
        "before": calibration_error(logits, labels),
        "after": calibration_error(found.applied(logits), labels),
    }
    apply(network, found)
    facts = {
        "temperature": found.temperature,
        "expected_calibration_error": errors,
        "fitted_on": list(held_out.names),
    }
    save_network(network, weights, manifest.training | {"calibration": facts})
    return (
        f"confidence: its expected error on objects of {len(held_out.names)} held-out pairs is "
        f"{errors['after']:.3f}, {errors['before']:.3f} before their temperature of "
        f"{found.temperature:.2f}, which was fitted on these pairs"
    )


def _labelled_pixels(network: Network, frames: FrameSet) -> tuple[Tensor, Tensor]:
    """Logits (K, N) and labels (N,) of labelled pixels; the background's id becomes 0."""
    found = [
        labelled_logits(network, frames.read(index))
        for index in tqdm(range(len(frames.names)), desc="confidence", unit="pair")
    ]
    logits, labels = torch.cat([each for each, _ in found], dim=1), torch.cat([y for _, y in found])
    background = network.config.taxonomy.background
    order = [background, *(id_ for id_ in range(len(logits)) if id_ != background)]
    return logits[order], torch.tensor(order).argsort()[labels]
