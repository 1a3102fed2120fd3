"""The kernels of the last pixels, built for this CPU, make the pixels that plain torch makes."""

import subprocess

import pytest
import torch
from torch import Tensor

from segmif.model.pixels import plain
from segmif.ops.native import SOURCES, KernelError
from segmif.ops.native_pixels import PixelKernels
from tests.segmif.ops.emulation import COMPILER

# A result is a sum of some 16 products and rounds to another level if it lies within the error of
# FP32 from a half: 2 * 16 * 255 * 2^-24 of the values. Statistics err as much again.
SHARE = 1e-3
# A level of the fused frame that rounds up makes luma rise by up to a level, which green pays.
MOST = (2, 0, 1)  # levels of fused, classes, levels of confidence

SIZES = [  # B, H, W, classes, label stride
    (1, 32, 32, 1, 1),
    (2, 96, 160, 9, 1),
    (1, 256, 320, 9, 2),
    (3, 32, 224, 256, 4),
]


def scene(batch: int, height: int, width: int, classes: int, dtype: torch.dtype) -> list[Tensor]:
    """A noisy pair with large things, persons and a border without data, and noisy logits."""
    random = torch.Generator().manual_seed(height * width)
    levels = torch.randint(90, 130, (batch, height, width, 4), generator=random)
    levels[:, : height // 3] += 40  # the sky
    levels[:, height // 2 :: 24, ::40, 3] += 90  # small and warm
    levels[:, height // 2 + 4 :: 24, 10::40] = 12
    levels[:, :, : width // 8, 3] = 0  # that infrared does not see
    luma = torch.rand(batch, height, width, generator=random)
    logits = 3 * torch.randn(batch, classes, height // 4, width // 4, generator=random)
    given = [levels[..., :3], levels[..., 3], luma, logits]
    return [each.to(dtype) for each in given] + [torch.linspace(1, 0, batch)]


def assert_pixels_are_plain(kernels: PixelKernels, given: list[Tensor], label_stride: int) -> None:
    exact = plain(*(each.double() for each in given), label_stride=label_stride)
    made = kernels.pixels(*given, label_stride=label_stride)
    for ours, truth, most in zip(made, exact, MOST, strict=True):
        assert ours.dtype == given[0].dtype
        off = (ours.double() - truth).abs()
        assert off.max() <= most
        assert (off > 0).double().mean() <= SHARE


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> PixelKernels:
    if COMPILER is None:
        pytest.skip("no C++ compiler: the kernels' source is not tried here")
    library = tmp_path_factory.mktemp("pixels") / "libsegmif_pixels.so"
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run(
        [COMPILER, *flags, "-x", "c++", SOURCES / "pixels.cu", "-o", library], check=True
    )
    return PixelKernels(library, "cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("size", SIZES)
def test_kernels_make_the_pixels_of_plain_torch(
    kernels: PixelKernels, size: tuple[int, int, int, int, int], dtype: torch.dtype
) -> None:
    batch, height, width, classes, label_stride = size
    assert_pixels_are_plain(kernels, scene(batch, height, width, classes, dtype), label_stride)


@pytest.mark.parametrize("level", [0, 1, 255])
def test_a_frame_of_one_level_has_no_hue(kernels: PixelKernels, level: int) -> None:
    given = scene(1, 64, 96, 3, torch.float32)
    given[1][:] = level
    assert_pixels_are_plain(kernels, given, 1)
    *others, tint = given
    tinted, without = kernels.pixels(*given, label_stride=1), [*others, 0 * tint]
    assert torch.equal(tinted[0], kernels.pixels(*without, label_stride=1)[0])


def test_the_first_of_equal_classes_is_named(kernels: PixelKernels) -> None:
    given = scene(1, 32, 64, 5, torch.float16)
    given[3][:] = torch.tensor([0.0, 2, 1, 2, 2])[:, None, None]
    _, labels, confidence = kernels.pixels(*given, label_stride=1)
    assert (labels == 1).all()
    assert (confidence == confidence[0, 0, 0]).all()


def test_refusals_are_in_words(kernels: PixelKernels) -> None:
    given = scene(1, 32, 64, 5, torch.float32)
    with pytest.raises(KernelError, match="label_stride is not 1, 2 or 4"):
        kernels.pixels(*given, label_stride=3)
    few = [*given[:3], given[3][:, :, :1], given[4]]
    with pytest.raises(KernelError, match=r"the shapes are .* not "):
        kernels.pixels(*few, label_stride=1)
    odd = [*(each[:, :20] for each in given[:3]), given[3][:, :, :5], given[4]]
    with pytest.raises(KernelError, match="no multiples of 32"):
        kernels.pixels(*odd, label_stride=1)
    with pytest.raises(KernelError, match="all in float32 or all in float16 on cpu"):
        kernels.pixels(*(each.double() for each in given), label_stride=1)
