"""The kernels' source, built for this CPU, computes what plain torch does, as exactly."""

import ctypes
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch import Tensor

from segmif.model.network import Network
from segmif.ops.hia import EPSILON, TEMPERATURE, device_kernels, gram, interactive_attention, plain
from segmif.ops.native import SOURCES, TYPES, KernelError, Kernels, Shape, operator, use
from tests.segmif.ops.test_hia import arguments as exact_arguments
from tests.segmif.ops.test_hia import error

COMPILER = shutil.which("g++") or shutil.which("c++")
SIZES = [  # B, C, h, H, W
    (1, 8, 2, 1, 1),
    (2, 24, 3, 13, 7),
    (1, 40, 5, 97, 1),
    (3, 16, 4, 5, 64),
    (2, 10, 2, 9, 4),  # channels that do not divide by 4, pixels that do
    (1, 64, 8, 60, 80),
    (1, 8, 1, 480, 640),
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


GPU = Path(__file__).parent / "gpu"
EMULATED = ["-std=c++20", "-D__CUDACC__", f"-I{GPU}", f"-I{SOURCES}", "-Wno-unknown-pragmas"]
SM_80 = "-D__CUDA_ARCH__=800"


def calls_for_asm(source: str) -> str:
    """Each asm statement as a call by the instruction's name, {registers} as C++ lists."""

    def call(statement: re.Match[str]) -> str:
        words = "".join(re.findall('"(.*?)"', statement[1]))
        instruction, operands = words.strip(" ;").split(" ", 1)
        given = re.findall(r'"[+=]?[rf]"\((.*?)\)\s*(?=[,:]|$)', statement[2])
        values = re.sub(r"%(\d+)", lambda place: given[int(place[1])], operands)
        return f"{instruction.replace('.', '_')}({values});"

    asm = r'asm(?: volatile)?\(\s*((?:"[^"]*"\s*)+):([^;]*)\);'
    calls, count = re.subn(asm, call, source)
    assert count == source.count("asm") == 3
    return f'#include "ptx.h"\n{calls}'


def written_as_gpu_form(folder: Path, name: str, kernels: int) -> Path:
    """A source with that number of kernels as a GPU runs it, in the words of `gpu/cuda_fp16.h`."""
    compiler = COMPILER or pytest.skip("no C++ compiler: the GPU form is not tried here")
    probe = subprocess.run(
        [compiler, "-std=c++20", "-x", "c++", "-c", "-", "-o", "/dev/null"],
        input="_Float16 half = 1;",
        text=True,
    )
    if probe.returncode:
        pytest.skip("this C++ compiler has no half")
    for part in (*SOURCES.glob("*.cuh"), *SOURCES.glob("*.h")):
        shutil.copy(part, folder)
    instructions = folder / "tensor_core.cuh"
    instructions.write_text(calls_for_asm(instructions.read_text()))
    source = (SOURCES / f"{name}.cu").read_text()
    source = source.replace(
        "extern __shared__ __align__(128) char shared[];", "char* shared = dynamic_shared();"
    )
    source, launches = re.subn(r"(\w+_kernel<[^<>]*>)<<<(.*?)>>>\(", r"launch_of(\1, \2)(", source)
    assert launches == kernels
    path = folder / f"{name}.cpp"
    path.write_text(source)
    return path


@pytest.fixture(scope="module")
def gpu_form(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The attention as a GPU runs it."""
    return written_as_gpu_form(tmp_path_factory.mktemp("gpu"), "interactive_attention", 3)


def library_of(gpu_form: Path, architecture: str, optimise: str) -> Path:
    library = gpu_form.with_name(f"{architecture}.so")
    flags = [*EMULATED, architecture, optimise, "-shared", "-fPIC"]
    subprocess.run([str(COMPILER), *flags, gpu_form, "-o", library], check=True)
    return library


@pytest.fixture(scope="module")
def emulated(gpu_form: Path) -> Path:
    """It as a library for this CPU."""
    return library_of(gpu_form, SM_80, "-O2")


@pytest.mark.parametrize(
    ("dtype", "sizes"),
    [
        (torch.float16, [(2, 24, 3, 13, 7), (1, 40, 5, 97, 1), (1, 64, 8, 5, 16)]),
        (
            torch.float32,
            [(1, 24, 3, 5, 7)],
        ),  # few pixels: its lanes wait for each other all the time
    ],
)
def test_threads_and_tensor_cores_compute_the_same(
    emulated: Path, dtype: torch.dtype, sizes: list[tuple[int, ...]]
) -> None:
    """256 threads a block, their barriers, warps and tensor cores, on shared garbage."""
    for size in sizes:
        assert_as_exact_as_torch(Kernels(emulated, "cpu"), arguments(size, 1.0, dtype))


@pytest.fixture(scope="module")
def sm_75(gpu_form: Path) -> Path:
    """It for a GPU with shallower products and 64 KiB of shared memory a block."""
    return library_of(gpu_form, "-D__CUDA_ARCH__=750", "-O0")  # compiling takes longest


def test_the_shallower_products_of_sm_75_compute_the_same(sm_75: Path) -> None:
    assert_as_exact_as_torch(
        Kernels(sm_75, "cpu"), arguments((1, 24, 3, 13, 7), 1.0, torch.float16)
    )


def test_a_refusal_is_not_taken_for_the_next_calls_own(sm_75: Path) -> None:
    kernels, good = Kernels(sm_75, "cpu"), arguments((1, 8, 2, 4, 8), 1.0, torch.float16)
    before = kernels.attention(*good)
    with pytest.raises(KernelError, match="an error of the emulated runtime"):
        kernels.attention(*arguments((1, 64, 8, 4, 8), 1.0, torch.float32))
    assert all(torch.equal(*each) for each in zip(kernels.attention(*good), before, strict=True))


def test_prepared_kernels_load_nothing_at_their_first_use(sm_75: Path) -> None:
    library = ctypes.CDLL(str(sm_75))
    first_uses = ctypes.c_int.in_dll(library, "first_uses")
    shape = Shape(1, 40, 5, 4, 8, TYPES[torch.float16], 0, EPSILON)
    assert library.segmif_attention_prepare(ctypes.byref(shape)) == 0
    prepared = first_uses.value
    Kernels(sm_75, "cpu").attention(*arguments((1, 40, 5, 4, 8), 1.0, torch.float16))
    assert first_uses.value == prepared > 3  # three kernels, and the blocks that a GPU holds


def test_a_block_of_the_last_pass_begins_with_one_wide_copy(sm_75: Path) -> None:
    """Reads of one value each would wait for one another: 19 rounds before the first pixel."""
    library = ctypes.CDLL(str(sm_75))
    Kernels(sm_75, "cpu").attention(*arguments((1, 40, 5, 4, 8), 1.0, torch.float16))
    assert ctypes.c_int.in_dll(library, "narrow_reads_of_last_launch").value == 0


@pytest.mark.parametrize(("channels", "held"), [(16, 6), (48, 2), (64, 1)])
def test_as_many_blocks_refine_as_a_gpu_holds(emulated: Path, channels: int, held: int) -> None:
    """On one multiprocessor of 100 KiB and 1536 threads."""
    Kernels(emulated, "cpu").attention(*arguments((1, channels, 8, 32, 64), 1.0, torch.float16))
    blocks = ctypes.c_uint.in_dll(ctypes.CDLL(str(emulated)), "blocks_of_last_launch").value
    assert blocks == held


@pytest.mark.parametrize(
    ("sanitizer", "optimise"),  # what each compiles and runs soonest with
    [("thread", "-O1"), ("address,undefined", "-O0")],
)
def test_threads_neither_race_nor_leave_their_memory(
    gpu_form: Path, sanitizer: str, optimise: str
) -> None:
    program = gpu_form.with_name(sanitizer)
    flags = [
        *EMULATED,
        SM_80,
        optimise,
        f"-fsanitize={sanitizer}",
        "-fno-sanitize-recover=undefined",
    ]
    sources = (str(gpu_form), str(GPU / "sizes.cpp"))
    subprocess.run([str(COMPILER), *flags, *sources, "-o", str(program)], check=True)
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:4000]


NVCC = shutil.which("nvcc") or ""
TARGETS = (75, 80, 86, 87, 89, 90, 100, 110, 120)  # T4 to Blackwell; 87 is Orin, 110 is Thor


@pytest.mark.skipif(not NVCC, reason="no nvcc: the kernels are not compiled for GPUs here")
def test_kernels_compile_for_every_gpu(tmp_path: Path) -> None:
    architectures = [f"-gencode=arch=compute_{cc},code=sm_{cc}" for cc in TARGETS]
    newest = f"-gencode=arch=compute_{TARGETS[-1]},code=compute_{TARGETS[-1]}"
    library = tmp_path / "libsegmif_attention.so"
    flags = ["-std=c++17", "-O3", "--threads=0", "-Werror=all-warnings", "-shared", "-Xptxas=-v"]
    source = SOURCES / "interactive_attention.cu"
    command = [NVCC, *flags, "-Xcompiler=-fPIC", *architectures, newest, source, "-o", library]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    frames = r"properties for \S*(?:sum_tokens|refine)_kernelI6__half\S*\n *(\d+) bytes stack frame"
    sizes = [int(size) for size in re.findall(frames, done.stderr)]
    # spilled or indexed while running: nvcc 13.0 has a few words, a product would be hundreds
    assert len(sizes) == 8 * len(TARGETS) and max(sizes) <= 64
    assert Kernels(library, "cuda")  # loads without a driver


@pytest.mark.skipif(not NVCC or not shutil.which("cmake"), reason="no nvcc or no cmake")
def test_a_build_for_a_gpu_that_is_not_there_says_what_to_name(tmp_path: Path) -> None:
    source = Path(__file__).parents[3] / "export" / "plugin"
    command = ["cmake", "-S", str(source), "-B", str(tmp_path)]
    nowhere = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=nowhere)
    assert done.returncode != 0
    message = " ".join(done.stderr.split())
    assert "There is no GPU here to build for: name one by its compute capability" in message
