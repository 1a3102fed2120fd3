"""One step of training: a batch to losses, losses to another network."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from segmif.model.color import luma
from segmif.model.network import Network
from segmif.model.pair_network import PairNetwork

from ..data.samples import BatchConfig
from . import distillation, losses
from .distillation import DistillWeights
from .losses import FusionLossConfig
from .task_balance import Balancing, task_balance

CLIP_NORM = 5.0  # of the gradients
WEIGHT_DECAY = 0.02
ENCODER_RATE = 0.1  # of the learning rate: for an encoder that comes pretrained


@dataclass(frozen=True, kw_only=True)
class StepConfig(BatchConfig, FusionLossConfig):
    """The losses of a step."""

    fuse_every: int = 3  # steps: fusion is learnt much sooner than the mask
    balance: Balancing = "dynamic"  # between fusion and segmentation
    distill: DistillWeights = field(default_factory=DistillWeights)  # if there is a teacher


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How fast what learns."""

    learning_rate: float = 1.5e-3  # at its peak
    warmup: int = 200  # steps


class Moved(nn.Module):
    """A network and the weights of its tasks: what the optimiser moves."""

    def __init__(self, network: Network, config: StepConfig) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self.balance = task_balance(config.balance)


class Learner(Moved):
    """What learns from frames."""

    def forward(
        self,
        visible: Tensor,
        infrared: Tensor,
        labels: Tensor,
        offsets: Tensor | None = None,
        *,
        teachers: Sequence[Network],
        step: int,
    ) -> dict[str, Tensor]:
        """
        The losses of a batch: `total` and what it is made of; fusion only if the step learns it.

        Takes bytes, visible (B, H, W, 3), infrared and labels (B, H, W), which no mixed precision
        cuts, and the teachers, who see the same batch. Whatever the network computes in, its losses
        are in full precision: half knows no variance of a window.
        """
        visible, infrared = visible / 255, infrared / 255
        with torch.no_grad():
            lesson = distillation.teacher_outputs(teachers, visible, infrared) if teachers else None
        shared = self._shared_with(teachers)
        if (
            lesson is None
            and step % self.config.fuse_every
            and isinstance(self.network.core, PairNetwork)
        ):
            seen, found = self._mask_alone(visible, infrared)
        else:
            seen, found = distillation.network_outputs(self.network, visible, infrared), None
        with torch.autocast(visible.device.type, enabled=False):
            parts = self._losses(visible, infrared, labels, seen, lesson, shared, step)
            if offsets is not None and found is not None:
                both = (visible.amax((1, 2, 3)) > 0) & (infrared.amax((1, 2)) > 0)
                parts["align"] = losses.offset_distance(found.float(), offsets, both)
                parts["total"] = parts["total"] + self.config.align * parts["align"]
        return parts

    def _shared_with(self, teachers: Sequence[Network]) -> distillation.SharedClasses | None:
        if not teachers:
            return None
        ours, theirs = (each.config.taxonomy for each in (self.network, teachers[0]))
        return distillation.shared_classes(ours, theirs)

    def _mask_alone(
        self, visible: Tensor, infrared: Tensor
    ) -> tuple[distillation.Outputs, Tensor | None]:
        """What the losses of a step without fusion and teachers look at: the logits, the offset."""
        core = cast(PairNetwork, self.network.core)
        logits, found = core.segment_and_align(visible.permute(0, 3, 1, 2), infrared.unsqueeze(1))
        return distillation.Outputs(infrared, logits, infrared), found

    def _losses(
        self,
        visible: Tensor,
        infrared: Tensor,
        labels: Tensor,
        seen: distillation.Outputs,
        lesson: distillation.Outputs | None,
        shared: distillation.SharedClasses | None,
        step: int,
    ) -> dict[str, Tensor]:
        config, seen = self.config, seen.in_full()
        mask = losses.segmentation(seen.logits, labels)
        fusion = None
        if step % config.fuse_every == 0:
            fusion = losses.fusion_of_both_kinds(
                seen.fused, luma(visible), infrared, config.fusion_weights
            )
        parts = {"total": self.balance(fusion, mask), "mask": mask.detach()}
        if fusion is not None:
            parts["fusion"] = fusion.detach()
        if lesson is not None:
            weights = config.distill
            parts["distill"] = distillation.distance(seen, lesson.in_full(), weights, shared)
            parts["total"] = parts["total"] + parts["distill"]
        return parts


def take_step(
    fabric: Fabric,
    wrapped: Any,
    optimizer: torch.optim.Optimizer,
    batch: list[Tensor],
    step: int,
    config: StepConfig,
    teachers: Sequence[Network],
) -> dict[str, Tensor]:
    """
    One step of the optimiser on a batch; gives the mean of each loss.

    `wrapped` is a learner that `fabric` has set up, `batch` what its `forward` takes. The batch is
    worked off in `config.accumulate` parts, for a GPU that cannot hold it at once: the same step
    but for what looks at all of a batch (BatchNorm, the overlap of a class), which sees each part
    alone.
    """
    count = len(batch[0])
    portions = list(zip(*(array.chunk(config.accumulate) for array in batch), strict=True))
    sums: dict[str, Tensor] = {}
    for number, portion in enumerate(portions, start=1):
        arrays = fabric.to_device(portion)
        parts_like_this = count / len(arrays[0])  # of 5 pairs in 2 parts, one has 3 and one 2
        with fabric.no_backward_sync(wrapped, enabled=number < len(portions)):
            parts = wrapped(*arrays, teachers=teachers, step=step)
            fabric.backward(parts["total"] / parts_like_this)
        for name, value in parts.items():
            sums[name] = sums.get(name, 0) + value.detach() / parts_like_this
    fabric.clip_gradients(wrapped, optimizer, max_norm=CLIP_NORM, error_if_nonfinite=False)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    wrapped.module.balance.observe(step, sums.get("fusion"), sums["mask"])
    return sums


def parameter_groups(learner: Moved) -> list[dict[str, object]]:
    """
    Weight decay for what multiplies features, none for biases, norms and temperatures.

    What comes pretrained learns at ENCODER_RATE of the learning rate (`rate` of its groups).
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in learner.named_parameters():
        if parameter.requires_grad:
            decay = WEIGHT_DECAY if parameter.ndim > 1 and not _is_stacked(name) else 0.0
            rate = ENCODER_RATE if is_pretrained(name, learner) else 1.0
            groups.setdefault((decay, rate), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "rate": rate}
        for (decay, rate), parameters in groups.items()
    ]


def is_pretrained(name: str, learner: Moved) -> bool:
    """Whether a parameter is of an encoder that starts from published weights."""
    core = learner.network.core
    return isinstance(core, PairNetwork) and name.startswith("network.core.encoder.")


def _is_stacked(name: str) -> bool:
    """HIA keeps the biases, norms and temperatures of its streams as rows of one matrix."""
    return name.endswith(("embed_bias", "out_bias", "norm_weight", "norm_bias", "temperature"))


def set_learning_rate(
    optimizer: torch.optim.Optimizer, step: int, steps: int, config: OptimizerConfig
) -> None:
    """Linear warm-up, then half a cosine down to 0 at the last of `steps`."""
    done = (step - config.warmup) / max(steps - config.warmup, 1)
    cosine = 0.5 * (1 + math.cos(math.pi * max(done, 0)))
    for group in optimizer.param_groups:
        rate = config.learning_rate * group["rate"]
        group["lr"] = rate * min((step + 1) / config.warmup, cosine)
