"""The HIA block as a module with its parameters and their initial values."""

import math

import torch
from torch import Tensor, nn

from segmif.ops import hia


class HierarchicalInteractiveAttention(nn.Module):
    """
    Refines the visible and infrared maps by attention with the semantic map, each (B, C, H, W).

    `segmif.ops.hia` has the formulas. `stride` is that of the maps. Temperatures start at
    N / sqrt(d), N = (320 / stride)^2: the published softmax on its 320x320 training crops.
    """

    def __init__(self, channels: int, heads: int, stride: int) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels do not divide into {heads} heads")
        self.embed_weight = nn.Parameter(torch.empty(3, 2 * channels, channels))
        self.embed_bias = nn.Parameter(torch.zeros(3, 2 * channels))
        self.key_weight = nn.Parameter(torch.empty(3, channels, channels))
        self.value_weight = nn.Parameter(torch.empty(3, channels, channels))
        start = (320 / stride) ** 2 / math.sqrt(channels // heads)
        # learned on a logarithmic scale: a factor, always positive
        self.log_temperature = nn.Parameter(torch.full((3, heads), math.log(start)))
        self.out_weight = nn.Parameter(torch.empty(2, channels, 2 * channels))
        self.out_bias = nn.Parameter(torch.zeros(2, channels))
        self.norm_weight = nn.Parameter(torch.ones(2, channels))
        self.norm_bias = nn.Parameter(torch.zeros(2, channels))
        for weight in (self.embed_weight, self.key_weight, self.value_weight, self.out_weight):
            nn.init.trunc_normal_(weight, std=0.02)

    def forward(self, visible: Tensor, infrared: Tensor, semantic: Tensor) -> tuple[Tensor, Tensor]:
        return hia.interactive_attention(
            visible,
            infrared,
            semantic,
            self.embed_weight,
            self.embed_bias,
            self.key_weight,
            self.value_weight,
            self.log_temperature.exp(),
            self.out_weight,
            self.out_bias,
            self.norm_weight,
            self.norm_bias,
        )
