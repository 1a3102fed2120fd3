"""
ESPNetv2 (Mehta et al., CVPR 2019), which segments single pictures in `worth`.

The encoder is as its authors published it (MIT, width scale 2.0), and has learnt Cityscapes. The
names of the modules are those of their file, so that their weights fit. The small decoder is ours.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from segmif.model.blocks import IMAGENET_MEAN, IMAGENET_STD, upsample
from segmif.model.network import Network
from training.data.groups_seen import GroupsSeen
from training.data.sources import data_root

PUBLISHED: Mapping[str, object] = {
    "descends_from": ["Cityscapes (published ESPNetv2)"],
    "commercial_use": "Cityscapes' frames are for non-commercial use",
    **GroupsSeen().entry(),
}
BRANCHES = 4
WIDTHS = (32, 128, 256, 512)  # channels at strides 2, 4, 8 and 16
BLOCKS = (0, 3, 7)  # after each of the three steps down
DECODER_WIDTH = 64


class Segmenter(nn.Module):
    """In place of a network's core: a mask of the visible frame alone."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.base_net = _Encoder()
        self.lateral = nn.ModuleList(nn.Conv2d(width, DECODER_WIDTH, 1) for width in WIDTHS[1:])
        self.pyramid = _Convolution(DECODER_WIDTH, DECODER_WIDTH, 3)
        self.classify = nn.Conv2d(DECODER_WIDTH, classes, 1)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))

    def forward(
        self, visible: Tensor, visible_luma: Tensor, infrared: Tensor
    ) -> tuple[Tensor, Tensor]:
        """
        The luma as it came (B, 1, H, W) and class logits (B, K, H/4, W/4).

        Takes visible (B, 3, H, W), its luma and infrared (B, 1, H, W), in [0, 1].
        """
        levels = self.base_net((visible - self.mean) / self.deviation)
        projected = [narrow(level) for narrow, level in zip(self.lateral, levels, strict=True)]
        merged = projected.pop()
        while projected:
            merged = projected.pop() + upsample(merged, 2)
        return visible_luma, self.classify(self.pyramid(merged))


class _Convolution(nn.Sequential):
    """Convolution, BatchNorm and, unless `linear`, a PReLU with a slope for each channel."""

    def __init__(
        self,
        channels: int,
        width: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        *,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            channels, width, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(width)
        self.act = nn.Identity() if linear else nn.PReLU(width)


class _Dilated(nn.Module):
    def __init__(self, width: int, dilation: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            width, width, 3, stride, dilation, dilation=dilation, groups=width, bias=False
        )

    def forward(self, features: Tensor) -> Tensor:
        seen: Tensor = self.conv(features)
        return seen


class _NormAct(nn.Sequential):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.bn, self.act = nn.BatchNorm2d(width), nn.PReLU(width)


class _Block(nn.Module):
    """EESP: reduce, convolve with several dilations, add each to the next wider one, expand."""

    def __init__(self, channels: int, width: int, reach: int, stride: int = 1) -> None:
        """`reach`: widest span of a branch in pixels; wider ones fall back to 3."""
        super().__init__()
        narrow = width // BRANCHES
        spans = sorted(span if span <= reach else 3 for span in range(3, 3 + 2 * BRANCHES, 2))
        self.proj_1x1 = _Convolution(channels, narrow, 1, groups=BRANCHES)
        self.spp_dw = nn.ModuleList(_Dilated(narrow, span // 2, stride) for span in spans)
        self.br_after_cat = _NormAct(width)
        self.conv_1x1_exp = _Convolution(width, width, 1, groups=BRANCHES, linear=True)
        self.module_act = nn.PReLU(width)

    def expanded(self, features: Tensor) -> Tensor:
        reduced = self.proj_1x1(features)
        sums = [self.spp_dw[0](reduced)]
        for branch in self.spp_dw[1:]:
            sums.append(sums[-1] + branch(reduced))
        expanded: Tensor = self.conv_1x1_exp(self.br_after_cat(torch.cat(sums, dim=1)))
        return expanded

    def forward(self, features: Tensor) -> Tensor:
        activated: Tensor = self.module_act(features + self.expanded(features))
        return activated


class _Down(nn.Module):
    """To half the size: pooled features beside those of a block, plus the image."""

    def __init__(self, channels: int, width: int, reach: int) -> None:
        super().__init__()
        self.eesp = _Block(channels, width - channels, reach, stride=2)
        self.inp_reinf = nn.Sequential(
            _Convolution(3, 3, 3), _Convolution(3, width, 1, linear=True)
        )
        self.act = nn.PReLU(width)

    def forward(self, features: Tensor, image: Tensor) -> Tensor:
        """`image` is already as small as the result."""
        both = torch.cat((_half_size(features), self.eesp.expanded(features)), dim=1)
        activated: Tensor = self.act(both + self.inp_reinf(image))
        return activated


class _Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.level1 = _Convolution(3, WIDTHS[0], 3, stride=2)
        self.level2_0 = _Down(WIDTHS[0], WIDTHS[1], reach=13)
        self.level3_0 = _Down(WIDTHS[1], WIDTHS[2], reach=11)
        self.level3 = nn.Sequential(*(_Block(WIDTHS[2], WIDTHS[2], 9) for _ in range(BLOCKS[1])))
        self.level4_0 = _Down(WIDTHS[2], WIDTHS[3], reach=9)
        self.level4 = nn.Sequential(*(_Block(WIDTHS[3], WIDTHS[3], 7) for _ in range(BLOCKS[2])))

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to features at strides 4, 8 and 16."""
        quarter = _half_size(_half_size(image))
        second = self.level2_0(self.level1(image), quarter)
        third = self.level3(self.level3_0(second, eighth := _half_size(quarter)))
        return [second, third, self.level4(self.level4_0(third, _half_size(eighth)))]


def _half_size(features: Tensor) -> Tensor:
    return functional.avg_pool2d(features, 3, stride=2, padding=1)


def published_weights() -> Path:
    """Where the published weights lie among the real frames."""
    return data_root() / "weights" / "espnetv2_s_2.0_city_1024x512.pth"


def with_segmenter(network: Network, *, weights: Path) -> Mapping[str, object]:
    """
    Puts a segmenter in place of a network's core, its encoder from published weights.

    Gives what those descend from, for the manifest. Raises FileNotFoundError, or RuntimeError for
    another network's weights.
    """
    if not weights.is_file():
        raise FileNotFoundError(
            f"no weights of ESPNetv2 at {weights}: its authors publish them as EdgeNets; take "
            "the segmentation network of width 2.0 for Cityscapes, 1024x512, and name it"
        )
    core = Segmenter(len(network.config.taxonomy.names))
    published = torch.load(weights, map_location="cpu", weights_only=True)
    prefix = "base_net."
    encoder = {k.removeprefix(prefix): v for k, v in published.items() if k.startswith(prefix)}
    core.base_net.load_state_dict(encoder)
    network.core = core.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return PUBLISHED
