"""
Hierarchical interactive attention (HIA) between two modality streams and the semantic features.

`plain` is the definition. The network runs `gram`, the same mathematics without a key or a value
per pixel. B batch, C channels, H x W pixels, N = H * W, h heads, d = C / h channels a head.

Both take the feature maps `visible`, `infrared`, `semantic`, each (B, C, H, W), then the
parameters. These are stacked in that order; the output side has only the first two:

    embed_weight  (3, 2C, C)  embed_bias (3, 2C)   embedding of each map into two token sets [Y, U]
    key_weight    (3, C, C)   value_weight (3, C, C)
    temperature   (3, h)      factor on the mean-normalised context before its softmax
    out_weight    (2, C, 2C)  out_bias (2, C)      aggregation of [Z, A]
    norm_weight   (2, C)      norm_bias (2, C)     LayerNorm over the channels

and give the refined maps (visible, infrared), each (B, C, H, W):

    SoAM (query: semantic)   Z_m = Y_s softmax_keys(t_m K_m^T V_m / N)   with K_m, V_m from Y_m
    MoAM (query: modality)   A_m = U_m softmax_keys(t_s K_s^T V_s / N)   with K_s, V_s from U_s
    refined_m = LayerNorm(F_m + [Z_m, A_m] W_o + b_o)

after SegMiF (Liu et al., ICCV 2023). It differs from its code in two points:

* The context is divided by N and accumulated in at least FP32. As published, the context grows with
  the image: it exceeds the range of FP16 and sharpens the softmax.
* A learned temperature per head replaces the scale that the division removes.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

EPSILON = 1e-5  # of the LayerNorm
TEMPERATURE = 7  # index of the argument that is never narrower than FP32

# Kind of device -> implementation there instead of `gram`; `segmif.ops.native.use` sets it.
device_kernels: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {}


def plain(
    visible: Tensor,
    infrared: Tensor,
    semantic: Tensor,
    embed_weight: Tensor,
    embed_bias: Tensor,
    key_weight: Tensor,
    value_weight: Tensor,
    temperature: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
) -> tuple[Tensor, Tensor]:
    """The definition, token by token; the module's docstring has shapes and formulas."""
    height, width = visible.shape[-2:]
    heads = temperature.shape[1]
    maps = [map_.flatten(2).transpose(1, 2) for map_ in (visible, infrared, semantic)]  # (B, N, C)
    y_and_u = [
        functional.linear(map_, embed_weight[i], embed_bias[i]).relu().chunk(2, dim=-1)
        for i, map_ in enumerate(maps)
    ]
    semantic_y, semantic_u = y_and_u[2]

    def by_head(tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (heads, -1)).transpose(1, 2)  # (B, h, N, d)

    def attend(query: Tensor, source: Tensor, i: int) -> Tensor:
        key = by_head(functional.linear(source, key_weight[i]))
        value = by_head(functional.linear(source, value_weight[i]))
        wide = torch.promote_types(source.dtype, torch.float32)
        context = key.to(wide).transpose(-2, -1) @ value.to(wide) / source.shape[1]  # (B, h, d, d)
        attention = (context * temperature[i, :, None, None].to(wide)).softmax(dim=-2)
        return (by_head(query) @ attention.to(query.dtype)).transpose(1, 2).flatten(-2)

    def refine(i: int) -> Tensor:
        modality_y, modality_u = y_and_u[i]
        looked_up = torch.cat(
            (attend(semantic_y, modality_y, i), attend(modality_u, semantic_u, 2)), dim=-1
        )
        refined = maps[i] + functional.linear(looked_up, out_weight[i], out_bias[i])
        channels = refined.shape[-1:]
        refined = functional.layer_norm(refined, channels, norm_weight[i], norm_bias[i], EPSILON)
        return refined.transpose(1, 2).unflatten(-1, (height, width))

    return refine(0), refine(1)


