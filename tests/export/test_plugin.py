"""The plugin's own code, built for this CPU: what TensorRT hears of it, and what it exports."""

import shutil
import subprocess
from pathlib import Path

import pytest

from segmif.ops.native import SOURCES

COMPILER = shutil.which("g++") or shutil.which("c++") or ""
PLUGIN = Path(__file__).parents[2] / "export" / "plugin"
HERE = Path(__file__).parent / "plugin"  # a stand-in for TensorRT's headers, and a program
NO_COMPILER = pytest.mark.skipif(not COMPILER, reason="no C++ compiler: the plugin is not built")


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The plugin and the kernels, compiled."""
    folder = tmp_path_factory.mktemp("plugin")
    kernels = [SOURCES / "interactive_attention.cu", SOURCES / "pixels.cu"]
    sources = [PLUGIN / "plugin.cpp", *kernels]
    flags = ["-std=c++17", "-O0", "-fPIC", "-fvisibility=hidden", f"-I{HERE}", f"-I{SOURCES}"]
    made = [folder / f"{source.stem}.o" for source in sources]
    for source, compiled in zip(sources, made, strict=True):
        strict = ["-Wall", "-Wextra", "-Werror", "-c", "-x", "c++", str(source)]
        subprocess.run([COMPILER, *flags, *strict, "-o", str(compiled)], check=True)
    return made


@NO_COMPILER
def test_errors_reach_tensorrts_log(objects: list[Path]) -> None:
    program = objects[0].with_name("refusals")
    sources = [str(each) for each in (HERE / "refusals.cpp", *objects)]
    command = [COMPILER, "-std=c++17", f"-I{HERE}", *sources, "-o", str(program)]
    subprocess.run(command, check=True)

    def heard(size: int, plugin: str = "InteractiveAttention") -> list[str]:
        command = [str(program), plugin, str(size)]
        said = subprocess.run(command, capture_output=True, text=True, check=True)
        return said.stdout.splitlines()

    too_wide = "error: InteractiveAttention: more than 64 channels"
    assert heard(72) == [
        *(too_wide, "configure -2", too_wide, "reshape -2", too_wide, "enqueue -2"),
    ]
    assert heard(8) == [
        "configure 0",
        "reshape 0",
        "error: InteractiveAttention: a map or the workspace does not begin at a multiple of 16 "
        "bytes",
        "enqueue -5",
    ]
    odd = (
        "error: Pixels: a size is below 1 or too large, or height and width are no multiples of 32"
    )
    kept = ["label_stride 2", "half 1, with its tint 0"]
    refused = [odd, "configure -1", odd, "reshape -1", odd, "enqueue -1"]
    assert heard(20, "Pixels") == [*kept, *refused]
    assert heard(32, "Pixels") == [
        *(*kept, "configure 0", "reshape 0"),
        "error: Pixels: a tensor or the workspace does not begin at a multiple of 16 bytes",
        "enqueue -5",
    ]


@NO_COMPILER
@pytest.mark.skipif(not shutil.which("nm"), reason="no nm: exports are not listed")
def test_it_exports_only_what_tensorrt_asks_for(objects: list[Path]) -> None:
    library = objects[0].with_name("libsegmif_plugin.so")
    exports = f"-Wl,--version-script={PLUGIN / 'exports.map'}"
    subprocess.run([COMPILER, "-shared", exports, *objects, "-o", library], check=True)
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True
    )
    names = {line.split()[-1] for line in listed.stdout.splitlines()}
    assert names == {"getCreators", "setLoggerFinder"}
