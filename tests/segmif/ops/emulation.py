"""The kernels' GPU form as C++ for this CPU: what `gpu/cuda_fp16.h` says of CUDA's words."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from segmif.ops.native import SOURCES

COMPILER = shutil.which("g++") or shutil.which("c++")
HERE = Path(__file__).parent / "gpu"
EMULATED = ["-std=c++20", "-D__CUDACC__", f"-I{HERE}", f"-I{SOURCES}", "-Wno-unknown-pragmas"]
SM_90 = "-D__CUDA_ARCH__=900"  # whose kernels may begin before the one in front ends
SM_75 = "-D__CUDA_ARCH__=750"  # with shallower products and 64 KiB of shared memory a block
OS_THREADS = "-DOS_THREADS"  # which sanitizers follow; without, the threads of a block take turns


def written_as_gpu_form(folder: Path, name: str) -> Path:
    """A source as a GPU runs it."""
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
    instructions.write_text(_calls_for_asm(instructions.read_text()))
    source = (SOURCES / f"{name}.cu").read_text()
    source = source.replace(
        "extern __shared__ __align__(128) char shared[];", "char* shared = dynamic_shared();"
    )
    source, launches = re.subn(r"(\w+_kernel<[^<>]*>)<<<(.*?)>>>\(", r"launch_of(\1, \2)(", source)
    assert launches == 1  # the first kernel; others go behind it
    path = folder / f"{name}.cpp"
    path.write_text(source)
    return path


def _calls_for_asm(source: str) -> str:
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


def built(source: Path, *flags: str, library: bool = True) -> Path:
    """A library of a GPU form, or a program of it and what `flags` name."""
    words = "-".join(re.findall(r"\w+", " ".join(flags)))
    made = source.with_name(f"{source.stem}-{words[:60]}")
    kind = ["-shared", "-fPIC"] if library else []
    subprocess.run([str(COMPILER), *EMULATED, *kind, *flags, str(source), "-o", made], check=True)
    return made
