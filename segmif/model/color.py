"""From fused luma to a colour image: chroma of visible, and a hue for what stands out in heat."""

import torch
from torch import Tensor
from torch.nn import functional

from segmif.model.blocks import upsample
from segmif.thermal.surroundings import (
    BESIDE,
    CELL,
    MIN_DEVIATION,
    NO_DATA,
    OUTLIER,
    OVERALL,
    REACH,
)

# ITU-R BT.601, as every paper of the field and OpenCV compute Y from RGB
RED, GREEN, BLUE = 0.299, 0.587, 0.114
TIE_BREAK = (
    0.0005  # luma of whole levels comes in thousandths: with this, no precision meets a half
)

# Change of red, green and blue for more Cr and as much less Cb: orange; the opposite is blue
ORANGE = (1.402, -0.714136 + 0.344136, -1.772)

STRONGEST = 0.18  # gain of Cr for a `warmth` of 1 and a tint of 1, as share of a pixel's luma

COLDEST, WARMEST = -3.0, 4.5  # range of the hue, in mean deviations beyond what is ordinary
DARK = 8 / 255  # a darker pixel counts less: pixels without data are black


def luma(rgb: Tensor) -> Tensor:
    """(B, H, W, 3) RGB to (B, H, W) Y in the same range."""
    return _luma_of_planes(rgb.permute(0, 3, 1, 2))


def attach_chroma(fused_luma: Tensor, rgb: Tensor) -> Tensor:
    """
    The colour image (B, H, W, 3) with the luma `fused_luma` (B, H, W) and the chroma of `rgb`, all
    in [0, 1].

    R = Y + 1.402 Cr with Cr = (R - Y) / 1.402, B and G likewise. So a change of Y with Cb and Cr
    kept is the same change of every channel.
    """
    # in planes: ONNX Runtime takes 2 ms for each sum or product along an axis of three
    planes = rgb.permute(0, 3, 1, 2)
    changed = planes + (fused_luma - _luma_of_planes(planes)).unsqueeze(1)
    return changed.clamp(0, 1).permute(0, 2, 3, 1)


def warmth(infrared: Tensor) -> Tensor:
    """
    How far each pixel of infrared (B, H, W) in [0, 1] stands out as warmer or colder.

    In mean deviations beyond what is ordinary there, (B, H, W) in [COLDEST, WARMEST]. A linear gain
    changes nothing as long as OVERALL deviations are more than MIN_DEVIATION. Black pixels have no
    data and are left out. H and W divide by CELL.
    """
    known = (infrared > 0).to(infrared.dtype)
    level, deviation = _mean_and_deviation(infrared, known)
    level, deviation = _mean_and_deviation(
        infrared.clamp(level - OUTLIER * deviation, level + OUTLIER * deviation), known
    )
    deviation = deviation.clamp_min(MIN_DEVIATION)
    coldest, warmest = _ordinary(infrared, known, level, deviation)
    beyond = (infrared - infrared.clamp(coldest, warmest)) / deviation
    return beyond.clamp(COLDEST, WARMEST) * (infrared / DARK).clamp_max(1)


def _ordinary(
    infrared: Tensor, known: Tensor, level: Tensor, deviation: Tensor
) -> tuple[Tensor, Tensor]:
    """
    The lowest and the highest ordinary value of each pixel, (B, H, W).

    Surroundings are grey-scale openings and closings (Serra, 1982): they keep what is large, as a
    road in the sun, and drop what is smaller than their window.
    """
    level, deviation = level.unsqueeze(1), deviation.unsqueeze(1)
    data = functional.avg_pool2d(known.unsqueeze(1), CELL)  # share of a cell that has any
    sums = functional.avg_pool2d(infrared.unsqueeze(1), CELL)
    cells = (sums + NO_DATA * level) / (data + NO_DATA)  # without data: the frame's mean
    opened, closed = _greatest(-_greatest(-cells)), -_greatest(-_greatest(cells))
    beside, overall = BESIDE * deviation, (OVERALL * deviation).clamp_min(MIN_DEVIATION)
    warmest = torch.maximum(opened + beside, level + overall)
    coldest = torch.minimum(closed - beside, level - overall)
    both = upsample(torch.cat((coldest, warmest), dim=1), CELL)
    return both[:, 0], both[:, 1]


def _greatest(cells: Tensor) -> Tensor:
    """The greatest value (B, 1, h, w) within REACH x REACH cells around each, row by column."""
    rows = functional.max_pool2d(cells, (REACH, 1), 1, (REACH // 2, 0))
    return functional.max_pool2d(rows, (1, REACH), 1, (0, REACH // 2))


def _mean_and_deviation(values: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and mean deviation, (B, 1, 1), of values (B, H, W) that are `known` (1, else 0)."""
    pixels = _sum_pixels(known).clamp_min(1)
    level = _sum_pixels(values * known) / pixels
    return level, _sum_pixels((values - level).abs() * known) / pixels


def _sum_pixels(values: Tensor) -> Tensor:
    """(B, 1, 1) from (B, H, W), row by row: ONNX Runtime's error grows with the terms of a sum."""
    return values.sum(dim=2, keepdim=True).sum(dim=1, keepdim=True)


def tinted(levels: Tensor, shift: Tensor) -> Tensor:
    """
    A colour image (B, H, W, 3) in whole levels [0, 255] with Cr increased and Cb decreased by
    `shift` (B, H, W), in levels.

    The shift ends at the range of a channel. Luma keeps its level: green, which weighs most,
    compensates rounding. A shift of 0 changes nothing.
    """
    # in planes: ONNX Runtime takes 2 ms for each sum or product along an axis of three
    planes = levels.permute(0, 3, 1, 2)
    orange = _channel_constant(levels, ORANGE)
    full = 255 * (orange > 0).to(levels.dtype)  # the end of a channel's range towards orange
    room = ((full - planes) / orange).amin(dim=1), ((255 - full - planes) / orange).amax(dim=1)
    shift = torch.maximum(torch.minimum(shift, room[0]), room[1])
    changed = (planes + orange * shift.unsqueeze(1)).round()
    wanted = (_luma_of_planes(planes) + TIE_BREAK).round()
    missing = (wanted - _luma_of_planes(changed)) / GREEN * shift.sign().abs()
    changed = changed + _channel_constant(levels, (0, 1, 0)) * missing.round().unsqueeze(1)
    return changed.clamp(0, 255).permute(0, 2, 3, 1)


def _luma_of_planes(planes: Tensor) -> Tensor:
    # as a 1x1 convolution: a matrix product with one column took ONNX Runtime 35 ms at 480x640
    return functional.conv2d(planes, _channel_constant(planes, (RED, GREEN, BLUE))).squeeze(1)


def _channel_constant(like: Tensor, values: tuple[float, float, float]) -> Tensor:
    """Three numbers (1, 3, 1, 1), filled on the device of `like`: no copy in a CUDA graph."""
    return torch.stack([like.new_full((), value) for value in values]).view(1, 3, 1, 1)
