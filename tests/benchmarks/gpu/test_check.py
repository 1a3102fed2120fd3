"""The check of a GPU, rehearsed on this CPU in its fast parts: what it writes and what it finds."""

import json
import os
import shutil
import subprocess
import sys
from argparse import Namespace
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.gpu import check, parts
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.timing import REPEATS, Timer, one_call_ms
from segmif.ops.hia import gram

ROOT = Path(__file__).parents[3]
PROGRAM = [sys.executable, "-m", "benchmarks.gpu.check"]

Whole = tuple[int, dict[str, Any], str]  # as `rehearsed` gives it

FAKE_TENSORRT = {"PYTHONPATH": f"{ROOT}/tests/docker/fakes:{ROOT}", "FAKE_TORCH": "1"}


def rehearsed(out: Path, *flags: str, **environment: str) -> tuple[int, dict[str, Any], str]:
    """Its exit code, its JSON and its text."""
    command = [*PROGRAM, "--rehearse", "--out", str(out), *flags]
    code = subprocess.run(command, cwd=ROOT, env=os.environ | environment).returncode
    (found,), (text,) = out.glob("*.json"), out.glob("*.txt")
    return code, json.loads(found.read_text()), text.read_text()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """One rehearsal for several tests: each part is a process that imports torch anew."""
    parts = ["machine", "attention_errors", "profile", "pixels", "onnxruntime"]
    if not find_spec("tensorrt"):
        parts += ["layers", "tensorrt_native", "tensorrt_paper"]
    return rehearsed(tmp_path_factory.mktemp("whole"), "--most", "600", "--parts", *parts)


def test_rows_say_where_how_fast_and_whether_rightly(whole: Whole) -> None:
    code, found, text = whole
    (machine,) = found["machine"]
    assert machine["gpu"] == "rehearsal" and machine["ceilings"]["copy_gb_s"] > 0
    assert machine["onnxruntime"][0].isdigit() and "tensorrt" in machine
    *timed, paper = found["onnxruntime"]
    shown = [(row["network"], row["bound"], row["batch"]) for row in timed]
    assert shown == list(product(("edge", "nano"), (True, False), (1, 2)))
    assert all(row["right"] and row["host_ms"]["p50"] > 0 for row in timed)
    assert all(row["plain_torch"]["fused_differs"] < 0.2 for row in timed)
    assert paper == {"network": "paper", "left_out": "paper.onnx is not there"}
    assert "rehearsal" in text and "host_ms.p50" in text
    if shutil.which("g++") or shutil.which("c++"):  # which builds the kernels for this CPU
        assert all(row["right"] for row in found["attention_errors"])
        assert len(found["attention_errors"]) == 28
        assert [row["right"] for row in found["pixels"]] == [True] * 4
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
    assert len(wrong) == 4
    assert all(row["right"] is False and row["fused_differs"] > 0.5 for row in wrong)
    assert "values of the fused image differ" in wrong[0]["why"][0]


def test_engines_are_timed_and_judged(tmp_path: Path) -> None:
    """The fake engine answers anything but what the network does."""
    for suffix in ("", ".json"):  # so that the part before finds its ONNX made
        shutil.copy(ROOT / f"weights/edge.onnx{suffix}", tmp_path / f"edge.fp16.onnx{suffix}")
    flags = ["--plugin", str(tmp_path / "none.so")]
    parts = ["machine", "tensorrt_plugin", "tensorrt_native", "layers"]
    code, found, _ = rehearsed(tmp_path / "out", *flags, "--parts", *parts, **FAKE_TENSORRT)
    assert "there is no plugin at" in found["tensorrt_plugin"][0]["left_out"]
    built, *timed = found["tensorrt_native"]
    assert built["attention"] == "native" and built["build_s"] >= 0
    shown = [(row["graph"], row["batch"]) for row in timed]
    assert shown == [(True, 1), (True, 2), (False, 1), (False, 2)]
    assert code == 1 and all(row["right"] is False for row in timed)
    assert "labels differ by" in timed[0]["why"][0] and timed[0]["within_rounding"] is False
    assert [each["batch"] for each in built["profiles"]] == [[1, 1, 1], [2, 8, 8]]
    assert all(row["plain_torch"]["fused_differs"] < 0.2 < row["fused_differs"] for row in timed)
    assert found["layers"][0]["engine"] == "edge.native.engine"
    assert found["layers"][1] == {"layer": "network", "us_a_pair": 500}


@pytest.mark.skipif(bool(find_spec("tensorrt")), reason="TensorRT is installed here")
def test_without_tensorrt_its_parts_take_no_time(whole: Whole) -> None:
    engines = {name: rows for name, rows in whole[1].items() if name.startswith(check.ENGINE_PARTS)}
    assert engines.keys() >= {"onnx_edge", "onnx_paper", "layers", "tensorrt_paper"}
    assert all(row["left_out"].startswith("none: ") for rows in engines.values() for row in rows)


def test_where_the_time_goes_is_asked_third_and_shown_first(whole: Whole) -> None:
    assert check.PARTS[:3] == ("machine", "attention_errors", "profile")
    assert check.PARTS[-1] == "compiled" and check.QUARTER_S < 60 * 15
    _, found, text = whole
    assert text.startswith("profile\n") and found["profile"][0]["us_a_pair"] > 0


def test_a_graphs_own_time_is_no_kernels() -> None:
    """A graph takes 3 us to start, a call in it 2 us: warm and cold it is 2 us."""
    for calls in (REPEATS, 1):
        assert one_call_ms(lambda n: 0.003 + 0.002 * n, calls) == pytest.approx(0.002)


def test_small_maps_have_a_time_as_their_goal_and_other_builds_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They fill no GPU, so a share of its bandwidth is out of reach."""
    stand_in = SimpleNamespace(attention=gram)
    monkeypatch.setattr(parts, "Kernels", lambda path, device: stand_in)
    monkeypatch.setattr(Setting, "kernels", lambda setting: stand_in)
    monkeypatch.setattr(Timer, "milliseconds", lambda timer, work, cold=False: 0.003)
    (tmp_path / "threads_128.so").touch()
    args = Namespace(part="attention_times", rehearse=True, ceilings={"copy_gb_s": 4000.0})
    args.plugin, args.candidates = tmp_path / "plugin.so", tmp_path
    rows = {(row["network"], row["batch"]): row for row in parts.run(args)}
    assert rows["edge", 1]["goal_us"] == rows["nano", 1]["goal_us"] == 8
    paper = rows["paper", 1]
    assert paper["goal_us"] == pytest.approx(1e3 * paper["megabytes"] / (0.6 * 4000))
    assert all(row["threads_128_us"] == pytest.approx(3) for row in rows.values())


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
    command = [*PROGRAM, *flags, "--out", str(tmp_path), "--parts", "machine"]
    without = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=ROOT, env=without, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout.endswith(f"nothing was measured ({why}): without a GPU, try --rehearse\n")
    assert not list(tmp_path.iterdir())
