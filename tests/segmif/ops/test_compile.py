"""
The kernels compile for every GPU without a warning, and in FP16 all stays in registers.

For every GPU that takes four minutes of a core. So it is done once for a state of sources, flags
and compiler, which `python -m tests.segmif.ops.test_compile` notes. While nothing of that changes,
one GPU is enough.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from segmif.ops.native import SOURCES, Kernels
from segmif.ops.native_pixels import PixelKernels

NVCC = shutil.which("nvcc") or ""
TARGETS = (75, 80, 86, 87, 89, 90, 100, 110, 120)  # T4 to Blackwell; 87 is Orin, 110 is Thor
SAMPLE = (90,)  # of the targets, while nothing has changed
GENERATIONS = (75, 80, 90, 100)  # nvcc 13.0 makes the same PTX from one to the next, by diff
# Of FP16: three passes for four widths; a survey, and the colours for three strides.
KERNELS = {"interactive_attention": 3 * 4, "pixels": 1 + 3}
STRICT = ("-std=c++17", "-O3", "--threads=0", "-Werror=all-warnings", "-Xptxas=-v")
KIND = ("-shared", "-Xcompiler=-fPIC")
RECORD = Path(__file__).with_name("compiled.json")
# Bytes of a kernel's stack and of registers that did not fit, by ptxas.
FRAME = r"""properties for \S+_kernelI6__half\S*
 *(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"""


def generations(targets: Sequence[int]) -> list[str]:
    """Flags for targets; those of a generation share their PTX, for it is the same."""
    texts = [path.read_text() for path in SOURCES.glob("*.cu*")]
    told = {int(cc) // 10 for text in texts for cc in re.findall(r"__CUDA_ARCH__\W+(\d+)", text)}
    assert told <= {*GENERATIONS}  # of which the source tells one from another
    codes: dict[int, list[str]] = {first: [] for first in GENERATIONS}
    for cc in targets:
        codes[max(first for first in GENERATIONS if first <= cc)].append(f"sm_{cc}")
    if targets == TARGETS:
        codes[GENERATIONS[-1]].append(f"compute_{GENERATIONS[-1]}")  # for GPUs to come
    return [f"-gencode=arch=compute_{cc},code=[{','.join(of)}]" for cc, of in codes.items() if of]


def compiled(folder: Path, name: str, targets: Sequence[int]) -> tuple[Path, str]:
    """A library of a source for the targets, and what ptxas says; a warning is an error."""
    library, source = folder / f"{name}.so", str(SOURCES / f"{name}.cu")
    command = [NVCC, *STRICT, *KIND, *generations(targets), source, "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return library, done.stderr


def check(folder: Path, name: str, targets: Sequence[int]) -> None:
    """Compile a source for the targets, and read what became of its kernels."""
    library, said = compiled(folder, name, targets)
    frames = [tuple(map(int, frame)) for frame in re.findall(FRAME, said)]
    assert len(frames) == KERNELS[name] * len(targets)
    assert max(map(max, frames)) == 0
    loads = Kernels if name == "interactive_attention" else PixelKernels
    assert loads(library, "cuda")  # without a driver


def state() -> dict[str, object]:
    """All that the result for every GPU depends on."""
    sources = {
        path.name: sha256(path.read_bytes()).hexdigest() for path in sorted(SOURCES.iterdir())
    }
    compiler = subprocess.run([NVCC, "--version"], capture_output=True, text=True, check=True)
    flags = [*STRICT, *KIND, *generations(TARGETS)]
    return {"nvcc": compiler.stdout.split("Build ")[-1].strip(), "flags": flags, "of": sources}


@pytest.mark.skipif(not NVCC, reason="no nvcc: the kernels are not compiled for GPUs here")
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_compile_for_every_gpu(tmp_path: Path, name: str) -> None:
    unchanged = json.loads(RECORD.read_text()) == state()
    check(tmp_path, name, SAMPLE if unchanged else TARGETS)


@pytest.mark.skipif(not NVCC or not shutil.which("cmake"), reason="no nvcc or no cmake")
def test_a_build_for_a_gpu_that_is_not_there_says_what_to_name(tmp_path: Path) -> None:
    source = Path(__file__).parents[3] / "export" / "plugin"
    command = ["cmake", "-S", str(source), "-B", str(tmp_path)]
    nowhere = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=nowhere)
    assert done.returncode != 0
    message = " ".join(done.stderr.split())
    assert "There is no GPU here to build for: name one by its compute capability" in message


def note_state() -> None:
    """Check every source for every GPU, then note for what state that holds."""
    for name in KERNELS:
        with TemporaryDirectory() as folder:
            check(Path(folder), name, TARGETS)
    RECORD.write_text(json.dumps(state(), indent=2) + "\n")


if __name__ == "__main__":
    note_state()
