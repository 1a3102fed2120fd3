"""The statistics of normalisation as the frames of a rig have them."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from segmif.model.network import Network

PICTURE = "fusion"  # the part of a network that makes the picture alone
# Frames that the old statistics count as: N of "Improving robustness against common corruptions by
# covariate shift adaptation" (Schneider et al., NeurIPS 2020).
PRIOR = 64  # with 16 the check refused what it made in both groups left out (docs/results.md)


def adapted_norms(network: Network) -> list[nn.BatchNorm2d]:
    """The norms that a mask depends on."""
    parts = (part for name, part in network.core.named_children() if name != PICTURE)
    return [each for part in parts for each in part.modules() if isinstance(each, nn.BatchNorm2d)]


def adapt_statistics(network: Network, pairs: Iterable[tuple[Tensor, Tensor]]) -> int:
    """
    Blend the statistics of the norms with those of `pairs`; gives the number of pairs.

    Pairs are visible (1, H, W, 3) and infrared (1, H, W) in [0, 1]. The more there are, the less
    the old statistics count.
    """
    norms = adapted_norms(network)
    old = [(statistics_of(norm), norm.num_batches_tracked, norm.momentum) for norm in norms]
    network.eval()
    for norm in norms:
        norm.num_batches_tracked = torch.zeros((), dtype=torch.long)
        norm.momentum = None  # all pairs count equally
        norm.train()
    count = 0
    with torch.no_grad():
        for visible, infrared in pairs:
            network.predict(visible, infrared)
            count += 1
        share = count / (count + PRIOR)
        for norm, (before, tracked, momentum) in zip(norms, old, strict=True):
            for now, then in zip(statistics_of(norm, copy=False), before, strict=True):
                now.copy_(then.lerp(now, share))
            norm.num_batches_tracked, norm.momentum = tracked, momentum
    network.eval()
    return count


def statistics_of(norm: nn.BatchNorm2d, *, copy: bool = True) -> tuple[Tensor, Tensor]:
    """Running mean and variance of a norm."""
    assert norm.running_mean is not None and norm.running_var is not None
    found = norm.running_mean, norm.running_var
    return (found[0].clone(), found[1].clone()) if copy else found