def gram(
    visible: Tensor,
    infrared: Tensor,
    semantic: Tensor,
    embed_weight: Tensor,
    embed_bias: Tensor,
    key_weight: Tensor,
    value_weight: Tensor,
    temperature: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
) -> tuple[Tensor, Tensor]:
    """
    `plain` from Gram matrices: K^T V = W_k (Y^T Y) W_v^T, and [Z, A] W_o is one matrix per image.

    One reduction over the pixels, a small softmax, and a 1x1 convolution with weights per image.
    """
    height, width = visible.shape[-2:]
    y_and_u = [
        functional.conv2d(map_, embed_weight[i, :, :, None, None], embed_bias[i])
        .relu()
        .flatten(2)
        .chunk(2, dim=1)  # (B, C, N) each
        for i, map_ in enumerate((visible, infrared, semantic))
    ]
    semantic_y, semantic_u = y_and_u[2]
    key_side = (y_and_u[0][0], y_and_u[1][0], semantic_u)
    wide = torch.promote_types(visible.dtype, torch.float32)
    attention = [
        _attention(tokens.to(wide), key_weight[i], value_weight[i], temperature[i])
        for i, tokens in enumerate(key_side)
    ]

    def refine(i: int, map_: Tensor) -> Tensor:
        from_semantic, from_modality = out_weight[i].to(wide).chunk(2, dim=1)  # (C, C) each
        matrix = torch.cat(
            (_aggregate(from_semantic, attention[i]), _aggregate(from_modality, attention[2])),
            dim=-1,
        ).to(map_.dtype)  # (B, C, 2C)
        looked_up = matrix @ torch.cat((semantic_y, y_and_u[i][1]), dim=1)
        refined = map_ + looked_up.unflatten(-1, (height, width)) + out_bias[i, :, None, None]
        return _layer_norm_channels(refined, norm_weight[i], norm_bias[i])

    return refine(0, visible), refine(1, infrared)


def _attention(
    tokens: Tensor, key_weight: Tensor, value_weight: Tensor, temperature: Tensor
) -> Tensor:
    """Tokens (B, C, N) to the attention of every head (B, h, d, d), key channels first."""
    heads, wide = temperature.shape[0], tokens.dtype
    gram_matrix = tokens @ tokens.transpose(-2, -1) / tokens.shape[-1]  # (B, C, C)
    key = key_weight.to(wide).unflatten(0, (heads, -1))  # (h, d, C)
    value = value_weight.to(wide).unflatten(0, (heads, -1))
    context = key @ gram_matrix[:, None] @ value.transpose(-2, -1)
    return (context * temperature[:, None, None].to(wide)).softmax(dim=-2)


def _aggregate(out_weight: Tensor, attention: Tensor) -> Tensor:
    """Output weight (C, C) after attention (B, h, d, d): one matrix (B, C, C) on the query."""
    by_head = out_weight.unflatten(1, (attention.shape[1], -1)).transpose(0, 1)  # (h, C, d)
    return (by_head @ attention.transpose(-2, -1)).transpose(1, 2).flatten(2)


def _layer_norm_channels(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """LayerNorm over the channels of (B, C, H, W), in at least FP32."""
    wide = features.to(torch.promote_types(features.dtype, torch.float32))
    centred = wide - wide.mean(dim=1, keepdim=True)
    scale = (centred.square().mean(dim=1, keepdim=True) + EPSILON).rsqrt()
    normal = (centred * scale).to(features.dtype)
    return normal * weight[:, None, None] + bias[:, None, None]


def interactive_attention(*maps_and_parameters: Tensor) -> tuple[Tensor, Tensor]:
    """
    HIA by the device's kernels if they are in use, otherwise by `gram`; arguments of `plain`.

    In an ONNX export it is one node.
    """
    if torch.onnx.is_in_onnx_export():
        visible, infrared = maps_and_parameters[:2]
        refined = torch.onnx.ops.symbolic_multi_out(
            "segmif::InteractiveAttention",
            maps_and_parameters,
            {"epsilon": EPSILON, "plugin_namespace": "segmif", "plugin_version": "1"},
            dtypes=(visible.dtype, infrared.dtype),
            shapes=(visible.shape, infrared.shape),
            version=1,
        )
        return refined[0], refined[1]
    kind = maps_and_parameters[0].device.type
    implementation = device_kernels.get(kind, gram)
    if kind == "meta" or not torch.is_autocast_enabled(kind):
        return implementation(*maps_and_parameters)
    # autocast would sum over the pixels in FP16, which ends at 65504; the implementations do not
    narrow = torch.get_autocast_dtype(kind)
    cast = [
        each if place == TEMPERATURE else each.to(narrow)
        for place, each in enumerate(maps_and_parameters)
    ]
    with torch.autocast(kind, enabled=False):
        return implementation(*cast)
