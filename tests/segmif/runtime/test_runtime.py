"""Artefacts that open and run, and those that are refused."""

import json
import resource
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ctypes import CDLL
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from segmif.frames import FramePair
from segmif.manifest import Manifest, ManifestError, sha256
from segmif.runtime import Runtime, onnxruntime_, open_runtime, predict
from segmif.runtime.errors import ArtefactError
from segmif.runtime.onnxruntime_ import onnxruntime

NANO = Path(__file__).parents[3] / "weights" / "nano.onnx"


def write_manifest(path: Path) -> Path:
    Manifest(variant="nano", taxonomy="mfnet", precision="fp32", sha256=sha256(path)).write(path)
    return path


def test_a_pair_of_any_size_goes_through(stand_in_weights: Path) -> None:
    runtime = open_runtime(stand_in_weights, threads=1)
    rng = np.random.default_rng(0)
    pair = FramePair(
        rng.integers(0, 256, (45, 70, 3), np.uint8), rng.integers(0, 256, (45, 70), np.uint8)
    )
    prediction = predict(runtime, pair)
    np.testing.assert_array_equal(prediction.fused, pair.visible)
    np.testing.assert_array_equal(prediction.labels, np.where(pair.infrared > 200, 2, 0))
    assert runtime.name.endswith("CPUExecutionProvider")
    assert runtime.manifest.variant == "nano"
    runtime.close()
    with pytest.raises(ValueError, match="closed"):
        predict(runtime, pair)


def test_frames_that_do_not_fit_are_named(stand_in_weights: Path) -> None:
    runtime = open_runtime(stand_in_weights, threads=1)
    with pytest.raises(ValueError, match=r"\(1, 40, 64, 3\).*multiples of 32"):
        runtime.run(np.zeros((1, 40, 64, 3), np.uint8), np.zeros((1, 40, 64), np.uint8))
    with pytest.raises(ValueError, match=r"infrared \(1, 64, 32\)"):
        runtime.run(np.zeros((1, 32, 64, 3), np.uint8), np.zeros((1, 64, 32), np.uint8))


def test_without_a_fitting_manifest_nothing_runs(stand_in_weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy.onnx"
    path.write_bytes(stand_in_weights.read_bytes())
    with pytest.raises(ManifestError, match=r"copy\.onnx\.json"):
        open_runtime(path)
    write_manifest(path)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ManifestError, match="sha256"):
        open_runtime(path)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("[]", "it holds a list, expected an object"),
        ('{"variant": "na', "it is no JSON .Unterminated string"),
        ('{"variant": "nano", "taxonomy": "mfnet", "precision": 16}', "it lacks precision, sha256"),
        ('{"variant": "nano", "author": "me"}', "it has author, which is not expected"),
    ],
)
def test_a_damaged_manifest_is_told(
    stand_in_weights: Path, tmp_path: Path, written: str, words: str
) -> None:
    path = tmp_path / "copy.onnx"
    path.write_bytes(stand_in_weights.read_bytes())
    Manifest.beside(path).write_text(written)
    remedy = r".*; restore it, or make copy\.onnx again"
    with pytest.raises(ManifestError, match=r"copy\.onnx\.json is not a .*: " + words + remedy):
        open_runtime(path)


@pytest.mark.parametrize("names", [["car", "car"], ["car", ""], ["car", 7]])
def test_classes_that_cannot_be_told_apart_are_refused(
    stand_in_weights: Path, tmp_path: Path, names: list[object]
) -> None:
    path = tmp_path / "copy.onnx"
    path.write_bytes(stand_in_weights.read_bytes())
    manifest = json.loads(Manifest.beside(stand_in_weights).read_text())
    manifest["taxonomy"] = {"name": "yard", "names": names, "palette": [[0, 0, 0], [1, 1, 1]]}
    Manifest.beside(path).write_text(json.dumps(manifest))
    with pytest.raises(ManifestError, match=r"two classes have the name 'car'|a class has no name"):
        open_runtime(path)


def test_a_batch_without_memory_is_a_memory_error(stand_in_weights: Path) -> None:
    runtime = open_runtime(stand_in_weights, threads=1)
    # a fused frame of 96 MiB: malloc keeps up to 64 for another use, so it must ask for it
    visible, infrared = np.zeros((1, 4096, 8192, 3), np.uint8), np.zeros((1, 4096, 8192), np.uint8)
    held = int(Path("/proc/self/status").read_text().split("VmData:")[1].split()[0]) * 1024
    usual = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (held + 2**20, usual[1]))
    try:
        with pytest.raises(MemoryError, match="ONNX Runtime"):
            runtime.run(visible, infrared)
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, usual)
    assert len(runtime.run(visible, infrared)) == 2


@pytest.mark.parametrize(("batch", "side"), [(64, 512), (2, 2880)])
def test_the_memory_of_a_large_batch_is_given_back(
    stand_in_weights: Path, batch: int, side: int
) -> None:
    runtime = open_runtime(stand_in_weights, threads=1)

    def resident_mib(pairs: int) -> int:
        size = pairs, side, side
        runtime.run(np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8))
        CDLL(None).malloc_trim(0)
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 // 2**20

    small, large = resident_mib(1), resident_mib(batch)
    runtime.trim()
    assert large > small + 64
    assert resident_mib(1) > small + 64  # the large batch was recent
    runtime.trim()
    assert resident_mib(1) < small + (large - small) / 4


def test_an_unknown_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"\.onnx"):
        open_runtime(tmp_path / "nano.trt")


