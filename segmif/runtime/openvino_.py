"""
OpenVINO on a CPU, for the same .onnx files as ONNX Runtime.

OpenVINO takes no local functions, so those of a file become plain operators when it is opened.
"""

import importlib
import logging
import queue
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmif.frames import INPUTS, OUTPUTS, TINT, check_batch, requested_outputs, tints
from segmif.install import install_command
from segmif.machine import usable_cores
from segmif.manifest import Manifest
from segmif.runtime.errors import ArtefactError

REPORTER = "openvino_telemetry"
ABSENT = object()
PRECISIONS = {"openvino": "f32", "openvino-bf16": "bf16"}  # by the device that was asked for
OUT_OF_MEMORY = ("bad_alloc", "Cannot allocate memory", "out of memory")  # parts of its messages

log = logging.getLogger(__name__)


class OpenVinoNetwork:
    """A compiled network of OpenVINO; each caller has a request of its own."""

    def __init__(self, compiled: Any, manifest: Manifest, name: str) -> None:
        self.name = name
        self.manifest = manifest
        self._ports = {port.get_any_name(): port for port in compiled.outputs}
        self.outputs = tuple(each for each in OUTPUTS if each in self._ports)
        takes_tint = any(port.get_any_name() == TINT for port in compiled.inputs)
        self.default_tint = manifest.default_tint if takes_tint else None
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()  # requests
        self._compiled: Any = compiled

    def run(
        self,
        visible: NDArray[np.uint8],
        infrared: NDArray[np.uint8],
        *,
        tint: NDArray[np.float32] | None = None,
        confidence: bool = False,
    ) -> tuple[NDArray[np.uint8], ...]:
        """See `segmif.runtime.Runtime.run`."""
        compiled = self._compiled
        if compiled is None:
            raise ValueError("the runtime was closed")
        check_batch(visible, infrared)
        wanted = requested_outputs(self.outputs, confidence)
        feeds: dict[str, NDArray[Any]] = {"visible": visible, "infrared": infrared}
        if tint is not None or self.default_tint is not None:
            feeds[TINT] = tints(tint, self.default_tint, len(infrared))
        try:
            request = self._idle.get_nowait()
        except queue.Empty:
            request = compiled.create_infer_request()
        try:
            # its inputs are read in place, so they must outlive the call: `feeds` holds them
            found = request.infer(feeds, share_inputs=True, share_outputs=True)
            outputs = tuple(np.array(found[self._ports[name]]) for name in wanted)
        except RuntimeError as error:  # the request is dropped with it
            if any(words in str(error) for words in OUT_OF_MEMORY):
                raise MemoryError(f"OpenVINO: {error}") from error
            raise
        self._idle.put(request)
        return outputs

    def trim(self) -> None:
        """Free the requests that are not in use, and what the last batches left behind."""
        while True:
            try:
                self._idle.get_nowait()
            except queue.Empty:
                break
        if self._compiled is not None:
            self._compiled.release_memory()

    def close(self) -> None:
        """Free the network once current runs have ended."""
        self._compiled = None
        self._ports = {}
        while not self._idle.empty():
            self._idle.get_nowait()


def import_openvino() -> Any:
    """
    The module `openvino`; raises ArtefactError if it or `onnx` is missing.

    Its import would report to its maker and write into the home folder. Without its reporter, which
    it does not need, it does neither.
    """
    held = sys.modules.get(REPORTER, ABSENT)
    sys.modules[REPORTER] = None  # type: ignore[assignment]  # Python's mark of a module not there
    try:
        importlib.import_module("onnx.inliner")
        return importlib.import_module("openvino")
    except ImportError as error:
        raise ArtefactError(
            f"OpenVINO is not installed here ({error}): {install_command('openvino')}, or choose "
            "the device cpu"
        ) from error
    finally:
        del sys.modules[REPORTER]
        if held is not ABSENT:
            sys.modules[REPORTER] = held  # type: ignore[assignment]


def open_openvino(path: Path, threads: int | None, device: str) -> OpenVinoNetwork:
    """Open an ONNX file with its manifest; see `segmif.runtime.open_runtime`."""
    manifest, content = Manifest.open(path)
    openvino = import_openvino()
    core = openvino.Core()
    try:
        network = core.read_model(_plain_operators(path, content))
        _check_tensors(path, network)
        compiled = core.compile_model(network, "CPU", _options(threads, PRECISIONS[device]))
    except ArtefactError:
        raise
    except Exception as error:  # OpenVINO and the parser of protobuf have no common base but this
        raise ArtefactError(
            f"OpenVINO {version_of(openvino)} cannot load {path.name} ({error}): export it again, "
            "or choose the device cpu"
        ) from error
    precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if precision != PRECISIONS[device]:
        log.warning("this CPU has no %s: OpenVINO computes %s", PRECISIONS[device], precision)
    elif precision == "bf16" and not _has_bf16(core):
        log.warning("this CPU has no bf16: OpenVINO emulates it, which is slower than f32")
    name = f"openvino {version_of(openvino)} CPU {precision}"
    return OpenVinoNetwork(compiled, manifest, name)


def _has_bf16(core: Any) -> bool:
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def version_of(openvino: Any) -> str:
    """The version of the module `openvino` as its package has it."""
    return str(openvino.__version__).partition("-")[0]


def _plain_operators(path: Path, content: bytes) -> bytes:
    """An ONNX file without local functions; raises ArtefactError if it has numbers elsewhere."""
    onnx = importlib.import_module("onnx")
    model = onnx.load_from_string(content)
    tensors = [*model.graph.initializer]
    tensors += [each.t for node in model.graph.node for each in node.attribute]
    if any(each.data_location == onnx.TensorProto.EXTERNAL for each in tensors):
        raise ArtefactError(
            f"{path.name} keeps numbers in another file, which its manifest does not cover: "
            "`segmif export onnx` writes one file"
        )
    if not model.functions:
        return content
    inlined: bytes = onnx.inliner.inline_local_functions(model).SerializeToString()
    return inlined


def _options(threads: int | None, precision: str) -> dict[str, Any]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads or usable_cores(),
        "INFERENCE_PRECISION_HINT": precision,
        # Two services on one machine would pin their threads to the same cores.
        "ENABLE_CPU_PINNING": False,
    }


def _check_tensors(path: Path, network: Any) -> None:
    inputs, outputs = (_described(ports) for ports in (network.inputs, network.outputs))
    wanted_inputs, wanted_outputs = (
        {name: ("u8", 4 if depth == 3 else 3) for name, depth in tensors.items()}
        for tensors in (INPUTS, OUTPUTS)
    )
    if TINT in inputs:
        wanted_inputs[TINT] = ("f32", 1)
    if "confidence" not in outputs:
        del wanted_outputs["confidence"]
    if inputs != wanted_inputs or not wanted_outputs.items() <= outputs.items():
        raise ArtefactError(
            f"{path.name} maps {inputs} to {outputs}; expected {wanted_inputs} to "
            f"{wanted_outputs}: export it again"
        )


def _described(ports: Any) -> dict[str, tuple[str, int]]:
    """Type and rank of each tensor by its name."""
    return {
        port.get_any_name(): (port.element_type.get_type_name(), len(port.partial_shape))
        for port in ports
    }
