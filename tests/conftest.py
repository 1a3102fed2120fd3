"""
A network small enough to be written down: visible passes through, the hot is a person.

With another tint than the default, visible becomes brighter or darker by up to BRIGHTER / 2 levels.

With CI=true a test that is skipped for another reason than EXPECTED_SKIPS fails the run.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

# Each worker of xdist has one core; a second thread would spin while it waits for another one's.
# Beside a busy process a network took 40 times the CPU time with it. Read when they are loaded:
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")

# Programs that tests start keep our modules compiled: each start of the service takes 0.25 s less.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from segmif.frames import DEFAULT_TINT
from segmif.manifest import Manifest, sha256

HOT = 200
PERSON = 2  # in the mfnet taxonomy
BRIGHTER = 100  # levels of the fused frame for a tint of 1 beside 0
UNSURE = 51  # confidence where nothing is hot: a fifth

# What a machine of CI may lack: real frames, published weights, a GPU's tools. Compilers and the
# servers of `make servers` are not among them.
EXPECTED_SKIPS = re.compile(
    "SEGMIF_DATA|frames are not in|frames of two sizes are not in|known misalignments are not in"
    "|published weights are not at"
    "|no nvcc|C\\+\\+ compiler has no half|could not import '(tensorrt_rtx|cuda.bindings.driver)'"
    "|TensorRT is installed here|ONNX Runtime has CUDA|no Chromium|kubectl is not installed"
)

# Exports what tests of other files wait for; by then another worker has it.
FIRST = Path(__file__).parent / "export" / "test_to_engine.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One file first, the others as they are found."""
    items.sort(key=lambda item: item.path != FIRST)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run where CI skips what it is not expected to."""
    if os.environ.get("CI") == "true" and list(unexpected_skips(session.config)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(config: pytest.Config) -> None:
    """Say which skips fail the run."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") == "true" and reporter:
        for line in unexpected_skips(config):
            reporter.write_line(
                f"UNEXPECTED SKIP {line} (make servers? or EXPECTED_SKIPS)", red=True
            )


def unexpected_skips(config: pytest.Config) -> Iterator[str]:
    """Give place and reason of every skip that nobody foresaw."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    for report in reporter.stats.get("skipped", []) if reporter else []:
        path, line, reason = report.longrepr
        if not EXPECTED_SKIPS.search(reason):
            yield f"{path}:{line}: {reason}"


@pytest.fixture(scope="session")
def stand_in_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file with its manifest that keeps the contract of the real networks."""
    return _saved(stand_in_model(), tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session")
def old_stand_in_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as it was exported before networks gave their confidence and took a tint."""
    model = stand_in_model()
    del model.graph.output[2], model.graph.input[2]
    kept = [node for node in model.graph.node if node.output[0] in ("is_hot", "labels")]
    del model.graph.node[:]
    model.graph.node.extend([helper.make_node("Identity", ["visible"], ["fused"]), *kept])
    return _saved(model, tmp_path_factory.mktemp("old"))


def stand_in_model(hot: int = HOT) -> onnx.ModelProto:
    """Build the stand-in: fused = visible, labels = person, and certain, where it is hot."""
    nodes = [
        helper.make_node("Unsqueeze", ["tint", "axes"], ["of_pairs"]),
        helper.make_node("Sub", ["of_pairs", "default"], ["beyond"]),
        helper.make_node("Mul", ["beyond", "brighter"], ["lifted"]),
        helper.make_node("Cast", ["visible"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["levels", "lifted"], ["changed"]),
        helper.make_node("Clip", ["changed", "black", "white"], ["clipped"]),
        helper.make_node("Cast", ["clipped"], ["fused"], to=TensorProto.UINT8),
        helper.make_node("Greater", ["infrared", "hot"], ["is_hot"]),
        helper.make_node("Where", ["is_hot", "person", "nothing"], ["labels"]),
        helper.make_node("Where", ["is_hot", "certain", "unsure"], ["confidence"]),
    ]
    constants = {"hot": hot, "person": PERSON, "nothing": 0, "certain": 255, "unsure": UNSURE}
    numbers = {"default": DEFAULT_TINT, "brighter": BRIGHTER, "black": 0, "white": 255}
    frames: list[str | int] = ["B", "H", "W", 3]
    planes: list[str | int] = ["B", "H", "W"]
    graph = helper.make_graph(
        nodes,
        "stand_in",
        [
            _pixels("visible", frames),
            _pixels("infrared", planes),
            helper.make_tensor_value_info("tint", TensorProto.FLOAT, ["B"]),
        ],
        [_pixels("fused", frames), _pixels("labels", planes), _pixels("confidence", planes)],
        [
            numpy_helper.from_array(np.array(value, np.uint8), name)
            for name, value in constants.items()
        ]
        + [
            numpy_helper.from_array(np.array(value, np.float32), name)
            for name, value in numbers.items()
        ]
        + [numpy_helper.from_array(np.array([1, 2, 3]), "axes")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "stand_in.onnx"
    onnx.save(model, path)
    Manifest(variant="nano", taxonomy="mfnet", precision="fp32", sha256=sha256(path)).write(path)
    return path


def _pixels(name: str, shape: list[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.UINT8, shape)


@pytest.fixture
def fake_ros(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Import a fake of rclpy and of its messages anew, with what it is to play and to record."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "fake_ros"))
    before = set(sys.modules)

    def imported(**variables: str) -> Any:
        for name, value in variables.items():
            monkeypatch.setenv(f"FAKE_ROS_{name.upper()}", value)
        return import_module("rclpy")

    yield imported
    for name in set(sys.modules) - before:
        if name.split(".")[0] == "rclpy" or name.split(".")[0].endswith("_msgs"):
            del sys.modules[name]


@pytest.fixture
def rclpy(fake_ros: Callable[..., Any]) -> Any:
    """A fake of rclpy."""
    return fake_ros()
