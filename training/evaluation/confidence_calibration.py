"""
`segmif training calibrate`: a temperature and an offset for each class, into the weights.

Rare classes are drawn too large, and the mask is too sure of itself. Both are mended by what the
last layer says of frames that its training left out: logits are divided by a temperature, which
makes the confidence true, then each class gets an offset, which makes IoU large.
Both become part of the last layer: the graph does not grow.

Each `--fold N WEIGHTS` names a group and weights that were trained without it; their logits are
taken together. `--weights` are those to change: trained on all groups, or one of the folds.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from segmif.classes import IGNORE, MFNET
from segmif.frames import FramePair, Prediction, fit
from segmif.manifest import Manifest, sha256
from segmif.model.network import Network
from segmif.model.weights import load_network, open_network, save_network

from ..data import groups_seen
from ..data.datasets import LabelledPair
from ..data.groups_seen import GroupsSeen
from ..data.sources import data_root
from . import holdout
from .robustness import Calibration

UNFIT = ("paper",)  # whose mask is not of one layer `core.mask.classify`
STRIDE = 4  # of logits
RARE = ("guardrail",)  # too few places to fit an offset to
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `segmif training calibrate`."""
    add = parser.add_argument
    add(
        "--fold",
        nargs=2,
        action="append",
        metavar=("N", "WEIGHTS"),
        required=True,
        help="group 1 to 4, and weights that were trained without it",
    )
    add("--weights", type=Path, required=True, help="to change")
    add("--out", type=Path, required=True, help=".safetensors to write")
    add("--data", type=Path, default=data_root(), help="folder that the sets lie in")


def main(args: argparse.Namespace) -> int:
    """Fits, prints what it found, writes the weights."""
    logits, labels, sources = [], [], []
    seen = GroupsSeen()
    for number, path in args.fold:
        if not number.isdecimal():
            raise ValueError(f"--fold is {number!r}: the number of a group is expected")
        frames = [frame for _, frame in holdout.frames_of_fold(args.data, int(number))]
        network, without = open_network(Path(path))
        holdout.check_left_out(without, int(number), Path(path))
        seen |= groups_seen.of_record(without.training) | GroupsSeen((int(number),))
        holdout.check_classes("MFNet", MFNET, network.config.taxonomy)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for each in tqdm(frames, desc=f"group {number}", unit="pair"):
            found, truth = labelled_logits(network, each)
            logits.append(found)
            labels.append(truth)
        sources.append({"fold": int(number), "sha256": sha256(Path(path))})
    network = load_network(args.weights)
    holdout.check_classes("MFNet", MFNET, network.config.taxonomy)
    names = network.config.taxonomy.names
    rare = [id_ for id_, name in enumerate(names) if name in RARE]
    given, truth = torch.cat(logits, dim=1), torch.cat(labels)
    calibration = fit_calibration(given, truth, rare)
    apply(network, calibration)
    errors = {
        "before": calibration_error(given, truth),
        "after": calibration_error(calibration.applied(given), truth),
    }
    facts = {
        "temperature": calibration.temperature,
        "offsets": list(calibration.offsets),
        "expected_calibration_error": errors,
        "fitted_on": sources,
    }
    training = Manifest.read(args.weights).training
    seen |= groups_seen.of_record(training)
    save_network(network, args.out, training | {"calibration": facts} | seen.entry())
    offsets = ", ".join(
        f"{name} {value:+.2f}" for name, value in zip(names, calibration.offsets, strict=True)
    )
    print(f"temperature {calibration.temperature:.3f}; offsets: {offsets}")
    print(
        f"expected calibration error of objects: {errors['before']:.4f} before, "
        f"{errors['after']:.4f} after"
    )
    return 0


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
