"""
`python -m lab mean`: one network from several of the same kind, weight by weight.

The mean of networks that were trained on from the same weights is often better than any of them
and costs no more to run (Wortsman et al., Model soups, ICML 2022).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from segmif.argument_types import FloatRange
from segmif.model.network import Network
from segmif.model.weights import open_network, save_network
from training.data.groups_seen import GroupsSeen
from training.fit.initial_network import descent


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m lab mean`."""
    parser.add_argument("--weights", type=Path, nargs="+", required=True, help="of one variant")
    parser.add_argument(
        "--shares", type=FloatRange(0, 1), nargs="+", help="of each, sum 1 [the same]"
    )
    parser.add_argument("--out", type=Path, required=True, help=".safetensors to write")


def main(args: argparse.Namespace) -> int:
    """Writes the mean; its manifest has the last one's training and names all of them."""
    shares = args.shares or [1 / len(args.weights)] * len(args.weights)
    opened = [open_network(path) for path in args.weights]
    networks, manifests = zip(*opened, strict=True)
    network = mean(networks, shares)
    parts = [
        {"share": share, "sha256": manifest.sha256}
        for share, manifest in zip(shares, manifests, strict=True)
    ]
    facts: dict[str, Any] = manifests[-1].training | {"mean_of": parts}
    parents = [manifest.training for manifest in manifests]
    save_network(network, args.out, facts | descent([], parents, GroupsSeen()))
    return 0


def mean(networks: Sequence[Network], shares: Sequence[float]) -> Network:
    """
    The mean of networks, weighed by `shares`; it takes the place of the first.

    Raises ValueError for networks of unlike kind, or shares that are none.
    """
    if len(shares) != len(networks) or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"shares are {list(shares)}: {len(networks)} with the sum 1 expected")
    kinds = {(network.variant, network.config.taxonomy.name) for network in networks}
    if len(kinds) > 1:
        raise ValueError(f"there is no mean of {' and '.join(map(str, sorted(kinds)))}")
    states = [network.state_dict() for network in networks]
    first = networks[0]
    first.load_state_dict(
        {name: _mean([state[name] for state in states], shares) for name in states[0]}
    )
    return first


def _mean(tensors: Sequence[torch.Tensor], shares: Sequence[float]) -> torch.Tensor:
    weighed = [share * tensor.double() for share, tensor in zip(shares, tensors, strict=True)]
    return torch.stack(weighed).sum(dim=0).to(tensors[0].dtype)
