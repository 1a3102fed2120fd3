"""The check of a GPU, rehearsed on this CPU in its fast parts: what it writes and what it finds."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

FAKE = f"""
import importlib.machinery, runpy, sys
runpy.run_path({str(ROOT / "tests/docker/fakes/sitecustomize.py")!r})
del sys.modules["torch"]  # there it is kept away
sys.modules["tensorrt"].__spec__ = importlib.machinery.ModuleSpec("tensorrt", None)
"""


def rehearsed(
    out: Path, *flags: str, environment: Mapping[str, str] | None = None
) -> tuple[int, dict[str, Any], str]:
    """Its exit code, its JSON and its text."""
    program = ROOT / "benchmarks" / "gpu_check.py"
    command = [sys.executable, str(program), "--rehearse", "--out", str(out), *flags]
    code = subprocess.run(command, env=os.environ | (environment or {})).returncode
    (found,), (text,) = out.glob("*.json"), out.glob("*.txt")
    return code, json.loads(found.read_text()), text.read_text()


def test_rows_say_where_how_fast_and_whether_rightly(tmp_path: Path) -> None:
    code, found, text = rehearsed(tmp_path, "--parts", "machine", "onnxruntime")
    assert code == 0
    (machine,) = found["machine"]
    assert machine["gpu"] == "rehearsal" and machine["ceilings"]["copy_gb_s"] > 0
    assert machine["onnxruntime"][0].isdigit() and "tensorrt" in machine
    *timed, paper = found["onnxruntime"]
    shown = [(row["network"], row["batch"]) for row in timed]
    assert shown == [("edge", 1), ("edge", 2), ("nano", 1), ("nano", 2)]
    assert all(row["right"] and row["host_ms"]["p50"] > 0 for row in timed)
    assert paper == {"network": "paper", "left_out": "paper.onnx is not there"}
    assert "rehearsal" in text and "host_ms.p50" in text


def test_fast_but_wrong_is_told(tmp_path: Path) -> None:
    weights = tmp_path / "weights"  # with the artefact, not the network it was made from
    weights.mkdir()
    for name in ("nano.onnx", "nano.onnx.json"):
        shutil.copy(ROOT / "weights" / name, weights)
    flags = ["--weights", str(weights), "--kernels", str(tmp_path / "none.so")]
    parts = ["machine", "attention_errors", "onnxruntime"]
    code, found, _ = rehearsed(tmp_path / "out", *flags, "--parts", *parts)
    assert code == 1
    assert "not a build of the kernels" in found["attention_errors"][0]["left_out"]
    wrong = [row for row in found["onnxruntime"] if row["network"] == "nano"]
    assert len(wrong) == 2
    assert all(row["right"] is False and row["fused_differs"] > 0.5 for row in wrong)
    assert "values of the fused image differ" in wrong[0]["why"][0]


def test_engines_are_timed_and_judged(tmp_path: Path) -> None:
    """By a fake TensorRT, whose engine answers anything but what the network does."""
    (tmp_path / "sitecustomize.py").write_text(FAKE)
    for suffix in ("", ".json"):  # so that the part finds its ONNX made
        shutil.copy(ROOT / f"weights/edge.onnx{suffix}", tmp_path / f"edge.fp16.onnx{suffix}")
    flags = ["--plugin", str(tmp_path / "none.so"), "--parts", "machine", "tensorrt_native"]
    path = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    code, found, _ = rehearsed(tmp_path / "out", *flags, environment=path)
    built, *timed = found["tensorrt_native"]
    assert built["attention"] == "native" and built["build_s"] >= 0
    shown = [(row["graph"], row["batch"]) for row in timed]
    assert shown == [(True, 1), (True, 2), (False, 1), (False, 2)]
    assert code == 1 and all(row["right"] is False for row in timed)


def test_a_part_ends_in_time(tmp_path: Path) -> None:
    code, found, _ = rehearsed(tmp_path, "--parts", "machine", "--most", "0.2")
    assert code == 1 and found["machine"] == [{"left_out": "no time"}]