class GpuSession:
    """A session that notes its providers; only the first of them is at hand."""

    chosen: list[tuple[str, dict[str, str]]]

    def __init__(
        self, content: bytes, options: object, *, providers: Any, enable_fallback: int, **_: Any
    ) -> None:
        GpuSession.chosen = providers
        assert not enable_fallback  # or an error of the GPU would make it a session of the CPU
        self._cpu = CPU_SESSION(content, options, providers=["CPUExecutionProvider"])

    def get_providers(self) -> list[str]:
        return [self.chosen[0][0], "CPUExecutionProvider"]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cpu, name)


CPU_SESSION = onnxruntime.InferenceSession


def assert_same_answers(ours: Runtime, usual: Runtime, batches: list[int]) -> None:
    random = np.random.default_rng(0)
    for batch in batches:
        for confidence in (True, False):
            visible = random.integers(0, 256, (batch, 64, 96, 3), np.uint8)
            infrared = np.sort(random.integers(0, 256, (batch, 64, 96), np.uint8))
            found = ours.run(visible, infrared, confidence=confidence)
            wanted = usual.run(visible, infrared, confidence=confidence)
            for each, exact in zip(found, wanted, strict=True):
                np.testing.assert_array_equal(each, exact)


class CountedMemory:
    """Memory of the host that knows what was not given back."""

    def __init__(self) -> None:
        self.taken, self.held, self.closed = 0, list[NDArray[np.uint8]](), False

    def take(self, size: int) -> NDArray[np.uint8]:
        self.taken += 1
        self.held.append(np.full(size, 77, np.uint8))
        return self.held[-1]

    def give_back(self, held: NDArray[np.uint8]) -> None:
        self.held = [each for each in self.held if each is not held]
        held[:] = 13  # whoever reads it now is noticed

    def close(self) -> None:
        self.closed = True


def test_io_binding_gives_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = CountedMemory()
    monkeypatch.setattr(onnxruntime_, "PinnedMemory", lambda: memory)
    usual = open_runtime(NANO, threads=1)
    bound = onnxruntime_.open_onnx(NANO, 1, "cpu", bound=True)
    assert_same_answers(bound, usual, [1, 3, 1])
    tensors = 6
    assert len(memory.held) == tensors and memory.taken <= 2 * tensors  # grown once
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: assert_same_answers(bound, usual, [2, 1]), range(4)))
    assert len(memory.held) <= 4 * tensors  # as many bindings as there were runs at a time
    bound.trim()
    bound.run(np.zeros((1, 32, 32, 3), np.uint8), np.zeros((1, 32, 32), np.uint8))
    bound.trim()  # the batches of three are long ago
    assert len(memory.held) <= tensors
    bound.close()
    assert memory.closed and not memory.held


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8+fp16"])
def test_a_gpu_gets_its_options(
    stand_in_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    path = tmp_path / "nano.onnx"
    path.write_bytes(stand_in_weights.read_bytes())
    Manifest(variant="nano", taxonomy="mfnet", precision=precision, sha256=sha256(path)).write(path)
    available = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    usual = open_runtime(stand_in_weights)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: available)
    monkeypatch.setattr(onnxruntime, "InferenceSession", GpuSession)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    runtime = open_runtime(path, device="cuda")
    assert runtime.name.endswith("CUDAExecutionProvider")
    assert_same_answers(runtime, usual, batches=[1])
    cuda = ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC"})
    assert GpuSession.chosen == [cuda]
    open_runtime(path, device="tensorrt")
    (_, options), second = GpuSession.chosen
    assert second == cuda
    folder = str(tmp_path / "segmif" / "onnxruntime" / sha256(path)[:16])
    assert options["trt_engine_cache_path"] == options["trt_timing_cache_path"] == folder
    assert Path(folder).is_dir()
    assert options["trt_fp16_enable"] == ("0" if precision == "fp32" else "1")
    assert options["trt_int8_enable"] == ("1" if precision == "int8+fp16" else "0")
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # no place for a cache
    open_runtime(path, device="tensorrt")
    assert set(GpuSession.chosen[0][1]) == {"trt_fp16_enable", "trt_int8_enable"}


def test_a_device_that_this_build_lacks_is_refused(stand_in_weights: Path) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this build of ONNX Runtime has CUDA")
    with pytest.raises(ArtefactError, match="CUDAExecutionProvider"):
        open_runtime(stand_in_weights, device="cuda")


def test_a_provider_that_does_not_load_is_refused(
    stand_in_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime would go on on the CPU, and say nothing."""
    available = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: available)
    monkeypatch.setattr(onnxruntime, "InferenceSession", GpuSession)
    monkeypatch.setattr(GpuSession, "get_providers", lambda session: available[1:])
    words = "asked for the CUDAExecutionProvider, but ONNX Runtime chose the CPUExecutionProvider"
    with pytest.raises(ArtefactError, match=words):
        open_runtime(stand_in_weights, device="cuda")


def garbage(path: Path) -> None:
    path.write_bytes(b"not a protobuf at all")


def other_tensors(path: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 18]> g (float[N] x) => (float[N] y) { y = Abs(x) }'
    )
    onnx.save(model, path)


def weights_outside(path: Path) -> None:
    weights = numpy_helper.from_array(np.ones(64, np.float32), "w")
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [64]) for name in "xy"]
    node = helper.make_node("Mul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", ports[:1], ports[1:], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (garbage, "cannot load .*: export it again"),
        (other_tensors, "export it again"),
        (weights_outside, "External data path|/dev/null/w.bin"),  # by the age of ONNX Runtime
    ],
)
def test_a_file_that_breaks_the_contract_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[Path], None],
    words: str,
) -> None:
    path = tmp_path / "network.onnx"
    write(path)
    monkeypatch.chdir(tmp_path)  # ONNX Runtime looks for outside weights in the working directory
    with pytest.raises(ArtefactError, match=words):
        open_runtime(write_manifest(path))
