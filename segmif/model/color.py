"""How one fused luma becomes a colour image: chroma of visible, a hue for what infrared knows."""

import torch
from torch import Tensor
from torch.nn import functional

# ITU-R BT.601, as every paper of the field and OpenCV compute Y from RGB
RED, GREEN, BLUE = 0.299, 0.587, 0.114
NO_TIE = 0.0005  # luma of whole levels comes in thousandths: with this, no precision meets a half

# Cr gained and Cb lost alike: towards orange, against it to blue, in red, green and blue
ORANGE = (1.402, -0.714136 + 0.344136, -1.772)

# in mean deviations of infrared from its mean
ORDINARY = 1.0  # nearer to the mean nothing is warm or cold
COLDEST, WARMEST = -3.0, 4.5  # beyond ORDINARY, that are told apart
# what lies further out counts as if it lay there: a warm thing that comes in must not cool all else
FAR = 2.0
LEAST_DEVIATION = 6 / 255  # less is a sensor's noise, or no sensor
FAINT = 8 / 255  # below it infrared tells less and less: black is what no sensor looks at


def luma(rgb: Tensor) -> Tensor:
    """(B, H, W, 3) RGB to (B, H, W) Y in the same range."""
    return _luma_of_planes(rgb.permute(0, 3, 1, 2))


def attach_chroma(fused_luma: Tensor, rgb: Tensor) -> Tensor:
    """
    The colour image (B, H, W, 3) with the luma `fused_luma` (B, H, W) and the chroma of `rgb`, all
    in [0, 1].

    R = Y + 1.402 Cr with Cr = (R - Y) / 1.402 (B and G alike): to exchange Y and to keep Cb and Cr
    is to add the change of luma to every channel.
    """
    # in planes: ONNX Runtime takes 2 ms for each sum or product along an axis of three
    planes = rgb.permute(0, 3, 1, 2)
    changed = planes + (fused_luma - _luma_of_planes(planes)).unsqueeze(1)
    return changed.clamp(0, 1).permute(0, 2, 3, 1)


def warmth(infrared: Tensor) -> Tensor:
    """
    How much warmer or colder than ordinary each pixel is, of infrared (B, H, W) in [0, 1].

    In mean deviations beyond ORDINARY, (B, H, W) in [COLDEST, WARMEST]: what a gain does to
    infrared as a whole changes nothing. Black pixels say nothing and count for nothing.
    """
    known = (infrared > 0).to(infrared.dtype)
    level, deviation = _ordinary(infrared, known)
    level, deviation = _ordinary(
        infrared.clamp(level - FAR * deviation, level + FAR * deviation), known
    )
    warmer = (infrared - level) / deviation.clamp_min(LEAST_DEVIATION)
    beyond = warmer - warmer.clamp(-ORDINARY, ORDINARY)
    return beyond.clamp(COLDEST, WARMEST) * (infrared / FAINT).clamp_max(1)


def _ordinary(values: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and mean deviation, (B, 1, 1), of values (B, H, W) that are `known` (1, else 0)."""
    pixels = _total(known).clamp_min(1)
    level = _total(values * known) / pixels
    return level, _total((values - level).abs() * known) / pixels


def _total(values: Tensor) -> Tensor:
    """(B, 1, 1) from (B, H, W), row by row: ONNX Runtime adds one by one, and errs by as many."""
    return values.sum(dim=2, keepdim=True).sum(dim=1, keepdim=True)


def tinted(levels: Tensor, shift: Tensor) -> Tensor:
    """
    A colour image (B, H, W, 3) in whole levels [0, 255], its Cr more and its Cb less by `shift` (B,
    H, W), in levels.

    A hue goes as far as the channels have room. Luma stays to the level: green, which weighs most,
    makes up for what rounding takes.
    """
    # in planes: ONNX Runtime takes 2 ms for each sum or product along an axis of three
    planes = levels.permute(0, 3, 1, 2)
    orange = _three(levels, ORANGE)
    full = 255 * (orange > 0).to(levels.dtype)  # the end to which orange takes a channel
    room = ((full - planes) / orange).amin(dim=1), ((255 - full - planes) / orange).amax(dim=1)
    shift = torch.maximum(torch.minimum(shift, room[0]), room[1])
    changed = (planes + orange * shift.unsqueeze(1)).round()
    wanted = (_luma_of_planes(planes) + NO_TIE).round()
    missing = (wanted - _luma_of_planes(changed)) / GREEN
    changed = changed + _three(levels, (0, 1, 0)) * missing.round().unsqueeze(1)
    return changed.clamp(0, 255).permute(0, 2, 3, 1)


def _luma_of_planes(planes: Tensor) -> Tensor:
    # as a 1x1 convolution: a matrix product with one column took ONNX Runtime 35 ms at 480x640
    return functional.conv2d(planes, _three(planes, (RED, GREEN, BLUE))).squeeze(1)


def _three(like: Tensor, values: tuple[float, float, float]) -> Tensor:
    """Three numbers (1, 3, 1, 1), filled where `like` is: a CUDA graph cannot hold a copy."""
    return torch.stack([like.new_full((), value) for value in values]).view(1, 3, 1, 1)
