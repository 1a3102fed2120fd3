"""
What each part of the network and of its training is worth: the same budget without it.

Every arm trains with several seeds from nothing. It is evaluated on mfnet/val, never on a test set.
An arm that is done is not run again, so the command may be stopped and called again at any time.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from segmif.model.config import PairConfig
from segmif.model.network import Network
from segmif.model.pair_network import FeaturePair, PairNetwork

from . import experiment
from .experiment import Arm

COLUMNS = (
    *("mIoU all", "mIoU day", "mIoU night", "person all", "car all"),
    *("person all, visible black", "person all, infrared black"),
    *("MI", "VIF", "Qabf", "SSIM"),
)
HEADING = """\
# What each part of the network and of its training is worth

`make ablation` trains each arm from nothing with the same small budget, and evaluates it on
mfnet/val. `joint` is the whole network. SoAM and MoAM are the two halves of HIA.

Columns are mean IoU and IoU of classes, over all frames, by day and by night, then with one sensor
black. The last four are metrics of the fused luma. The arms are those of the revisions below the
table. Networks that were shipped later, and trained for longer, are in [results](results.md)."""
MASK_ALONE = {"fuse_every": 10**9}  # steps: never


def without_semantics(network: Network) -> None:
    """The streams meet no semantic features: each stage passes them on as they are."""
    _replace_attentions(network, lambda _attention: _PassThrough())


def with_concatenation(network: Network) -> None:
    """In place of the attention, one 1x1 convolution of all three maps for each stream."""
    _replace_attentions(network, lambda attention: _Concatenation(attention.embed_weight.shape[2]))


def with_half_of_attention(network: Network, *, kept: int) -> None:
    """Only one half of [Z, A] is aggregated: SoAM's (kept = 0) or MoAM's (kept = 1)."""
    for attention in _attentions(network):
        mask = torch.zeros_like(attention.out_weight)
        mask.chunk(2, dim=2)[kept].fill_(1)
        parametrize.register_parametrization(attention, "out_weight", _Masked(mask))


def with_one_sensor(network: Network, *, dark: int) -> None:
    """The core sees only one sensor; the other (0: visible, 1: infrared) is black to it."""

    def blindfold(_core: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        visible, visible_luma, infrared = inputs
        if dark == 0:
            return torch.zeros_like(visible), torch.zeros_like(visible_luma), infrared
        return visible, visible_luma, torch.zeros_like(infrared)

    network.core.register_forward_pre_hook(blindfold)


with_visible_only = partial(with_one_sensor, dark=1)


def with_early_fusion(network: Network) -> None:
    """The encoder reads the mean of both frames: its features know of no two sensors."""
    assert isinstance(network.config, PairConfig)
    network.core = _EarlyFusion(network.config)


ARMS: dict[str, Arm] = {
    "joint": Arm("as shipped: HIA, both tasks, dynamic weights"),
    "no semantics": Arm("streams without semantic features", without_semantics),
    "SoAM only": Arm("HIA without MoAM", partial(with_half_of_attention, kept=0)),
    "MoAM only": Arm("HIA without SoAM", partial(with_half_of_attention, kept=1)),
    "concatenation": Arm("1x1 convolution in place of HIA", with_concatenation),
    "fixed weights": Arm(
        "both tasks at weight 1, as the published temperature of 1000 leaves them",
        settings={"balance": "fixed"},
    ),
    "mask alone": Arm("no fusion task", settings=MASK_ALONE, evaluates_fusion=False),
    "visible only": Arm(
        "infrared black, no fusion task",
        with_visible_only,
        settings=MASK_ALONE,
        evaluates_fusion=False,
    ),
    "infrared only": Arm(
        "visible black, no fusion task",
        partial(with_one_sensor, dark=0),
        settings=MASK_ALONE,
        evaluates_fusion=False,
    ),
    "early fusion": Arm("the mean of both frames into the encoder, no HIA", with_early_fusion),
    "distilled": Arm("as shipped, with edge as teacher", with_teacher=True),
}


def _attentions(network: Network) -> Any:
    return network.get_submodule("core.attentions")


def _replace_attentions(network: Network, other: Callable[[Any], nn.Module]) -> None:
    attentions = _attentions(network)
    for number, attention in enumerate(attentions):
        attentions[number] = other(attention)


class _PassThrough(nn.Module):
    def forward(
        self, visible: Tensor, infrared: Tensor, _semantic: Tensor
    ) -> tuple[Tensor, Tensor]:
        return visible, infrared


class _Concatenation(nn.Module):
    """LayerNorm(F_m + W_m [F_visible, F_infrared, F_semantic]): HIA's frame without attention."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.ModuleList(nn.Conv2d(3 * channels, channels, 1) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))

    def forward(self, visible: Tensor, infrared: Tensor, semantic: Tensor) -> tuple[Tensor, Tensor]:
        everything = torch.cat((visible, infrared, semantic), dim=1)
        refined = (
            norm((map_ + mix(everything)).movedim(1, -1)).movedim(-1, 1)
            for map_, mix, norm in zip((visible, infrared), self.mix, self.norms, strict=True)
        )
        first, second = refined
        return first, second


class _Masked(nn.Module):
    """Keeps part of a weight at nothing."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


class _EarlyFusion(PairNetwork):
    """The same encoder, decoder and head behind one image of both sensors."""

    def __init__(self, config: PairConfig) -> None:
        super().__init__(config)
        self.attentions = nn.ModuleList(_PassThrough() for _ in self.attentions)

    def _levels(self, visible: Tensor, infrared: Tensor) -> list[FeaturePair]:
        both = (visible + infrared) / 2
        return super()._levels(both, both.mean(dim=1, keepdim=True))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m lab ablation`."""
    experiment.add_arguments(parser, ARMS, "ablation", Path("lab/configs/ablation.toml"))
    teacher = Path("weights/edge.safetensors")
    parser.add_argument("--teacher", type=Path, default=teacher, help="of the arm distilled")


def main(args: argparse.Namespace) -> int:
    """Runs what is missing, prints the table, writes it to `--table`."""
    return experiment.run(ARMS, COLUMNS, args, args.teacher, HEADING)
