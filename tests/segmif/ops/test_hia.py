"""HIA: the Gram form is the plain form, in every precision, at awkward sizes."""

import pytest
import torch
from torch import Tensor

from segmif.ops.hia import TEMPERATURE, gram, interactive_attention, plain

SIZES = [(1, 8, 2, 1, 1), (2, 24, 3, 13, 7), (1, 40, 5, 97, 1), (3, 16, 4, 5, 64)]  # B, C, h, H, W


def arguments(size: tuple[int, ...], scale: float = 1.0) -> list[Tensor]:
    """Maps of the given scale and parameters that make every head's softmax uneven, in float64."""
    batch, channels, heads, height, width = size
    random = torch.Generator().manual_seed(sum(size))

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    weight = channels**-0.5
    return [
        *(scale * normal(batch, channels, height, width) for _ in range(3)),
        weight * normal(3, 2 * channels, channels),
        normal(3, 2 * channels) / 4,
        weight * normal(3, channels, channels),
        weight * normal(3, channels, channels),
        4 * normal(3, heads).exp(),
        weight * normal(2, channels, 2 * channels),
        normal(2, channels) / 4,
        1 + normal(2, channels) / 4,
        normal(2, channels) / 4,
    ]


def error(given: tuple[Tensor, Tensor], exact: tuple[Tensor, Tensor]) -> float:
    return max(
        (ours.double() - truth).abs().max().item() for ours, truth in zip(given, exact, strict=True)
    )


@pytest.mark.parametrize("size", SIZES)
def test_gram_form_is_the_plain_form(size: tuple[int, ...]) -> None:
    exact = arguments(size)
    # both do a few hundred roundings of values of order one
    assert error(gram(*exact), plain(*exact)) < 1e3 * torch.finfo(torch.float64).eps


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0])
def test_gram_form_errs_at_most_twice_plain_torch(
    size: tuple[int, ...], dtype: torch.dtype, scale: float
) -> None:
    rounded = [array.to(dtype) for array in arguments(size, scale)]
    exact = plain(*(array.double() for array in rounded))
    ulp = torch.finfo(dtype).eps * max(map_.abs().max().item() for map_ in exact)
    assert error(gram(*rounded), exact) <= 2 * error(plain(*rounded), exact) + ulp


def test_attention_does_not_change_with_the_image_size() -> None:
    """The same scene, tiled to four times the pixels, is refined alike: the context is a mean."""
    small = arguments((1, 16, 2, 6, 5))
    large = [map_.repeat(1, 1, 2, 2) for map_ in small[:3]] + small[3:]
    for ours, tiled in zip(gram(*small), gram(*large), strict=True):
        torch.testing.assert_close(ours.repeat(1, 1, 2, 2), tiled)


def test_half_precision_survives_bright_maps() -> None:
    """Summed without 1/N these Gram matrices pass 65504, the end of FP16."""
    bright = [map_ + 20 for map_ in arguments((1, 16, 2, 48, 48))[:3]]
    given = [array.half() for array in bright + arguments((1, 16, 2, 48, 48))[3:]]
    assert all(map_.isfinite().all() for map_ in gram(*given))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_sums_over_the_pixels_in_fp32(dtype: torch.dtype) -> None:
    """It computes what a network in that precision does, to the bit; gradients are FP32 again."""
    maps, parameters = arguments((1, 16, 2, 48, 48))[:3], arguments((1, 16, 2, 48, 48))[3:]
    given = [array.float().requires_grad_() for array in [map_ + 20 for map_ in maps] + parameters]
    narrow = [a if i == TEMPERATURE else a.to(dtype) for i, a in enumerate(given)]
    with torch.autocast("cpu", dtype=dtype):
        refined = interactive_attention(*given)
    for ours, wanted in zip(refined, gram(*narrow), strict=True):
        assert ours.isfinite().all() and torch.equal(ours, wanted)
    gradients = torch.autograd.grad(refined[0].sum() + refined[1].sum(), given)
    assert all(each.dtype == torch.float32 and each.isfinite().all() for each in gradients)
