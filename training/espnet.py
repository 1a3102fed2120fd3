"""
ESPNetv2 (Mehta et al., CVPR 2019) that has learnt Cityscapes and goes on from there.

Its encoder is as its authors published it (MIT), the small decoder is ours and learns from nothing.
It judges pictures in `worth`, and with an encoder for each sensor it is the tutor of our networks.
The names of the modules are those in the published file of weights, width scale 2.0.
"""

from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from segmif.manifest import Manifest
from segmif.model.network import Network
from segmif.model.weights import load_network
from training import data

TUTOR = "espnetv2-pair"  # the variant that manifests of a tutor name
BRANCHES = 4
WIDTHS = (32, 128, 256, 512)  # channels at strides 2, 4, 8 and 16
BLOCKS = (0, 3, 7)  # after each of the three steps down
DECODER_WIDTH = 64
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as it was trained


def published_weights() -> Path:
    """Where the published weights lie among the real frames."""
    return data.data_root() / "weights" / "espnetv2_s_2.0_city_1024x512.pth"


class Segmenter(nn.Module):
    """Stands where a network's core stands; with `both` unset it sees the visible frame only."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, classes: int, *, both: bool) -> None:
        super().__init__()
        self.base_net = _Encoder()
        self.infrared_net = _Encoder() if both else None
        sensors = 2 if both else 1
        self.lateral = nn.ModuleList(
            nn.Conv2d(sensors * width, DECODER_WIDTH, 1) for width in WIDTHS[1:]
        )
        self.pyramid = _Convolution(DECODER_WIDTH, DECODER_WIDTH, 3)
        self.classify = nn.Conv2d(DECODER_WIDTH, classes, 1)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1))

    def forward(
        self, visible: Tensor, visible_luma: Tensor, infrared: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The luma as it came (B, 1, H, W) and class logits (B, K, H/4, W/4)."""
        levels = self.base_net(self._normalised(visible))
        if self.infrared_net is not None:
            warm = self.infrared_net(self._normalised(infrared.expand_as(visible)))
            levels = [torch.cat(both, dim=1) for both in zip(levels, warm, strict=True)]
        projected = [narrow(level) for narrow, level in zip(self.lateral, levels, strict=True)]
        merged = projected.pop()
        while projected:
            level = projected.pop()
            merged = level + functional.interpolate(merged, size=level.shape[2:], mode="bilinear")
        return visible_luma, self.classify(self.pyramid(merged))

    def _normalised(self, picture: Tensor) -> Tensor:
        return (picture - self.mean) / self.deviation

    def start_from(self, weights: Path) -> None:
        """The published encoder; FileNotFoundError, or RuntimeError for another network's."""
        if not weights.is_file():
            raise FileNotFoundError(
                f"no weights of ESPNetv2 at {weights}: its authors publish them as EdgeNets; take "
                "the segmentation network of width 2.0 for Cityscapes, 1024x512, and name it"
            )
        published = torch.load(weights, map_location="cpu", weights_only=True)
        prefix = "base_net."
        encoder = {k.removeprefix(prefix): v for k, v in published.items() if k.startswith(prefix)}
        for net in (self.base_net, self.infrared_net):
            if net is not None:
                net.load_state_dict(encoder)


def with_segmenter(network: Network, *, weights: Path | None, both: bool) -> None:
    """Puts a segmenter in place of a network's core, from published weights if some are given."""
    segmenter = Segmenter(len(network.config.taxonomy.names), both=both)
    if weights:
        segmenter.start_from(weights)
    network.core = segmenter.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if both:
        network.variant = TUTOR


def load_teacher(path: Path, device: torch.device) -> Network:
    """A tutor, or any variant; raises what `load_network` raises."""
    manifest = Manifest.read(path)
    if manifest.variant != TUTOR:
        return load_network(path, device)
    network = Network("nano", manifest.classes)
    with_segmenter(network, weights=None, both=True)
    network.load_state_dict(safetensors.torch.load_file(path))
    return network.eval().to(device)


class _Convolution(nn.Module):
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

    def forward(self, features: Tensor) -> Tensor:
        activated: Tensor = self.act(self.bn(self.conv(features)))
        return activated


class _Dilated(nn.Module):
    def __init__(self, width: int, dilation: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            width, width, 3, stride, dilation, dilation=dilation, groups=width, bias=False
        )

    def forward(self, features: Tensor) -> Tensor:
        seen: Tensor = self.conv(features)
        return seen


class _NormAct(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.bn, self.act = nn.BatchNorm2d(width), nn.PReLU(width)

    def forward(self, features: Tensor) -> Tensor:
        activated: Tensor = self.act(self.bn(features))
        return activated


class _Block(nn.Module):
    """EESP: reduce, look at several dilations, add each to the next wider one, expand."""

    def __init__(self, channels: int, width: int, reach: int, stride: int = 1) -> None:
        """`reach`: pixels that a branch may span; wider ones fall back to 3."""
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
    """To half the size: the mean of what was there beside a block's view, plus the picture."""

    def __init__(self, channels: int, width: int, reach: int) -> None:
        super().__init__()
        self.eesp = _Block(channels, width - channels, reach, stride=2)
        self.inp_reinf = nn.Sequential(
            _Convolution(3, 3, 3), _Convolution(3, width, 1, linear=True)
        )
        self.act = nn.PReLU(width)

    def forward(self, features: Tensor, picture: Tensor) -> Tensor:
        """`picture` is already as small as the result."""
        both = torch.cat((_halved(features), self.eesp.expanded(features)), dim=1)
        activated: Tensor = self.act(both + self.inp_reinf(picture))
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

    def forward(self, picture: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to features at strides 4, 8 and 16."""
        quarter = _halved(_halved(picture))
        second = self.level2_0(self.level1(picture), quarter)
        third = self.level3(self.level3_0(second, eighth := _halved(quarter)))
        return [second, third, self.level4(self.level4_0(third, _halved(eighth)))]


def _halved(features: Tensor) -> Tensor:
    return functional.avg_pool2d(features, 3, stride=2, padding=1)
