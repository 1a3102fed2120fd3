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
from pathlib import Path

import torch
from tqdm import tqdm

from segmif.classes import MFNET
from segmif.files import shown
from segmif.manifest import Manifest, sha256
from segmif.model.weights import load_network, open_network, save_network

from ..data import groups_seen
from ..data.groups_seen import GroupsSeen
from ..data.sources import data_root
from . import holdout
from .calibration_fit import apply, calibration_error, fit_calibration, labelled_logits

# what to do with weights of other classes
OTHERS = (
    "the groups of --fold are MFNet's; `segmif train --from` calibrates weights of your classes"
)
RARE = ("guardrail",)  # too few places to fit an offset to


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
        holdout.check_classes("MFNet", MFNET, network.config.taxonomy, OTHERS)
        check_alike(Path(path), args.weights)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for each in tqdm(frames, desc=f"group {number}", unit="pair"):
            found, truth = labelled_logits(network, each)
            logits.append(found)
            labels.append(truth)
        sources.append({"fold": int(number), "sha256": sha256(Path(path))})
    network = load_network(args.weights)
    holdout.check_classes("MFNet", MFNET, network.config.taxonomy, OTHERS)
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


def check_alike(fold: Path, weights: Path) -> None:
    """Raise ValueError if one is calibrated alone: the other's temperature would not fit it."""
    calibrated = {path: "calibration" in Manifest.read(path).training for path in (fold, weights)}
    if len(set(calibrated.values())) > 1:
        done = next(path for path, is_calibrated in calibrated.items() if is_calibrated)
        raise ValueError(
            f"of {shown(fold)} and {shown(weights)} only {shown(done)} is calibrated: name both as "
            "they were before"
        )
