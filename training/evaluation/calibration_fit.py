"""
A temperature and an offset for each class: fitted to labelled logits, put into the last layer.

The logits are of frames that the training of the network left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segmif.classes import IGNORE
from segmif.frames import FramePair, Prediction, fit
from segmif.model.network import Network

from ..data.datasets import LabelledPair
from .robustness import Calibration

UNFIT = ("paper",)  # whose mask is not of one layer `core.mask.classify`
STRIDE = 4  # of logits
STEPS = (1.0, 0.5, 0.25)  # by which offsets are tried, one class after the other
WORTH = 5e-4  # mean IoU that a change must win: less is noise
UNSURE = 0.98  # probability of the unlabelled class below which a pixel may be an object
SURE = 12.0  # a lead of the unlabelled class, in logits, that no offset changes


@dataclass(frozen=True)
class CalibrationFit:
    """What the last layer gains."""

    temperature: float
    offsets: tuple[float, ...]  # by class, after the division

    def applied(self, logits: Tensor) -> Tensor:
        """The logits (K, N) as the changed layer gives them."""
        return logits / self.temperature + torch.tensor(self.offsets).view(-1, 1)


def labelled_logits(network: Network, frame: LabelledPair) -> tuple[Tensor, Tensor]:
    """Logits (K, N) and labels (N,) of the labelled pixels of a frame, one in 16."""
    fitted = fit(FramePair(frame.visible, frame.infrared))
    visible, infrared = (torch.from_numpy(x)[None] / 255 for x in (fitted.visible, fitted.infrared))
    with torch.inference_mode():
        _, logits = network.predict(visible, infrared)
    middle = STRIDE // 2
    truth = torch.from_numpy(frame.labels[middle::STRIDE, middle::STRIDE].copy())
    known = truth != IGNORE
    rows, columns = truth.shape  # without those of the padding
    return logits[0, :, :rows, :columns][:, known].clone(), truth[known].long()


def calibration_error(logits: Tensor, labels: Tensor) -> float:
    """The expected calibration error of logits (K, N), as `segmif evaluate` measures it."""
    probabilities, chosen = logits.softmax(dim=0).max(dim=0)
    found = Prediction(
        np.empty((0, 3), np.uint8),
        chosen.to(torch.uint8).numpy(),
        (255 * probabilities).round().to(torch.uint8).numpy(),
    )
    return Calibration.empty().add(found, labels.to(torch.uint8).numpy()).error


def fit_calibration(logits: Tensor, labels: Tensor, rare: Sequence[int] = ()) -> CalibrationFit:
    """
    Temperature by likelihood, then offsets by IoU; logits (K, N), labels (N,).

    The classes `rare` get no offset, nor do they count.
    """
    temperature = fit_temperature(logits, labels)
    scaled = logits / temperature
    # what is surely unlabelled stays so whatever the offsets: counted once
    sure = (labels == 0) & (scaled[0] - scaled[1:].amax(dim=0) > SURE)
    scores, truth = scaled[:, ~sure].T.contiguous().numpy(), labels[~sure].numpy()
    return CalibrationFit(temperature, _offsets(scores, truth, int(sure.sum()), rare))


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """
    The temperature of the highest likelihood of logits (K, N) and labels (N,).

    Only pixels count that may be objects by the logits; 1 if there are none.
    """
    # chosen without truth: else all that was missed would count, and little that was not
    objects = logits.softmax(dim=0)[0] < UNSURE
    if not objects.any():
        return 1.0
    chosen, truth = logits[:, objects].T, labels[objects]
    candidates = np.exp(np.linspace(np.log(0.5), np.log(4), 41)).tolist()
    losses = [float(nn.functional.cross_entropy(chosen / t, truth)) for t in candidates]
    return float(candidates[int(np.argmin(losses))])


def _offsets(
    scores: NDArray[np.float32], truth: NDArray[np.int64], surely_none: int, rare: Sequence[int]
) -> tuple[float, ...]:
    classes = scores.shape[1]
    ids = [id_ for id_ in range(1, classes) if id_ not in rare]
    offsets = np.zeros(classes, np.float32)
    best = _mean_iou(scores, truth, surely_none, rare)
    for step in STEPS:
        for change in _changes(ids, classes, step):
            tried = _mean_iou(scores + (offsets + change), truth, surely_none, rare)
            if tried > best + WORTH:
                best, offsets = tried, offsets + change
    return tuple(float(value) for value in offsets)


def _changes(ids: Sequence[int], classes: int, step: float) -> Iterator[NDArray[np.float32]]:
    """One class up or down by a step, each class several times."""
    for id_ in (*ids, *ids):
        for sign in (step, -step):
            change = np.zeros(classes, np.float32)
            change[id_] = sign
            yield change


def _mean_iou(
    scores: NDArray[np.float32], truth: NDArray[np.int64], surely_none: int, rare: Sequence[int]
) -> float:
    """Over all classes but the rare."""
    classes = scores.shape[1]
    counts = np.bincount(truth * classes + scores.argmax(axis=1), minlength=classes**2)
    table = counts.reshape(classes, classes)
    table[0, 0] += surely_none
    hit = np.diagonal(table)
    iou = hit / np.maximum(table.sum(0) + table.sum(1) - hit, 1)
    return float(np.delete(iou, list(rare)).mean())


def apply(network: Network, calibration: CalibrationFit) -> None:
    """
    Puts a fit into the last layer of a network's mask.

    ValueError for `paper`, whose mask has another last layer.
    """
    if network.variant in UNFIT:
        raise ValueError(f"{network.variant} cannot be calibrated: its mask has no one last layer")
    classify = network.get_submodule("core.mask.classify")
    assert isinstance(classify, nn.Conv2d) and classify.bias is not None
    with torch.no_grad():
        classify.weight.div_(calibration.temperature)
        classify.bias.div_(calibration.temperature).add_(torch.tensor(calibration.offsets))
