"""The offset of infrared from the visible frame, from features, and a warp of features by it."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from segmif.model.blocks import ConvNormAct

MAX_OFFSET_PX = 24.0  # of infrared, in each direction
STRIDE = 16  # of the features that give the offset


class OffsetHead(nn.Module):
    """Both sensors' features at stride 16 to the offset of infrared, (B, 2, H/16, W/16) in px."""

    def __init__(self, channels: int, width: int) -> None:
        """`channels` of both sensors together."""
        super().__init__()
        self.mix = nn.Sequential(
            ConvNormAct(channels, width, kernel=1),
            ConvNormAct(width, width),
            ConvNormAct(width, width),
        )
        self.offset = nn.Conv2d(width, 2, 3, padding=1)
        nn.init.zeros_(self.offset.weight)  # starts as the identity
        nn.init.zeros_(self.offset.bias)  # type: ignore[arg-type]

    def forward(self, both: Tensor) -> Tensor:
        """(dx, dy) in px: the content of infrared at p belongs at p + offset."""
        return MAX_OFFSET_PX * torch.tanh(self.offset(self.mix(both)))


def warp_by_offset(features: Tensor, offset: Tensor, stride: int) -> Tensor:
    """Features (B, C, h, w) of infrared at `stride`, sampled at their places by the offset."""
    height, width = features.shape[2:]
    if stride != STRIDE:
        offset = functional.interpolate(
            offset, size=(height, width), mode="bilinear", align_corners=False
        )
    # grid_sample counts from -1 to 1 over the whole width, whose pixels are stride * width
    across = (2 * torch.arange(width, device=features.device) + 1) / width - 1
    down = (2 * torch.arange(height, device=features.device) + 1) / height - 1
    x = across.view(1, 1, -1) - offset[:, 0] * (2 / (stride * width))
    y = down.view(1, -1, 1) - offset[:, 1] * (2 / (stride * height))
    grid = torch.stack((x, y), dim=-1).to(features.dtype)
    return functional.grid_sample(
        features, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
