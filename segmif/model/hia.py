"""The HIA block as a module: its parameters, and how they start."""

import math

import torch
from torch import Tensor, nn

from segmif.ops import hia


class HierarchicalInteractiveAttention(nn.Module):
    """
    Refines the visible and the infrared map (B, C, H, W) by what the semantic map (B, C, H, W)
    sees, and back.

    The formulas stand in `segmif.ops.hia`. `stride` is that of the maps:
    temperatures start where the published softmax stands on its 320x320 training crops, N / sqrt(d)
    with N = (320 / stride)^2.
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
