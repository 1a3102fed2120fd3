"""The ONNX file does what the network does, anywhere, and says what it is."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

from export import to_onnx
from export.__main__ import main
from export.attention_function import local_function
from export.to_engine import prepare
from export.to_onnx import ExportError, check, check_labels, export, feeds
from segmif.classes import Taxonomy, overlay
from segmif.client import Client
from segmif.frames import OUTPUTS
from segmif.manifest import Manifest
from segmif.model.network import Network
from segmif.model.weights import save_network
from segmif.ops.hia import gram, plain
from segmif.runtime import open_runtime
from segmif.runtime.errors import ArtefactError
from segmif.runtime.onnxruntime_ import onnxruntime
from service.settings import Settings
from tests.segmif.ops.test_hia import arguments, error
from tests.service.conftest import serving

WALKERS = Taxonomy("walkers", ("person", "background"), ((220, 20, 60), (0, 0, 0)))


@pytest.fixture(scope="module")
def network() -> Network:
    """Of two classes, whose persons have the id 0."""
    torch.manual_seed(0)
    return Network("nano", WALKERS).eval()


@pytest.fixture(scope="module")
def exported(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "nano.onnx"
    save_network(network, out.with_suffix(".safetensors"), {"steps": 0})
    export(out.with_suffix(".safetensors"), out)  # checks at sizes that were not exported at
    return out


@pytest.fixture(scope="module")
def model(exported: Path) -> onnx.ModelProto:
    return onnx.load(exported)


def test_exported_file_runs_and_says_what_it_is(network: Network, exported: Path) -> None:
    weights, out = exported.with_suffix(".safetensors"), exported
    manifest = Manifest.read(out)
    assert manifest.variant == "nano"
    assert manifest.source_sha256 == Manifest.read(weights).sha256
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    given = feeds(2, 32, 128)
    fused, labels = session.run(["fused", "labels"], given)
    assert (fused.dtype, fused.shape) == (np.uint8, given["visible"].shape)
    assert (labels.dtype, labels.shape) == (np.uint8, given["infrared"].shape)
    assert {n: each["type"] for n, each in manifest.inputs.items()} == {
        "visible": "uint8",
        "infrared": "uint8",
        "tint": "float32",
    }
    assert manifest.default_tint == network.config.tint


def test_classes_of_ones_own_are_served(exported: Path) -> None:
    visible = np.full((64, 96, 3), 90, np.uint8)
    with (
        serving(Settings(weights=exported), open_runtime(exported, threads=1)) as http,
        Client(str(http.base_url)) as client,
    ):
        answer = client.fuse(visible, visible[..., 0], **{"return": "mask,overlay"})  # type: ignore[arg-type]
        told = str(http.get("/classes").json())
        fused = client.fuse(visible, visible[..., 0]).fused
    assert [each["name"] for each in answer.report["classes"]] == list(WALKERS.names)
    assert "background" in told and "220" in told
    np.testing.assert_array_equal(answer.overlay, overlay(fused, answer.labels, WALKERS))


def test_weights_are_not_written_over(network: Network, tmp_path: Path) -> None:
    weights = tmp_path / "ours.safetensors"
    save_network(network, weights, {})
    before = weights.read_bytes()
    with pytest.raises(ValueError, match="is the file that it is made from: name another one"):
        export(weights, tmp_path / "." / "ours.safetensors")
    assert weights.read_bytes() == before


def test_attention_and_pixels_are_one_node_each_with_their_bodies(model: onnx.ModelProto) -> None:
    nodes = [node.op_type for node in model.graph.node if node.domain == "segmif"]
    assert nodes == ["InteractiveAttention", "InteractiveAttention", "Pixels"]
    assert {function.name for function in model.functions} >= set(nodes)
    after = model.graph.node[-3:]  # TensorRT gives no plugin bytes, and its outputs come of a cast
    assert [node.op_type for node in after] == ["Cast"] * 3
    assert all(dim.dim_param for dim in model.graph.input[0].type.tensor_type.shape.dim[:3])


def test_plain_operators_open_where_local_functions_are_refused(
    network: Network, model: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, out = tmp_path / "nano.safetensors", tmp_path / "nano.inline.onnx"
    save_network(network, weights, {"steps": 0})
    monkeypatch.setattr(to_onnx, "to_model", lambda _: model)  # made above, in seconds
    assert main(["onnx", "--weights", str(weights), "--inline"]) == 0
    plain = onnx.load(out)
    assert not plain.functions and {node.domain for node in plain.graph.node} == {""}
    assert all(dim.dim_param for dim in plain.graph.input[0].type.tensor_type.shape.dim[:3])
    assert "onnxscript" in Manifest.read(out).tools
    with pytest.raises(ArtefactError, match="--inline"):
        prepare(plain, (10, 7), frozenset({"InteractiveAttention", "Pixels"}))

    pair = feeds(1, 64, 96)  # OpenCV 5.0 errs in batches, and at a second size
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    opencvs = cv2.dnn.readNetFromONNX(str(out), cv2.dnn.ENGINE_NEW)
    for name, array in pair.items():
        opencvs.setInput(array, name)
    expected = session.run(list(OUTPUTS), pair)
    fused, labels, confidence = zip(expected, opencvs.forward(list(OUTPUTS)), strict=True)
    assert (labels[0] != labels[1]).mean() < 0.001
    for ours, theirs in (fused, confidence):
        assert np.abs(ours.astype(int) - theirs).max() <= 1
        assert (ours != theirs).mean() < 0.02


def test_labels_take_no_sort(model: onnx.ModelProto) -> None:
    assert not {"ArgMax", "TopK"} & {node.op_type for node in model.graph.node}


def test_file_does_not_tell_where_it_was_made(model: onnx.ModelProto) -> None:
    assert b'.py"' not in model.SerializeToString()  # as a stack trace writes it


def test_a_wrong_file_does_not_pass(network: Network, model: onnx.ModelProto) -> None:
    broken = onnx.ModelProto()
    broken.CopyFrom(model)
    for initializer in broken.graph.initializer:
        if initializer.name.endswith("out_weight"):
            values = onnx.numpy_helper.to_array(initializer)
            initializer.CopyFrom(onnx.numpy_helper.from_array(50 * values, initializer.name))
    with pytest.raises(ExportError, match="differ from float64"):
        check(broken, network)


@pytest.mark.parametrize("everywhere", [False, True])
def test_a_few_values_of_a_small_frame_are_decided_by_a_whole_one(
    everywhere: bool, network: Network, model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OffByOne(onnxruntime.InferenceSession):  # type: ignore[misc]  # it has no types
        """Says another confidence in one of 1,000 pixels of small frames, or of all."""

        def run(self, names: list[str], arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
            fused, labels, confidence = super().run(names, arrays)
            if everywhere or confidence.size < 100_000:
                confidence.reshape(-1)[::1000] ^= 1
            return [fused, labels, confidence]

    monkeypatch.setattr(onnxruntime, "InferenceSession", OffByOne)
    if everywhere:
        with pytest.raises(ExportError, match=r"confidence: .* differ from float64"):
            check(model, network)
    else:
        assert "confidence 0.0" in check(model, network)


def test_a_label_may_be_off_by_as_much_as_rounding_accounts_for() -> None:
    scores = torch.tensor([1.0, 0.99, 0.9]).double().reshape(1, 3, 1, 1)
    rounded = scores + torch.tensor([0.0, 0.003, -0.001]).reshape(1, 3, 1, 1)
    check_labels(torch.tensor([[[1]]], dtype=torch.uint8), scores, rounded)  # 0.01 behind, of 0.012
    with pytest.raises(ExportError, match=r"a class 0\.1 below the best one is named"):
        check_labels(torch.tensor([[[2]]], dtype=torch.uint8), scores, rounded)
    with pytest.raises(ExportError, match="class 3 is named; there are 3"):
        check_labels(torch.tensor([[[3]]], dtype=torch.uint8), scores, rounded)
    with pytest.raises(ExportError, match="scores are not finite"):
        check_labels(torch.tensor([[[0]]], dtype=torch.uint8), scores, rounded / 0)


@pytest.mark.parametrize("size", [(1, 8, 2, 1, 1), (2, 24, 3, 13, 7)])
def test_local_function_errs_at_most_twice_plain_torch(size: tuple[int, ...]) -> None:
    function = local_function()
    values = [array.float() for array in arguments(size)]
    node = onnx.helper.make_node(
        function.name, function.input, function.output, domain="segmif", epsilon=1e-5
    )
    graph = onnx.helper.make_graph(
        [node],
        "attention",
        [
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, value.shape)
            for name, value in zip(function.input, values, strict=True)
        ],
        [
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            for name in function.output
        ],
    )
    model = onnx.helper.make_model(
        graph,
        functions=[function],
        ir_version=10,
        opset_imports=[*function.opset_import, onnx.helper.make_opsetid("segmif", 1)],
    )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    feeds = {n: v.numpy() for n, v in zip(function.input, values, strict=True)}
    refined = [torch.from_numpy(array) for array in session.run(None, feeds)]
    exact = plain(*(value.double() for value in values))
    ulp = torch.finfo(torch.float32).eps * max(map_.abs().max().item() for map_ in exact)
    allowed = 2 * max(error(plain(*values), exact), error(gram(*values), exact)) + ulp
    assert error((refined[0], refined[1]), exact) <= allowed
