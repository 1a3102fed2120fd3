"""The part of `benchmarks.gpu.check` that runs all kernels under sanitizers, at small sizes."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.gpu.report import Row
from benchmarks.gpu.setting import Setting
from segmif.ops.native import SOURCES

PROGRAM = Path(__file__).with_name("sizes.cpp")
TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")
HOST = ("address,undefined",)  # of g++, for a rehearsal
FOUND = 9  # exit code of a sanitizer that found something
SHOWN = 2000  # characters of what it said


def found(setting: Setting) -> Iterator[Row]:
    """Whether compute-sanitizer finds a fault: steps outside, races, wrong barriers, garbage."""
    with TemporaryDirectory() as folder:
        program = Path(folder) / "sizes"
        for tool in TOOLS if setting.device == "cuda" else HOST:
            command = _on_gpu(setting, program, tool) if tool in TOOLS else _on_host(program, tool)
            done = subprocess.run(command, capture_output=True, text=True)
            said = (done.stdout + done.stderr)[-SHOWN:]
            row: Row = {"tool": tool, "exit": done.returncode, "right": done.returncode == 0}
            yield row if row["right"] else row | {"why": said}


def _on_gpu(setting: Setting, program: Path, tool: str) -> list[str]:
    """The program under a tool of compute-sanitizer, with the library that is measured."""
    nvcc, sanitizer = _tool("nvcc"), _tool("compute-sanitizer")
    library = setting.args.kernels.resolve()
    if not program.exists():
        flags = ["-std=c++17", "-DSEGMIF_ON_GPU", f"-I{SOURCES}", str(PROGRAM), str(library)]
        path = ["-Xlinker", f"-rpath={library.parent}"]
        subprocess.run([nvcc, *flags, *path, "-o", str(program)], check=True)
    return [sanitizer, "--tool", tool, "--error-exitcode", str(FOUND), str(program)]


def _on_host(program: Path, tool: str) -> list[str]:
    """The kernels' source, built for this CPU with a sanitizer of the compiler."""
    compiler = shutil.which("g++") or _tool("c++")
    flags = ["-std=c++17", "-O1", f"-fsanitize={tool}", "-fno-sanitize-recover=all"]
    sources = [str(SOURCES / "interactive_attention.cu"), str(SOURCES / "pixels.cu"), str(PROGRAM)]
    command = [compiler, *flags, f"-I{SOURCES}", "-x", "c++", *sources, "-o", str(program)]
    subprocess.run(command, check=True)
    return [str(program)]


def _tool(name: str) -> str:
    """Where a program is; raises FileNotFoundError with what to install."""
    path = shutil.which(name) or shutil.which(name, path="/usr/local/cuda/bin")
    if not path:
        raise FileNotFoundError(f"there is no {name}: it is part of the CUDA toolkit")
    return path
