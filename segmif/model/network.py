"""Pixels in, pixels out: the part around the core that all variants share."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from segmif.classes import Taxonomy
from segmif.model.color import luma
from segmif.model.config import VARIANTS, PairConfig, PaperConfig
from segmif.model.pair_network import PairNetwork
from segmif.model.paper import PaperNetwork
from segmif.model.pixels import pixels


class Network(nn.Module):
    """
    A variant from pixels to pixels.

    `forward` is exported and served. It takes visible uint8 (B, H, W, 3) RGB and infrared uint8
    (B, H, W) white hot. `tint` (B,), 0 to 1, is the strength of the hue by temperature; None: the
    default of the variant. It gives fused uint8 (B, H, W, 3) RGB, labels uint8 (B, H, W) and their
    confidence uint8 (B, H, W). Confidence is 255 times the softmax probability of the label.
    `predict` is trained. H and W are multiples of 32.
    """

    def __init__(self, variant: str, taxonomy: Taxonomy | None = None) -> None:
        """`taxonomy` replaces the variant's classes; raises ValueError for an unknown variant."""
        super().__init__()
        if variant not in VARIANTS:
            raise ValueError(f"no variant {variant!r}; there are {', '.join(VARIANTS)}")
        self.variant = variant
        config = VARIANTS[variant]
        self.config = replace(config, taxonomy=taxonomy) if taxonomy else config
        self.core = _core(self.config)

    def predict(self, visible: Tensor, infrared: Tensor) -> tuple[Tensor, Tensor]:
        """
        Fused luma (B, H, W) in [0, 1] and class logits (B, K, H/4, W/4).

        Takes visible (B, H, W, 3) RGB and infrared (B, H, W), both in [0, 1].
        """
        fused_luma, logits = self.core(
            visible.permute(0, 3, 1, 2), luma(visible).unsqueeze(1), infrared.unsqueeze(1)
        )
        return fused_luma.squeeze(1), logits

    def forward(
        self, visible: Tensor, infrared: Tensor, tint: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        # cast first: TensorRT does not transpose bytes
        dtype = next(self.core.parameters()).dtype
        wide = torch.promote_types(dtype, torch.float32)
        levels, thermal = visible.to(dtype), infrared.to(dtype)  # whole: exact in FP16 as well
        fused_luma, logits = self.predict(
            (levels.to(wide) / 255).to(dtype), (thermal.to(wide) / 255).to(dtype)
        )
        if tint is None:
            tint = thermal.new_full((thermal.shape[0],), self.config.tint, dtype=wide)
        stride = self.config.label_stride
        outputs = pixels(levels, thermal, fused_luma, logits, tint, label_stride=stride)
        fused, labels, confidence = (each.to(torch.uint8) for each in outputs)
        return fused, labels, confidence


def _core(config: PairConfig | PaperConfig) -> nn.Module:
    if isinstance(config, PaperConfig):
        return PaperNetwork(config)
    return PairNetwork(config)
