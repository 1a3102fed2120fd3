"""From a pair to a prediction by a network in torch; `segmif.runtime.predict` does it without."""

from collections.abc import Callable

import torch

from segmif.frames import FramePair, Prediction, fit, unfit
from segmif.model.network import Network


def predict_by(network: Network) -> Callable[[FramePair], Prediction]:
    """A function from a pair of any size to its prediction, on the device of the network."""
    device = next(network.parameters()).device

    def predict(pair: FramePair) -> Prediction:
        fitted = fit(pair)
        frames = (fitted.visible, fitted.infrared)
        with torch.inference_mode():
            outputs = network(*(torch.from_numpy(frame).to(device)[None] for frame in frames))
        prediction = Prediction(*(output[0].cpu().numpy() for output in outputs))
        return unfit(prediction, *pair.infrared.shape)

    return predict
