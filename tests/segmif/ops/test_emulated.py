"""The kernels' GPU form on threads of this CPU: blocks, barriers, warps, tensor cores, launches."""

import ctypes
import subprocess
from pathlib import Path

import pytest
import torch

from segmif.ops.hia import EPSILON
from segmif.ops.native import TYPES, KernelError, Kernels, Shape
from segmif.ops.native_pixels import PixelKernels
from tests.segmif.ops.emulation import OS_THREADS, SM_75, SM_90, built, written_as_gpu_form
from tests.segmif.ops.test_native import arguments, assert_as_exact_as_torch
from tests.segmif.ops.test_native_pixels import assert_pixels_are_plain, scene

PROGRAM = Path(__file__).parents[3] / "benchmarks" / "gpu" / "sizes.cpp"


@pytest.fixture(scope="module")
def attention(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The attention as a GPU runs it."""
    return written_as_gpu_form(tmp_path_factory.mktemp("gpu"), "interactive_attention")


@pytest.fixture(scope="module")
def pixels(attention: Path) -> Path:
    """The last pixels, beside it."""
    return written_as_gpu_form(attention.parent, "pixels")


@pytest.fixture(scope="module")
def emulated(attention: Path) -> Path:
    """The attention as a library for this CPU."""
    return built(attention, SM_90, "-O2")


@pytest.fixture(scope="module")
def sm_75(attention: Path) -> Path:
    """It for an older GPU, and with blocks of half as many threads."""
    return built(attention, SM_75, "-DSEGMIF_THREADS=128", "-O0")  # compiling takes longest


def number_in(library: Path, name: str) -> int:
    return ctypes.c_int.in_dll(ctypes.CDLL(str(library)), name).value


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


def test_threads_make_the_same_pixels(pixels: Path) -> None:
    """The same with counting in shared memory."""
    library = built(pixels, SM_90, "-O0")
    kernels, before = PixelKernels(library, "cpu"), number_in(library, "early_launches")
    assert_pixels_are_plain(kernels, scene(2, 64, 96, 9, torch.float16), 2)
    assert_pixels_are_plain(kernels, scene(1, 32, 64, 3, torch.float32), 1)
    assert number_in(library, "early_launches") == before + 2


def test_the_shallower_products_of_sm_75_compute_the_same(sm_75: Path) -> None:
    assert_as_exact_as_torch(
        Kernels(sm_75, "cpu"), arguments((1, 24, 3, 13, 7), 1.0, torch.float16)
    )


def test_kernels_begin_early_only_if_they_were_compiled_to_wait(
    emulated: Path, sm_75: Path
) -> None:
    """The stand-in runs the kernel in front when it is waited for: garbage is read without."""
    given = arguments((1, 16, 4, 3, 5), 1.0, torch.float16)
    for library, early in ((emulated, 2), (sm_75, 0)):
        before = number_in(library, "early_launches")
        Kernels(library, "cpu").attention(*given)
        assert number_in(library, "early_launches") == before + early


def test_a_refusal_is_not_taken_for_the_next_calls_own(sm_75: Path) -> None:
    kernels, good = Kernels(sm_75, "cpu"), arguments((1, 8, 2, 4, 8), 1.0, torch.float16)
    before = kernels.attention(*good)
    with pytest.raises(KernelError, match="an error of the emulated runtime"):
        kernels.attention(*arguments((1, 64, 8, 4, 8), 1.0, torch.float32))
    assert all(torch.equal(*each) for each in zip(kernels.attention(*good), before, strict=True))


def test_prepared_kernels_load_nothing_at_their_first_use(sm_75: Path) -> None:
    library = ctypes.CDLL(str(sm_75))
    shape = Shape(1, 40, 5, 4, 8, TYPES[torch.float16], 0, EPSILON)
    assert library.segmif_attention_prepare(ctypes.byref(shape)) == 0
    prepared = number_in(sm_75, "first_uses")
    Kernels(sm_75, "cpu").attention(*arguments((1, 40, 5, 4, 8), 1.0, torch.float16))
    assert number_in(sm_75, "first_uses") == prepared > 3  # three kernels, and what a GPU holds


def test_a_block_of_the_last_pass_begins_with_one_wide_copy(sm_75: Path) -> None:
    """Reads of one value each would wait for one another: 19 rounds before the first pixel."""
    Kernels(sm_75, "cpu").attention(*arguments((1, 40, 5, 4, 8), 1.0, torch.float16))
    assert number_in(sm_75, "narrow_reads_of_last_launch") == 0


def test_the_last_pass_begins_with_what_the_first_one_read_last(sm_75: Path) -> None:
    """The L2 cache still has it."""
    given = arguments((1, 16, 4, 4, 16), 1.0, torch.float16)  # two strips of 32 pixels
    Kernels(sm_75, "cpu").attention(*given)
    first = ctypes.c_void_p.in_dll(ctypes.CDLL(str(sm_75)), "first_read_of_last_launch").value
    assert first == given[2].data_ptr() + 32 * given[2].element_size()  # of the semantic map


def test_the_threads_of_a_block_are_chosen_by_the_build(emulated: Path, sm_75: Path) -> None:
    for library, threads in ((emulated, 256), (sm_75, 128)):
        Kernels(library, "cpu").attention(*arguments((1, 16, 4, 3, 5), 1.0, torch.float16))
        assert number_in(library, "threads_of_last_launch") == threads


@pytest.mark.parametrize(("channels", "held"), [(16, 6), (48, 2), (64, 1)])
def test_as_many_blocks_refine_as_a_gpu_holds(emulated: Path, channels: int, held: int) -> None:
    """On one multiprocessor of 100 KiB and 1536 threads."""
    Kernels(emulated, "cpu").attention(*arguments((1, channels, 8, 32, 64), 1.0, torch.float16))
    assert number_in(emulated, "blocks_of_last_launch") == held


@pytest.mark.parametrize(
    ("sanitizer", "optimise"),  # what each compiles and runs soonest with
    [("thread", "-O1"), ("address,undefined", "-O0")],
)
def test_threads_neither_race_nor_leave_their_memory(
    attention: Path, pixels: Path, sanitizer: str, optimise: str
) -> None:
    stops = "-fno-sanitize-recover=undefined"
    sanitized = (f"-fsanitize={sanitizer}", stops, OS_THREADS)
    flags = (SM_90, optimise, *sanitized, str(PROGRAM), str(pixels))
    program = built(attention, *flags, library=False)
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:4000]
