"""INT8 and FP8 for the layers that take them without harm; the rest keeps its precision."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from export.quantize import quantize
from segmif.frames import FramePair
from segmif.imaging import codecs
from segmif.manifest import Manifest
from segmif.runtime import open_runtime, predict
from tests.export.test_to_engine import build_for_rtx

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


@pytest.fixture(scope="module")
def sources(half: Path) -> dict[str, Path]:
    """`nano` as it is shipped, and in FP16."""
    return {"fp32": WEIGHTS, "fp16": half}


@pytest.fixture(scope="module", params=["int8 of fp32", "int8 of fp16", "fp8 of fp16"])
def quantized(
    request: pytest.FixtureRequest,
    pairs: Path,
    sources: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Path]:
    """A quantized network, and what it was made from."""
    precision, source = request.param.split(" of ")
    out = tmp_path_factory.mktemp("quantized") / f"nano.{source}.{precision}.onnx"
    quantize(sources[source], out, pairs, 3, precision)
    assert Manifest.read(out).precision == f"{precision}+{source}"
    return out, sources[source]


def test_answers_are_nearly_those_of_fp32(quantized: tuple[Path, Path], pairs: Path) -> None:
    pair = FramePair(
        codecs.read_visible(pairs / "visible/day.png"),
        codecs.read_infrared(pairs / "infrared/day.png"),
    )
    answers = [predict(open_runtime(path), pair) for path in (WEIGHTS, quantized[0])]
    # INT8 errs by 1/254 of a layer's range, FP8 by 1/16 of a value at most: measured 0.07 levels, a
    # label in 380; biases that are rounded too change one in 16, a wrong scale leaves nothing alike
    assert np.abs(answers[0].fused.astype(int) - answers[1].fused).mean() < 0.2
    assert (answers[0].labels == answers[1].labels).mean() > 0.99
    assert (answers[0].fused != answers[1].fused).any()


def test_convolutions_read_eight_bits_and_the_rest_stays(quantized: tuple[Path, Path]) -> None:
    path, source = quantized
    assert Manifest.read(path).source_sha256 == Manifest.read(source).sha256
    model, before = onnx.load(path), onnx.load(source)
    onnx.checker.check_model(model, full_check=True)
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    through = [
        [makers.get(name) == "DequantizeLinear" for name in node.input[:2]] for node in convolutions
    ]
    least = 10 if "fp8" in path.name else 15  # FP8 takes multiples of 16 channels
    assert through.count([True, True]) > least and through.count([False, False]) > 8
    assert [True, False] not in through and [False, True] not in through
    rounded = {name.removesuffix("_dequantized") for name in makers if "_dequantized" in name}
    sums = [node for node in model.graph.node if node.op_type == "Add"]
    assert not rounded & {name for node in sums for name in node.input}  # they read it rounded
    kinds = {each.name: each.data_type for each in model.graph.initializer}
    assert {each.name: each.data_type for each in before.graph.initializer}.items() <= kinds.items()
    scales = {kind for name, kind in kinds.items() if name.endswith("_scale")}
    assert scales == {kinds["core.encoder.stages.1.0.expand.0.weight"]}  # no cast between them


def test_nvidias_parser_reads_it_and_an_engine_is_built(
    quantized: tuple[Path, Path], tmp_path: Path
) -> None:
    """TensorRT knows no INT32 that is quantized, as biases would be."""
    pytest.importorskip("tensorrt_rtx", exc_type=ImportError)
    done = build_for_rtx(quantized[0], out := tmp_path / "rtx.engine")
    assert done.returncode == 0, done.stderr
    assert out.stat().st_size > 100_000


def test_what_cannot_be_quantized_is_refused(pairs: Path, tmp_path: Path) -> None:
    quantize(WEIGHTS, tmp_path / "once.onnx", pairs, 1)
    with pytest.raises(ValueError, match=r"nano in int8\+fp32: FP8 is made from the FP32 or FP16"):
        quantize(tmp_path / "once.onnx", tmp_path / "twice.onnx", pairs, 1, "fp8")
    with pytest.raises(ValueError, match="has no pair"):
        quantize(WEIGHTS, tmp_path / "none.onnx", tmp_path, 1)
    with pytest.raises(ValueError, match="--frames is 0: at least 1 pair"):
        quantize(WEIGHTS, tmp_path / "none.onnx", pairs, 0)  # its ranges would be empty
    before = WEIGHTS.read_bytes()
    with pytest.raises(ValueError, match="is the file that it is made from: name another"):
        quantize(WEIGHTS, WEIGHTS.parent / "../weights/nano.onnx", pairs, 1)
    assert WEIGHTS.read_bytes() == before
    assert not (tmp_path / "none.onnx").exists()
