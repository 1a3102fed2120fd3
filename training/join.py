"""
`python -m training join`: what a tutor knows becomes the second encoder of `edge`.

The mask is then the mean of both logits; nothing else changes, the fused frame least of all. The
result may be trained on (`train --weights`) or exported as it is.
"""

import argparse
from pathlib import Path

import torch

from segmif.manifest import Manifest, sha256
from segmif.model.network import Network
from segmif.model.pair import PairNetwork
from segmif.model.weights import load_network, save_network
from training.espnet import SegmenterAlone, load_teacher


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m training join`."""
    weights = Path("weights/edge.safetensors")
    parser.add_argument("--weights", type=Path, default=weights, help="of edge")
    parser.add_argument(
        "--tutor", type=Path, default=Path("runs/tutor/tutor.safetensors"), help="as `tutor` wrote"
    )
    parser.add_argument("--out", type=Path, required=True, help=".safetensors to write")


def main(args: argparse.Namespace) -> int:
    """Writes the network; its manifest names the tutor beside its own training."""
    network = load_network(args.weights)
    tutor = load_teacher(args.tutor, torch.device("cpu"))
    join(network, tutor)
    facts = Manifest.read(args.weights).training
    taught = {"sha256": sha256(args.tutor), "training": Manifest.read(args.tutor).training}
    save_network(network, args.out, facts | {"tutor": taught})
    return 0


def join(network: Network, tutor: Network) -> None:
    """
    Puts the tutor's weights into the network's second encoder.

    Raises ValueError where one is no tutor, the other has no such encoder, or classes differ.
    """
    if not isinstance(tutor.core, SegmenterAlone):
        raise ValueError(f"{tutor.variant} is no tutor: `python -m training tutor` makes one")
    if not isinstance(network.core, PairNetwork) or network.core.streets is None:
        raise ValueError(f"{network.variant} has no second encoder; edge has")
    if tutor.config.taxonomy != network.config.taxonomy:
        raise ValueError(
            f"the tutor knows the classes {tutor.config.taxonomy.name}, the network those of "
            f"{network.config.taxonomy.name}"
        )
    network.core.streets.load_state_dict(tutor.core.segmenter.state_dict())
