"""
EfficientNet-Lite0 (Tan and Le, ICML 2019; without squeeze-and-excitation) as an encoder.

It has no BatchNorm: that of the published weights is folded into the convolutions, exactly. Fine
tuning changes the weights too little to need it. Strides pad evenly, while TensorFlow pads at one
end. So the features are the published ones, shifted by half a pixel.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

STEM = 32  # channels at stride 2, before the first block


class _Stage(NamedTuple):
    width: int  # channels that come out
    blocks: int
    kernel: int
    stride: int  # of the first block
    expansion: int


STAGES = (
    _Stage(16, 1, 3, 1, 1),
    _Stage(24, 2, 3, 2, 6),
    _Stage(40, 2, 5, 2, 6),
    _Stage(80, 3, 3, 2, 6),
    _Stage(112, 3, 5, 1, 6),
    _Stage(192, 4, 5, 2, 6),
    _Stage(320, 1, 3, 1, 6),
)
TAPPED = (0, 1, 2, 4, 6)  # stages whose features are given: the last ones at strides 2 to 32
WIDTHS = tuple(STAGES[stage].width for stage in TAPPED)


class Depthwise(nn.Conv2d):
    """
    A depthwise convolution, in FP32 if CPU autocast would make it narrower.

    Its backward pass in bfloat16 takes several times as long on a CPU.
    """

    def forward(self, input: Tensor) -> Tensor:  # the name that nn.Conv2d gives it
        if input.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float()).to(torch.get_autocast_dtype("cpu"))


class InvertedBlock(nn.Module):
    """Expand, depthwise convolution, project; with a shortcut if the shape stays."""

    def __init__(self, inputs: int, stage: _Stage, stride: int) -> None:
        super().__init__()
        inner = inputs * stage.expansion
        self.expand = (
            nn.Sequential(nn.Conv2d(inputs, inner, 1), nn.ReLU6(inplace=True))
            if stage.expansion > 1
            else nn.Identity()
        )
        self.depthwise = nn.Sequential(
            Depthwise(inner, inner, stage.kernel, stride, stage.kernel // 2, groups=inner),
            nn.ReLU6(inplace=True),
        )
        self.project = nn.Conv2d(inner, stage.width, 1)
        self.shortcut = stride == 1 and inputs == stage.width

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + projected if self.shortcut else projected


class EfficientNetLite(nn.Module):
    """An image (B, 3, H, W), normalised as ImageNet was, to features at strides 2 to 32."""

    def __init__(self, stages: int = len(STAGES)) -> None:
        """`stages`: the number of stages, from the first on."""
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, STEM, 3, 2, 1), nn.ReLU6(inplace=True))
        self.stages = nn.ModuleList()
        inputs = STEM
        for stage in STAGES[:stages]:
            blocks = []
            for index in range(stage.blocks):
                blocks.append(InvertedBlock(inputs, stage, stage.stride if index == 0 else 1))
                inputs = stage.width
            self.stages.append(nn.Sequential(*blocks))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # each has one

    @property
    def blocks(self) -> list[InvertedBlock]:
        """All blocks of all stages, in order."""
        return [module for module in self.modules() if isinstance(module, InvertedBlock)]

    def forward(self, image: Tensor) -> list[Tensor]:
        """Features (B, C, H/s, W/s) of the stages TAPPED, with the channels of WIDTHS."""
        features, x = [], self.stem(image)
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number in TAPPED:
                features.append(x)
        return features
