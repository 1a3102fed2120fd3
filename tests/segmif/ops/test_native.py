"""The kernels' source, built for this CPU, computes what plain torch does, as exactly."""

import subprocess
from pathlib import Path

import pytest
import torch
from torch import Tensor

from segmif.model.network import Network
from segmif.ops.hia import TEMPERATURE, device_kernels, gram, interactive_attention, plain
from segmif.ops.native import SOURCES, KernelError, Kernels, operator, use
from tests.segmif.ops.emulation import COMPILER
from tests.segmif.ops.test_hia import arguments as exact_arguments
from tests.segmif.ops.test_hia import error

SIZES = [  # B, C, h, H, W
    (1, 8, 2, 1, 1),
    (2, 24, 3, 13, 7),
    (1, 40, 5, 97, 1),
    (3, 16, 4, 5, 64),
    (2, 10, 2, 9, 4),  # channels that do not divide by 4, pixels that do
    (1, 64, 8, 60, 80),
    (1, 8, 1, 240, 320),  # 27 strips a block: it adds up many pixels
]


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    if COMPILER is None:
        pytest.skip("no C++ compiler: the kernels' source is not tried here")
    library = tmp_path_factory.mktemp("kernels") / "libsegmif_attention.so"
    source = SOURCES / "interactive_attention.cu"
    flags = ["-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([COMPILER, *flags, "-x", "c++", source, "-o", library], check=True)
    return Kernels(library, "cpu")


@pytest.fixture
def in_use(kernels: Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(device_kernels, "cpu", gram)  # remembered, and put back after the test
    use(kernels)


def arguments(size: tuple[int, ...], scale: float, dtype: torch.dtype) -> list[Tensor]:
    return [array.to(dtype) for array in exact_arguments(size, scale)]


def assert_as_exact_as_torch(kernels: Kernels, given: list[Tensor]) -> None:
    exact = plain(*(array.double() for array in given))
    ulp = torch.finfo(given[0].dtype).eps * max(map_.abs().max().item() for map_ in exact)
    torchs = error(plain(*given), exact)
    for layout in (torch.contiguous_format, torch.channels_last):
        maps = [map_.contiguous(memory_format=layout) for map_ in given[:3]]
        refined = kernels.attention(*maps, *given[3:])
        assert refined[0].shape == given[0].shape and refined[0].dtype == given[0].dtype
        assert error(refined, exact) <= 2 * torchs + ulp


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("size", SIZES)
def test_kernels_err_at_most_twice_plain_torch(
    kernels: Kernels, size: tuple[int, ...], dtype: torch.dtype
) -> None:
    assert_as_exact_as_torch(kernels, arguments(size, 1.0, dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("scale", [0.0, 1e-4, 100.0])
def test_kernels_hold_for_dark_and_bright_maps(
    kernels: Kernels, scale: float, dtype: torch.dtype
) -> None:
    assert_as_exact_as_torch(kernels, arguments((1, 24, 3, 16, 24), scale, dtype))


def test_kernels_answer_the_same_bit_for_bit(kernels: Kernels) -> None:
    given = arguments((2, 24, 3, 31, 33), 1.0, torch.float16)
    once, again = kernels.attention(*given), kernels.attention(*given)
    assert all(torch.equal(*pair) for pair in zip(once, again, strict=True))


def test_what_is_not_a_number_is_not_hidden(kernels: Kernels) -> None:
    given = arguments((1, 8, 2, 4, 4), 1.0, torch.float32)
    given[0][0, 3, 2, 1] = float("nan")
    assert kernels.attention(*given)[0].isnan().all()  # as in plain torch: the context knows it


def test_maps_may_begin_anywhere_in_a_tensor(kernels: Kernels) -> None:
    given = arguments((3, 8, 2, 3, 3), 1.0, torch.float16)
    odd = [torch.cat((map_.flatten()[:1], map_.flatten()))[1:].view_as(map_) for map_ in given[:3]]
    assert odd[0].data_ptr() % 16
    answers = kernels.attention(*odd, *given[3:]), kernels.attention(*given)
    assert all(torch.equal(*pair) for pair in zip(*answers, strict=True))


def test_refusals_are_in_words(kernels: Kernels, tmp_path: Path) -> None:
    wide = arguments((1, 72, 3, 4, 4), 1.0, torch.float32)
    with pytest.raises(KernelError, match="more than 64 channels"):
        kernels.attention(*wide)
    mixed = arguments((1, 16, 4, 4, 4), 1.0, torch.float16)
    mixed[1] = mixed[1].float()
    with pytest.raises(KernelError, match="the maps differ"):
        kernels.attention(*mixed)
    uneven = arguments((1, 16, 4, 4, 4), 1.0, torch.float32)
    uneven[TEMPERATURE] = torch.ones(3, 3)
    with pytest.raises(KernelError, match="do not divide into the heads"):
        kernels.attention(*uneven)
    with pytest.raises(KernelError, match="float32 and float16 on cpu"):
        kernels.attention(*(array.double() for array in uneven))
    (tmp_path / "no.so").write_bytes(b"nothing")
    with pytest.raises(KernelError, match="not a build of the kernels"):
        Kernels(tmp_path / "no.so", "cpu")


@pytest.mark.usefixtures("in_use")
def test_operator_keeps_torchs_rules() -> None:
    given = [array.requires_grad_() for array in arguments((2, 8, 2, 5, 6), 1.0, torch.float32)]
    torch.library.opcheck(operator, tuple(given))


@pytest.mark.usefixtures("in_use")
@pytest.mark.parametrize("mixed", [False, True])
def test_training_goes_on_through_the_kernels(mixed: bool) -> None:
    given = [array.requires_grad_() for array in arguments((2, 24, 3, 6, 9), 1.0, torch.float32)]
    weights = [torch.randn(2, 24, 6, 9, generator=torch.Generator().manual_seed(i)) for i in (1, 2)]

    def gradients() -> tuple[Tensor, ...]:
        with torch.autocast("cpu", dtype=torch.float16, enabled=mixed):
            refined = interactive_attention(*given)
        losses = [(map_ * weight).sum() for map_, weight in zip(refined, weights, strict=True)]
        return torch.autograd.grad(losses[0] + losses[1], given)

    ours = gradients()
    device_kernels["cpu"] = gram
    for found, wanted in zip(ours, gradients(), strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.usefixtures("in_use")
def test_a_network_answers_alike_on_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = Network("nano").eval()
    random = torch.Generator().manual_seed(0)
    pair = [torch.rand(1, 64, 96, 3, generator=random), torch.rand(1, 64, 96, generator=random)]
    with torch.no_grad():
        ours = network.predict(*pair)
        monkeypatch.delitem(device_kernels, "cpu")
        for found, wanted in zip(ours, network.predict(*pair), strict=True):
            torch.testing.assert_close(found, wanted)
