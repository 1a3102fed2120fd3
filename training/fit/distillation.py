"""
A larger network teaches a smaller one: its image, its mask, and where it looks.

The teacher is any weights file of ours (`paper` for `edge`, `edge` for `nano`); it never changes
and needs no labels, so unlabelled pairs teach the mask too. Several teach the mean of their masks,
which knows more than any of them. A teacher of other classes teaches the mask of those that both
know by the same name.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from segmif.classes import BACKGROUNDS, Taxonomy
from segmif.model.network import Network


@dataclass(frozen=True, kw_only=True)
class DistillWeights:
    """How much each lesson counts."""

    image: float = 10.0  # mean distance of the fused lumas, [0, 1]
    mask: float = 1.0  # KL divergence of the classes, in nats, mean of the pixels
    attention: float = 1.0  # squared distance of the attention maps
    temperature: float = 2.0  # softens both masks, so that near misses teach too (Hinton et al.)


@dataclass(frozen=True)
class SharedClasses:
    """The ids of the classes of the same name, of the student and of the teacher."""

    ours: tuple[int, ...]
    theirs: tuple[int, ...]


@dataclass(frozen=True)
class Outputs:
    """What a network says of a batch, and where it looks."""

    fused: Tensor  # (B, H, W) in [0, 1]
    logits: Tensor  # (B, K, H/4, W/4)
    attention: Tensor  # (B, h, w), norm 1 over each image

    def in_full(self) -> "Outputs":
        """The same in float32."""
        return Outputs(self.fused.float(), self.logits.float(), self.attention.float())


def network_outputs(network: Network, visible: Tensor, infrared: Tensor) -> Outputs:
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


def teacher_outputs(teachers: Sequence[Network], visible: Tensor, infrared: Tensor) -> Outputs:
    """What the first teacher says, but for its logits: those of the mean mask of all teachers."""
    said = [network_outputs(teacher, visible, infrared) for teacher in teachers]
    masks = torch.stack([outputs.logits.log_softmax(dim=1) for outputs in said])
    return replace(said[0], logits=masks.logsumexp(dim=0) - math.log(len(said)))


def _semantics(network: Network) -> str:
    """The name of the module whose features know the most."""
    parts = ("core.pyramid", "core.head.mix")  # of pairs, of `paper`
    names = {name for name, _ in network.named_modules()}
    return next(part for part in parts if part in names)


def attention_map(features: Tensor) -> Tensor:
    """Energy of (B, C, h, w) over the channels, norm 1 (Zagoruyko & Komodakis, ICLR 2017)."""
    energy = features.square().mean(dim=1)
    return functional.normalize(energy.flatten(1)).view_as(energy)


def shared_classes(student: Taxonomy, teacher: Taxonomy) -> SharedClasses | None:
    """
    The classes that both know by the same name; None if all are the same, ids too.

    A background is what is none of the others, so that it is another one beside other classes.
    """
    if student == teacher:
        return None
    both = [name for name in student.names if name in teacher.names]
    names = [name for name in both if name.lower() not in BACKGROUNDS]
    return SharedClasses(
        tuple(map(student.names.index, names)), tuple(map(teacher.names.index, names))
    )


def distance(
    student: Outputs,
    teacher: Outputs,
    weights: DistillWeights,
    shared: SharedClasses | None = None,
) -> Tensor:
    """How far the student is from its teacher, whose classes it shares as `shared` says."""
    image = functional.l1_loss(student.fused, teacher.fused)
    ours, theirs = (
        (each.logits / weights.temperature).log_softmax(dim=1) for each in (student, teacher)
    )
    if shared:
        ours, theirs = _coarser(ours, theirs, shared)
    divergence = functional.kl_div(ours, theirs, reduction="none", log_target=True)
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


def _coarser(student: Tensor, teacher: Tensor, shared: SharedClasses) -> tuple[Tensor, Tensor]:
    """
    Log probabilities (B, K, H, W) of the shared classes alone, and of the pixel being none of them
    if both know of such.
    """
    pairs = []
    for log_shares, ids in ((student, shared.ours), (teacher, shared.theirs)):
        others = [id_ for id_ in range(log_shares.shape[1]) if id_ not in ids]
        pairs.append((log_shares[:, list(ids)], log_shares[:, others]))
    if not all(others.shape[1] for _, others in pairs):
        return pairs[0][0], pairs[1][0]
    first, second = (
        torch.cat((chosen, others.logsumexp(dim=1, keepdim=True)), dim=1)
        for chosen, others in pairs
    )
    return first, second
