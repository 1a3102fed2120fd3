"""
A larger network teaches a smaller one: its image, its mask, and where it looks.

The teacher is any weights file of ours with the student's classes (`paper` for `edge`, `edge` for
`nano`); it never changes and needs no labels, so unlabelled pairs teach the mask too. Several
teach the mean of their masks, which knows more than any of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from segmif.model.network import Network


@dataclass(frozen=True, kw_only=True)
class DistillWeights:
    """How much each lesson counts."""

    image: float = 10.0  # mean distance of the fused lumas, [0, 1]
    mask: float = 1.0  # KL divergence of the classes, in nats, mean of the pixels
    attention: float = 1.0  # squared distance of the attention maps
    temperature: float = 2.0  # softens both masks, so that near misses teach too (Hinton et al.)


@dataclass(frozen=True)
class Outputs:
    """What a network says of a batch, and where it looks."""

    fused: Tensor  # (B, H, W) in [0, 1]
    logits: Tensor  # (B, K, H/4, W/4)
    attention: Tensor  # (B, h, w), norm 1 over each image

    def in_full(self) -> "Outputs":
        """The same in float32."""
        return Outputs(self.fused.float(), self.logits.float(), self.attention.float())


def watch(network: Network, visible: Tensor, infrared: Tensor) -> Outputs:
    """Runs a network on visible (B, H, W, 3) and infrared (B, H, W), both in [0, 1]."""
    seen: list[Tensor] = []
    hook = network.get_submodule(_semantics(network)).register_forward_hook(
        lambda _module, _inputs, features: seen.append(features)
    )
    try:
        fused, logits = network.predict(visible, infrared)
    finally:
        hook.remove()  # or every later pass would be remembered
    return Outputs(fused, logits, attention_map(seen[0]))


def lesson(teachers: Sequence[Network], visible: Tensor, infrared: Tensor) -> Outputs:
    """What the first teacher says, but for its logits: those of the mean mask of all teachers."""
    said = [watch(teacher, visible, infrared) for teacher in teachers]
    masks = torch.stack([outputs.logits.log_softmax(dim=1) for outputs in said])
    return replace(said[0], logits=masks.logsumexp(dim=0) - math.log(len(said)))


def _semantics(network: Network) -> str:
    """The name of the module whose features know the most."""
    parts = ("core.pyramid", "core.head.mix", "core.segmenter.pyramid")  # of pairs, paper, tutors
    names = {name for name, _ in network.named_modules()}
    return next(part for part in parts if part in names)


def attention_map(features: Tensor) -> Tensor:
    """Energy of (B, C, h, w) over the channels, norm 1 (Zagoruyko & Komodakis, ICLR 2017)."""
    energy = features.square().mean(dim=1)
    return functional.normalize(energy.flatten(1)).view_as(energy)


def distance(student: Outputs, teacher: Outputs, weights: DistillWeights) -> Tensor:
    """How far the student is from its teacher."""
    image = functional.l1_loss(student.fused, teacher.fused)
    soft = [outputs.logits / weights.temperature for outputs in (student, teacher)]
    divergence = functional.kl_div(
        soft[0].log_softmax(dim=1), soft[1].log_softmax(dim=1), reduction="none", log_target=True
    )
    # gradients of softened classes shrink with the square of the temperature
    mask = divergence.sum(dim=1).mean() * weights.temperature**2
    height, width = student.attention.shape[-2:]
    looks = functional.adaptive_avg_pool2d(teacher.attention, (height, width))
    looks = functional.normalize(looks.flatten(1)).view_as(looks)
    attention = (student.attention - looks).square()
    return (
        weights.image * image
        + weights.mask * mask
        + weights.attention * attention.sum(dim=(1, 2)).mean()
    )
