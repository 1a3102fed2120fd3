"""
`python -m lab join`: what a tutor knows becomes the second encoder of `edge`.

The mask is then a weighted mean of both logits; nothing else changes, the fused frame least of all.
The result may be trained on (`train --weights`) or exported as it is.

Without infrared most people of a night cannot be seen, and a network that knows that names few
people by day either: its probabilities are right, but IoU wants a class named from a probability
well below a half if it is hard to see. `--without-infrared person=1.5` adds that to its logit.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch

from segmif.model.edge import PairNetwork
from segmif.model.network import Network
from segmif.model.weights import open_network, save_network
from training.fit.espnet_teacher import SegmenterAlone, open_teacher
from training.fit.initial_network import descent


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m lab join`."""
    weights = Path("weights/edge.safetensors")
    parser.add_argument("--weights", type=Path, default=weights, help="of edge")
    parser.add_argument(
        "--tutor", type=Path, default=Path("runs/tutor/tutor.safetensors"), help="as `tutor` wrote"
    )
    parser.add_argument(
        "--without-infrared",
        type=gain,
        nargs="+",
        default=[],
        metavar="CLASS=LOGITS",
        help="what a class gains if the infrared frame is black",
    )
    parser.add_argument("--out", type=Path, required=True, help=".safetensors to write")


def gain(text: str) -> tuple[str, float]:
    """A class and what its logit gains, of CLASS=LOGITS."""
    name, _, logits = text.partition("=")
    try:
        return name, float(logits)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r}: a class and its gain are meant, such as person=1.5"
        ) from None


def main(args: argparse.Namespace) -> int:
    """Writes the network; its manifest names the tutor beside its own training."""
    network, manifest = open_network(args.weights)
    tutor, taught_by = open_teacher(args.tutor, torch.device("cpu"))
    shifts = dict(args.without_infrared)
    join(network, tutor, shifts)
    taught = {"sha256": taught_by.sha256, "training": taught_by.training}
    facts = manifest.training | {"tutor": taught, "without_infrared": shifts}
    save_network(network, args.out, facts | descent([], [manifest.training, taught_by.training]))
    return 0


def join(network: Network, tutor: Network, without_infrared: Mapping[str, float]) -> None:
    """
    Puts the tutor's weights into the network's second encoder.

    `without_infrared`: what the logits of named classes gain if the infrared frame is black.
    Raises ValueError if one is no tutor, the other has no such encoder, or classes differ.
    """
    if not isinstance(tutor.core, SegmenterAlone):
        raise ValueError(f"{tutor.variant} is no tutor: `python -m lab tutor` makes one")
    if not isinstance(network.core, PairNetwork) or network.core.streets is None:
        raise ValueError(f"{network.variant} has no second encoder; edge has")
    if tutor.config.taxonomy != network.config.taxonomy:
        raise ValueError(
            f"the tutor knows the classes {tutor.config.taxonomy.name}, the network those of "
            f"{network.config.taxonomy.name}"
        )
    classes = network.config.taxonomy.names
    if strange := without_infrared.keys() - set(classes):
        raise ValueError(f"no class {min(strange)!r}; there are {', '.join(classes)}")
    network.core.streets.load_state_dict(tutor.core.segmenter.state_dict())
    network.core.without_infrared.copy_(
        torch.tensor([without_infrared.get(name, 0.0) for name in classes])
    )
