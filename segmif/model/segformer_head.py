"""The segmentation head of SegFormer (Xie et al., NeurIPS 2021)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segmif.model.blocks import ConvNormAct, upsample


class PyramidHead(nn.Module):
    """Features at strides 4, 8, 16 and 32 to class logits (B, K, H/4, W/4)."""

    def __init__(self, inputs: Sequence[int], width: int, classes: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in inputs)
        self.mix = ConvNormAct(len(inputs) * width, width, kernel=1)
        self.dropout = nn.Dropout2d(0.1)
        self.classify = nn.Conv2d(width, classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        aligned = [
            upsample(lateral(x), 2**level)
            for level, (lateral, x) in enumerate(zip(self.laterals, features, strict=True))
        ]
        logits: Tensor = self.classify(self.dropout(self.mix(torch.cat(aligned, dim=1))))
        return logits
