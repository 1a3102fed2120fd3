"""
The Mix Transformer, encoder of SegFormer (Xie et al., NeurIPS 2021), after the paper's description.

Maps inside a stage are (B, H, W, C): linear layers and LayerNorm act on the last axis. The same
memory is the channels-last form, which suits convolutions. B batch, N tokens, M reduced tokens, h
heads, d channels a head.

Stochastic depth is left out, because the bridge of `paper` reads this encoder as well.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from segmif.model.blocks import IMAGENET_MEAN, IMAGENET_STD

HEAD_WIDTH = 64  # channels of an attention head, in every stage
KEY_STRIDE = 32  # every stage reduces its keys and values to this stride: factors 8, 4, 2, 1
EXPANSION = 4  # of the feed-forward layer
EPSILON = 1e-6  # of every LayerNorm


class MixTransformer(nn.Module):
    """An image to features at strides 4, 8, 16 and 32."""

    mean: Tensor
    std: Tensor

    def __init__(self, widths: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.stages = nn.ModuleList(
            Stage(before, width, depth, stride)
            for before, width, depth, stride in zip(
                (3, *widths[:-1]), widths, blocks, (4, 8, 16, 32), strict=True
            )
        )
        self.apply(_initialise)

    def forward(self, image: Tensor, stages: int = 4) -> list[Tensor]:
        """RGB (B, 3, H, W) in [0, 1] to the features (B, C, H/s, W/s) of the first `stages`."""
        features = []
        x = (image - self.mean) / self.std
        for stage in self.stages[:stages]:
            x = stage(x)
            features.append(x)
        return features


class Stage(nn.Module):
    """Overlapping patches of (B, c, H, W), then transformer blocks."""

    def __init__(self, inputs: int, width: int, blocks: int, stride: int) -> None:
        super().__init__()
        kernel, step = (7, 4) if stride == 4 else (3, 2)
        self.patches = nn.Conv2d(inputs, width, kernel, step, kernel // 2)
        self.norm_patches = _norm(width)
        self.blocks = nn.Sequential(*(Block(width, KEY_STRIDE // stride) for _ in range(blocks)))
        self.norm = _norm(width)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.norm_patches(self.patches(x).permute(0, 2, 3, 1))
        features: Tensor = self.norm(self.blocks(patches))
        return features.permute(0, 3, 1, 2)


class Block(nn.Module):
    """Attention and feed-forward with shortcuts, each behind its norm; (B, H, W, C) to the same."""

    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        self.norm_attention = _norm(width)
        self.attention = ReducedAttention(width, reduction)
        self.norm_feed_forward = _norm(width)
        self.feed_forward = MixFeedForward(width)

    def forward(self, x: Tensor) -> Tensor:
        attended = x + self.attention(self.norm_attention(x))
        fed: Tensor = attended + self.feed_forward(self.norm_feed_forward(attended))
        return fed


class ReducedAttention(nn.Module):
    """Queries of every pixel; keys and values of the map reduced `reduction` times a side."""

    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        self.heads = width // HEAD_WIDTH
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.project = nn.Linear(width, width)
        self.reduction = reduction
        if reduction > 1:
            self.reduce = nn.Conv2d(width, width, reduction, reduction)
            self.norm = _norm(width)

    def forward(self, x: Tensor) -> Tensor:
        query = self._by_head(self.query(x))  # (B, h, N, d)
        key, value = map(self._by_head, self.key_value(self._reduced(x)).chunk(2, dim=-1))
        seen = functional.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.project(seen.transpose(1, 2).reshape(x.shape))
        return projected

    def _reduced(self, x: Tensor) -> Tensor:
        if self.reduction == 1:
            return x
        reduced: Tensor = self.norm(self.reduce(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        return reduced

    def _by_head(self, x: Tensor) -> Tensor:
        by_head: Tensor = x.flatten(1, 2).unflatten(-1, (self.heads, HEAD_WIDTH)).transpose(1, 2)
        return by_head


class MixFeedForward(nn.Module):
    """Two linear layers around a depthwise 3x3 convolution, which gives tokens their position."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = EXPANSION * width
        self.expand = nn.Linear(width, hidden)
        self.mix = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.project = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.mix(self.expand(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        projected: Tensor = self.project(functional.gelu(mixed))
        return projected


def _norm(width: int) -> nn.LayerNorm:
    return nn.LayerNorm(width, eps=EPSILON)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
