"""
The mean of a network that has learnt on and the one that it started from.

It forgets less, and often gains as much (Wortsman et al., Robust fine-tuning of zero-shot models,
CVPR 2022).
"""

from pathlib import Path

import torch
from torch import Tensor

from segmif.model.class_transfer import ClassTransfer
from segmif.model.network import Network


def tensors_at_start(
    network: Network, share: float, start: Path | None, transfer: ClassTransfer | None
) -> dict[str, Tensor]:
    """
    A copy of what the network begins with; empty if `share` is 0.

    Raises ValueError if there is nothing to keep: no weights, or a class that they do not know.
    """
    if not share:
        return {}
    if start is None:
        raise ValueError(f"start_share is {share}, and nothing is started from: give --weights")
    if transfer and transfer.anew:
        raise ValueError(
            f"start_share is {share}, and {start} does not know {', '.join(transfer.anew)}: leave "
            "start_share out"
        )
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def blend(network: Network, at_start: dict[str, Tensor], share: float) -> None:
    """Moves the network to `share` of `at_start` and the rest of its own; counters stay."""
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name in at_start and tensor.is_floating_point():
                tensor.lerp_(at_start[name].to(tensor.device), share)
