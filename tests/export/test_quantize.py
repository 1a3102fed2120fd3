"""INT8 where it does no harm, FP32 where it would."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from export.quantize import quantize
from segmif import images
from segmif.frames import FramePair
from segmif.manifest import Manifest
from segmif.runtime import open_runtime, predict
from tests.export.test_to_engine import BUILD

WEIGHTS = Path(__file__).parents[2] / "weights" / "nano.onnx"
SAMPLES = Path(__file__).parents[2] / "service" / "web" / "samples"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rendered samples of the repository, as a folder of pairs."""
    folder = tmp_path_factory.mktemp("pairs")
    for kind in ("visible", "infrared"):
        (folder / kind).mkdir()
        for sample in sorted(SAMPLES.iterdir()):
            content = (sample / f"{kind}.png").read_bytes()
            (folder / kind / f"{sample.name}.png").write_bytes(content)
    return folder


def test_int8_answers_nearly_as_fp32(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "nano.int8.onnx"
    layers = quantize(WEIGHTS, out, pairs, 3)
    kinds = [node.op_type for node in onnx.load(out).graph.node]
    assert layers > 10 and kinds.count("DequantizeLinear") > 2 * layers
    manifest = Manifest.read(out)
    assert manifest.precision == "int8"
    assert manifest.source_sha256 == Manifest.read(WEIGHTS).sha256
    pair = FramePair(
        images.read_visible(pairs / "visible/day.png"),
        images.read_infrared(pairs / "infrared/day.png"),
    )
    answers = [predict(open_runtime(path), pair) for path in (WEIGHTS, out)]
    # a step of INT8 is 1/255 of a layer's range; a wrong scale would leave nothing alike
    assert np.abs(answers[0].fused.astype(int) - answers[1].fused).mean() < 1
    assert (answers[0].labels == answers[1].labels).mean() > 0.97
    assert (answers[0].fused != answers[1].fused).any()


def test_nvidias_parser_reads_it_and_an_engine_is_built(pairs: Path, tmp_path: Path) -> None:
    """TensorRT knows no INT32 that is quantized, as biases would be."""
    pytest.importorskip("tensorrt_rtx", exc_type=ImportError)
    out = tmp_path / "nano.int8.onnx"
    quantize(WEIGHTS, out, pairs, 1)
    done = subprocess.run([sys.executable, "-c", BUILD, out], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) > 100_000


def test_only_fp32_is_quantized(pairs: Path, tmp_path: Path) -> None:
    quantize(WEIGHTS, tmp_path / "once.onnx", pairs, 1)
    with pytest.raises(ValueError, match="nano in int8: INT8 is made from the FP32 ONNX"):
        quantize(tmp_path / "once.onnx", tmp_path / "twice.onnx", pairs, 1)
    with pytest.raises(ValueError, match="has no pair"):
        quantize(WEIGHTS, tmp_path / "none.onnx", tmp_path, 1)
