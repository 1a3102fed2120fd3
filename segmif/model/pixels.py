"""
From the network's numbers to pixels: colour, the hue of what stands out, class ids, confidence.

`plain` is the definition. In an ONNX export it is one node, `segmif::Pixels`, whose body is `plain`
as well. On a GPU our plugin computes the node in two kernels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from segmif.model.blocks import upsample
from segmif.model.color import STRONGEST, attach_chroma, luma, tinted, warmth

LOGIT_STRIDE = 4  # of the logits


def pixels(
    visible: Tensor,
    infrared: Tensor,
    fused_luma: Tensor,
    logits: Tensor,
    tint: Tensor,
    *,
    label_stride: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """`plain`; in an ONNX export one node."""
    if not torch.onnx.is_in_onnx_export():
        return plain(visible, infrared, fused_luma, logits, tint, label_stride=label_stride)
    fused, labels, confidence = torch.onnx.ops.symbolic_multi_out(
        "segmif::Pixels",
        (visible, infrared, fused_luma, logits, tint),
        {"label_stride": label_stride, "plugin_namespace": "segmif", "plugin_version": "1"},
        dtypes=(visible.dtype,) * 3,
        shapes=(visible.shape, infrared.shape, infrared.shape),
        version=1,
    )
    return fused, labels, confidence


def plain(
    visible: Tensor,
    infrared: Tensor,
    fused_luma: Tensor,
    logits: Tensor,
    tint: Tensor,
    *,
    label_stride: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """
    The fused frame (B, H, W, 3), class ids and confidence (B, H, W): whole numbers from 0 to 255.

    Takes visible (B, H, W, 3) RGB and infrared (B, H, W) in whole levels [0, 255], the fused luma
    (B, H, W) in [0, 1], logits (B, K, H/4, W/4) and the strength of the hue (B,), 0 to 1. All but
    the last have one floating type, and so have the results. Arithmetic is in at least FP32.
    `label_stride`, 1, 2 or 4, is that of the class decision.
    """
    wide = torch.promote_types(visible.dtype, torch.float32)  # FP16 has 1/16 level if bright
    rgb, thermal = visible.to(wide) / 255, infrared.to(wide) / 255
    fused = (attach_chroma(fused_luma.to(wide), rgb) * 255).round()
    strength = STRONGEST * tint.to(wide).clamp(0, 1).view(-1, 1, 1)
    fused = tinted(fused, strength * luma(fused) * warmth(thermal))
    scores = upsample(logits.to(wide), LOGIT_STRIDE // label_stride)
    labels, best = best_class(scores)
    others = (scores - best).exp().sum(dim=1, keepdim=True)
    masks = (_full_size(each, label_stride) for each in (labels, (255 / others).round()))
    labels, confidence = (each.to(visible.dtype) for each in masks)
    return fused.to(visible.dtype), labels, confidence


class Plain(nn.Module):
    """`plain` for one `label_stride`: what the body of the node is exported from."""

    def __init__(self, label_stride: int) -> None:
        super().__init__()
        self.label_stride = label_stride

    def forward(
        self, visible: Tensor, infrared: Tensor, fused_luma: Tensor, logits: Tensor, tint: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        stride = self.label_stride
        return plain(visible, infrared, fused_luma, logits, tint, label_stride=stride)


def _full_size(values: Tensor, stride: int) -> Tensor:
    """Values (B, 1, H/s, W/s) at stride s to (B, H, W), by the nearest one."""
    if stride > 1:
        values = functional.interpolate(values, scale_factor=stride, mode="nearest")
    return values.squeeze(1)


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
