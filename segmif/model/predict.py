"""From a pair to a prediction by a network in torch; `segmif.runtime.predict` does it without."""

from collections.abc import Callable

import torch

from segmif.frames import FramePair, Prediction, fit, unfit
from segmif.model.network import Network


def predict_by(network: Network, tint: float | None = None) -> Callable[[FramePair], Prediction]:
    """
    A function from a pair of any size to its prediction, on the device of the network.

    `tint`: as `Network.forward` takes it, of every pair.
    """
    device = next(network.parameters()).device
    chosen = None if tint is None else torch.tensor([tint], dtype=torch.float32, device=device)

    def predict(pair: FramePair) -> Prediction:
        fitted = fit(pair)
        frames = (fitted.visible, fitted.infrared)
        with torch.inference_mode():
            given = (torch.from_numpy(frame).to(device)[None] for frame in frames)
            outputs = network(*given, chosen)
        prediction = Prediction(*(output[0].cpu().numpy() for output in outputs))
        return unfit(prediction, *pair.infrared.shape)

    return predict
