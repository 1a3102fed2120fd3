"""The kernels compile for every GPU without a warning, and in FP16 all stays in registers."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from segmif.ops.native import SOURCES, Kernels
from segmif.ops.native_pixels import PixelKernels

NVCC = shutil.which("nvcc") or ""
TARGETS = (75, 80, 86, 87, 89, 90, 100, 110, 120)  # T4 to Blackwell; 87 is Orin, 110 is Thor
GENERATIONS = (75, 80, 90, 100)  # nvcc 13.0 makes the same PTX from one to the next, by diff
# Of FP16: three passes for four widths; a survey, and the colours for three strides.
KERNELS = {"interactive_attention": 3 * 4, "pixels": 1 + 3}
# Bytes of a kernel's stack and of registers that did not fit, by ptxas.
FRAME = r"""properties for \S+_kernelI6__half\S*
 *(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"""


def generations() -> list[str]:
    """Flags for all targets; those of a generation share their PTX, for it is the same."""
    texts = [path.read_text() for path in SOURCES.glob("*.cu*")]
    told = {int(cc) // 10 for text in texts for cc in re.findall(r"__CUDA_ARCH__\W+(\d+)", text)}
    assert told <= {*GENERATIONS}  # of which the source tells one from another
    targets: dict[int, list[str]] = {first: [] for first in GENERATIONS}
    for cc in TARGETS:
        targets[max(first for first in GENERATIONS if first <= cc)].append(f"sm_{cc}")
    targets[GENERATIONS[-1]].append(f"compute_{GENERATIONS[-1]}")  # for GPUs to come
    return [f"-gencode=arch=compute_{cc},code=[{','.join(of)}]" for cc, of in targets.items()]


def compiled(folder: Path, name: str, *flags: str) -> tuple[Path, str]:
    """A library of a source for all targets, and what ptxas says; a warning is an error."""
    library, source = folder / f"{name}.so", str(SOURCES / f"{name}.cu")
    strict = ["-std=c++17", "-O3", "--threads=0", "-Werror=all-warnings", "-Xptxas=-v"]
    kind = ["-shared", "-Xcompiler=-fPIC", *generations(), *flags]
    command = [NVCC, *strict, *kind, source, "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return library, done.stderr


@pytest.mark.skipif(not NVCC, reason="no nvcc: the kernels are not compiled for GPUs here")
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_compile_for_every_gpu(tmp_path: Path, name: str) -> None:
    library, said = compiled(tmp_path, name)
    frames = [tuple(map(int, frame)) for frame in re.findall(FRAME, said)]
    assert len(frames) == KERNELS[name] * len(TARGETS)
    assert max(map(max, frames)) == 0
    loads = Kernels if name == "interactive_attention" else PixelKernels
    assert loads(library, "cuda")  # without a driver


@pytest.mark.skipif(not NVCC or not shutil.which("cmake"), reason="no nvcc or no cmake")
def test_a_build_for_a_gpu_that_is_not_there_says_what_to_name(tmp_path: Path) -> None:
    source = Path(__file__).parents[3] / "export" / "plugin"
    command = ["cmake", "-S", str(source), "-B", str(tmp_path)]
    nowhere = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=nowhere)
    assert done.returncode != 0
    message = " ".join(done.stderr.split())
    assert "There is no GPU here to build for: name one by its compute capability" in message
