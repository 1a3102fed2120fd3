"""The check of a GPU, rehearsed on this CPU in its fast parts: what it writes and what it finds."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

ENGINE_PYTHON = f"""#!/bin/sh
PYTHONPATH={ROOT}/tests/docker/fakes:{ROOT} exec {sys.executable} "$@"
"""


def rehearsed(out: Path, *flags: str) -> tuple[int, dict[str, Any], str]:
    """Its exit code, its JSON and its text."""
    program = ROOT / "benchmarks" / "gpu_check.py"
    command = [sys.executable, str(program), "--rehearse", "--out", str(out), *flags]
    code = subprocess.run(command).returncode
    (found,), (text,) = out.glob("*.json"), out.glob("*.txt")
    return code, json.loads(found.read_text()), text.read_text()


def test_rows_say_where_how_fast_and_whether_rightly(tmp_path: Path) -> None:
    parts = ["machine", "attention_errors", "onnxruntime"]
    code, found, text = rehearsed(tmp_path, "--parts", *parts)
    (machine,) = found["machine"]
    assert machine["gpu"] == "rehearsal" and machine["ceilings"]["copy_gb_s"] > 0
    assert machine["onnxruntime"][0].isdigit() and "tensorrt" in machine
    *timed, paper = found["onnxruntime"]
    shown = [(row["network"], row["batch"]) for row in timed]
    assert shown == [("edge", 1), ("edge", 2), ("nano", 1), ("nano", 2)]
    assert all(row["right"] and row["host_ms"]["p50"] > 0 for row in timed)
    assert paper == {"network": "paper", "left_out": "paper.onnx is not there"}
    assert "rehearsal" in text and "host_ms.p50" in text
    if shutil.which("g++") or shutil.which("c++"):  # which builds the kernels for this CPU
        assert all(row["right"] for row in found["attention_errors"])
        assert len(found["attention_errors"]) == 28
        assert code == 0
    else:
        assert "there is no C++ compiler" in found["attention_errors"][0]["left_out"]


def test_fast_but_wrong_is_told(tmp_path: Path) -> None:
    weights = tmp_path / "weights"  # with the artefact, not the network it was made from
    weights.mkdir()
    for name in ("nano.onnx", "nano.onnx.json"):
        shutil.copy(ROOT / "weights" / name, weights)
    flags = ["--weights", str(weights), "--kernels", str(tmp_path / "none.so")]
    code, found, _ = rehearsed(
        tmp_path / "out", *flags, "--parts", "attention_errors", "onnxruntime"
    )
    assert code == 1
    assert "not a build of the kernels" in found["attention_errors"][0]["left_out"]
    wrong = [row for row in found["onnxruntime"] if row["network"] == "nano"]
    assert len(wrong) == 2
    assert all(row["right"] is False and row["fused_differs"] > 0.5 for row in wrong)
    assert "values of the fused image differ" in wrong[0]["why"][0]


def test_engines_are_timed_and_judged(tmp_path: Path) -> None:
    """By a Python without torch; its fake engine answers anything but what the network does."""
    python = tmp_path / "python"
    python.write_text(ENGINE_PYTHON)
    python.chmod(0o755)
    for suffix in ("", ".json"):  # so that the part before finds its ONNX made
        shutil.copy(ROOT / f"weights/edge.onnx{suffix}", tmp_path / f"edge.fp16.onnx{suffix}")
    flags = ["--plugin", str(tmp_path / "none.so"), "--tensorrt-python", str(python)]
    parts = ["tensorrt_plugin", "tensorrt_native", "layers"]
    code, found, _ = rehearsed(tmp_path / "out", *flags, "--parts", *parts)
    assert "there is no plugin at" in found["tensorrt_plugin"][0]["left_out"]
    built, *timed = found["tensorrt_native"]
    assert built["attention"] == "native" and built["build_s"] >= 0
    shown = [(row["graph"], row["batch"]) for row in timed]
    assert shown == [(True, 1), (True, 2), (False, 1), (False, 2)]
    assert code == 1 and all(row["right"] is False for row in timed)
    plain = found["onnx_edge"][-1]["plain_torch"]
    assert plain["fused_differs"] < 0.2 < timed[0]["fused_differs"]
    assert all(row["plain_torch"] == plain for row in timed)
    assert found["layers"][0]["engine"] == "edge.native.engine"
    assert found["layers"][1] == {"layer": "network", "us_a_pair": 500}


IMPORTED = """
import sys
for name in ("torch", "onnxruntime", "cv2", "safetensors"):
    sys.modules[name] = None
import gpu_engines
print("\\n".join(getattr(each, "__file__", None) or "" for each in sys.modules.values()))
"""
COMPILE = "import sys; [compile(open(path).read(), path, 'exec') for path in sys.argv[1:]]"


def test_engines_need_no_torch_and_no_newer_python() -> None:
    """A folder with TensorRT 8.6 has numpy and onnx, and Python 3.10."""
    folders = {"PYTHONPATH": f"{ROOT / 'benchmarks'}:{ROOT}"}
    command = [sys.executable, "-c", IMPORTED]
    done = subprocess.run(command, env=os.environ | folders, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ours = [str(ROOT / name) for name in ("benchmarks", "export", "segmif")]
    files = [path for path in done.stdout.split() if path.startswith(tuple(ours))]
    assert len(files) > 10
    for oldest in Path.home().glob(".pyenv/versions/3.10.*/bin/python3.10"):
        done = subprocess.run([oldest, "-c", COMPILE, *files], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--rehearse", "--most", "0.2"], "no time"),
        ([], "RuntimeError: torch sees no GPU here"),
    ],
)
def test_a_machine_that_cannot_be_measured_leaves_no_file(
    tmp_path: Path, flags: list[str], why: str
) -> None:
    program = str(ROOT / "benchmarks" / "gpu_check.py")
    command = [sys.executable, program, *flags, "--out", str(tmp_path), "--parts", "machine"]
    without = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=without, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout.endswith(f"nothing was measured ({why}): without a GPU, try --rehearse\n")
    assert not list(tmp_path.iterdir())
