"""OpenVINO answers as ONNX Runtime does, for the same files, and says nothing to anybody."""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from segmif.frames import FramePair, Prediction
from segmif.runtime import onnxruntime_, open_runtime, openvino_, predict
from segmif.runtime.errors import ArtefactError
from service.pipeline.infer import compare
from service.scheduler.model_loading import load_model
from service.settings import Settings
from tests.segmif.runtime.test_runtime import (
    garbage,
    other_tensors,
    weights_outside,
    write_manifest,
)

NANO = Path("weights/nano.onnx")

needs_openvino = pytest.mark.skipif(
    find_spec("openvino") is None, reason="OpenVINO is not installed: make install"
)


def random_pair(height: int, width: int) -> FramePair:
    random = np.random.default_rng(height * width)
    visible = random.integers(0, 256, (height, width, 3), np.uint8)
    return FramePair(visible, random.integers(0, 256, (height, width), np.uint8))


@needs_openvino
def test_answers_are_those_of_onnx_runtime() -> None:
    ours = open_runtime(NANO, threads=1, device="openvino")
    theirs = open_runtime(NANO, threads=1)
    assert ours.name.startswith("openvino 20") and ours.name.endswith(" CPU f32")
    assert (ours.outputs, ours.default_tint) == (theirs.outputs, theirs.default_tint)
    for size, tint in (((45, 70), None), ((96, 64), 0.0), ((45, 70), 1.0)):
        pair = random_pair(*size)
        found, expected = (
            predict(each, pair, tint=tint, confidence=True) for each in (ours, theirs)
        )
        assert (found.labels != expected.labels).mean() < 0.001
        for one, other in zip(
            (found.fused, found.confidence), (expected.fused, expected.confidence), strict=True
        ):
            assert one is not None and other is not None
            assert np.abs(one.astype(int) - other).max() <= 2  # rounded once, on either side
    with pytest.raises(ValueError, match="multiples of 32"):
        ours.run(np.zeros((1, 40, 64, 3), np.uint8), np.zeros((1, 40, 64), np.uint8))


@needs_openvino
def test_threads_share_it_and_it_closes(stand_in_weights: Path) -> None:
    runtime = open_runtime(stand_in_weights, threads=1, device="openvino")
    pairs = [random_pair(32 + 8 * (i % 3), 64) for i in range(24)]
    with ThreadPoolExecutor(4) as callers:
        found: list[Prediction] = list(callers.map(lambda pair: predict(runtime, pair), pairs))
    for pair, prediction in zip(pairs, found, strict=True):
        np.testing.assert_array_equal(prediction.fused, pair.visible)
        np.testing.assert_array_equal(prediction.labels, np.where(pair.infrared > 200, 2, 0))
    runtime.trim()
    predict(runtime, pairs[0])
    runtime.close()
    with pytest.raises(ValueError, match="closed"):
        predict(runtime, pairs[0])


@needs_openvino
@pytest.mark.parametrize(
    ("write", "words"),
    [
        (garbage, "cannot load .*: export it again"),
        (other_tensors, "maps .*x.* expected .*visible.*: export it again"),
        (weights_outside, "keeps numbers in another file"),
    ],
)
def test_a_file_that_breaks_the_contract_is_refused(
    tmp_path: Path, write: Callable[[Path], None], words: str
) -> None:
    path = tmp_path / "network.onnx"
    write(path)
    with pytest.raises(ArtefactError, match=words):
        open_runtime(write_manifest(path), device="openvino")


REPORTS = """
import json, sys
from pathlib import Path
talks = []
watched = ("socket.connect", "socket.getaddrinfo", "socket.sendto")
sys.addaudithook(lambda event, _: talks.append(event) if event in watched else None)
from segmif.runtime import open_runtime
open_runtime(Path(sys.argv[1]), threads=1, device="openvino").close()
print(json.dumps([talks, "openvino_telemetry" in sys.modules]))
"""


@needs_openvino
def test_it_reports_to_nobody(stand_in_weights: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REPORTS, str(stand_in_weights)],
        env=os.environ | {"HOME": str(tmp_path)},
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert json.loads(done.stdout) == [[], False]
    assert not list(tmp_path.iterdir())


@needs_openvino
def test_a_cpu_without_bf16_is_said(
    stand_in_weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """OpenVINO emulates bf16 with AVX-512, and computes f32 without; the name is the truth."""
    flags = Path("/proc/cpuinfo").read_text()
    words = "computes f32" if "avx512" not in flags else "" if "bf16" in flags else "emulates it"
    runtime = open_runtime(stand_in_weights, threads=1, device="openvino-bf16")
    assert runtime.name.endswith(" CPU f32" if words == "computes f32" else " CPU bf16")
    assert words in caplog.text and ("this CPU has no bf16" in caplog.text) == bool(words)


@needs_openvino
def test_the_service_holds_it_to_onnx_runtime(stand_in_weights: Path) -> None:
    opened = load_model(Settings(weights=stand_in_weights, threads=1, device="openvino"))
    assert opened.reference is not None
    assert opened.reference.name.startswith("onnxruntime")
    pair = random_pair(64, 64)
    compare(*(predict(each, pair) for each in (opened.runtime, opened.reference)))
    opened.close()


def test_without_the_package_the_remedy_is_named(
    stand_in_weights: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ArtefactError, match=r"pip install .*\[openvino\]"):
        open_runtime(stand_in_weights, device="openvino")
    caplog.set_level(logging.INFO)
    assert open_runtime(stand_in_weights, threads=1, device="auto").name.startswith("onnxruntime")
    assert "OpenVINO is not installed" in caplog.text


class Slow:
    """A runtime that answers after a while."""

    def __init__(self, seconds: float) -> None:
        self.name, self.closed, self._seconds = f"{seconds}", False, seconds

    def run(self, *frames: object) -> None:
        time.sleep(self._seconds)

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("faster", ["cpu", "openvino"])
def test_auto_takes_the_faster_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, faster: str
) -> None:
    made = {name: Slow(0.005 if name == faster else 0.05) for name in ("cpu", "openvino")}
    monkeypatch.setattr(onnxruntime_, "open_onnx", lambda *_: made["cpu"])
    monkeypatch.setattr(openvino_, "open_openvino", lambda *_: made["openvino"])
    caplog.set_level(logging.INFO)
    chosen: object = open_runtime(NANO, device="auto")
    assert chosen is made[faster]
    assert [name for name, each in made.items() if not each.closed] == [faster]
    assert "a pair of 640x480 takes cpu" in caplog.text
