"""Pixels in, pixels out: the part around the core that all variants share."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from segmif.classes import Taxonomy
from segmif.model.blocks import upsample
from segmif.model.color import STRONGEST, attach_chroma, luma, tinted, warmth
from segmif.model.config import VARIANTS, PairConfig, PaperConfig
from segmif.model.edge import PairNetwork
from segmif.model.edge_lite import StackedNetwork
from segmif.model.paper import PaperNetwork


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
        wide = torch.promote_types(dtype, torch.float32)  # FP16 has 1/16 level for a bright pixel
        rgb, thermal = visible.to(wide) / 255, infrared.to(wide) / 255
        fused_luma, logits = self.predict(rgb.to(dtype), thermal.to(dtype))
        fused = (attach_chroma(fused_luma.to(wide), rgb) * 255).round()
        if tint is None:
            tint = thermal.new_full((thermal.shape[0],), self.config.tint)
        strength = STRONGEST * tint.to(wide).clamp(0, 1).view(-1, 1, 1)
        fused = tinted(fused, strength * luma(fused) * warmth(thermal))
        return fused.to(torch.uint8), *self._mask(logits)

    def _mask(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, K, H/4, W/4) to class ids and their probability in 1/255, both (B, H, W)."""
        logits = upsample(logits, 4 // self.config.label_stride)
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        labels, best = best_class(wide)
        others = (wide - best).exp().sum(dim=1, keepdim=True)
        return self._pixels(labels), self._pixels((255 / others).round())

    def _pixels(self, values: Tensor) -> Tensor:
        """Values (B, 1, H/s, W/s) at `label_stride` s to bytes (B, H, W)."""
        stride = self.config.label_stride
        if stride > 1:
            values = functional.interpolate(values, scale_factor=stride, mode="nearest")
        return values.squeeze(1).to(torch.uint8)


def best_class(logits: Tensor) -> tuple[Tensor, Tensor]:
    """
    The first class of the greatest logit and that logit, both (B, 1, H, W); takes (B, K, H, W).

    It is a maximum that runs over the classes: TensorRT fuses that into one kernel, while ArgMax
    becomes a sort of the best k. Class ids are FP32, as TensorRT does not cast indices to bytes.
    """
    first, *others = logits.split(1, dim=1)
    best, labels = first, torch.zeros_like(first, dtype=torch.float32)
    for label, each in enumerate(others, start=1):
        labels = torch.where(each > best, float(label), labels)
        best = torch.maximum(best, each)
    return labels, best


def _core(config: PairConfig | PaperConfig) -> nn.Module:
    if isinstance(config, PaperConfig):
        return PaperNetwork(config)
    return PairNetwork(config) if config.encoder == "own" else StackedNetwork(config)
