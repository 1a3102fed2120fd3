"""
ONNX Runtime on CPUs, and on GPUs if its CUDA build is installed.

All modules import `onnxruntime` from here: its telemetry is off before it loads.
"""

import os
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from segmif.frames import (
    CONFIDENCE,
    INPUTS,
    MULTIPLE,
    OUTPUTS,
    TINT,
    check_batch,
    requested_outputs,
    tints,
)
from segmif.machine import usable_cores
from segmif.manifest import Manifest
from segmif.runtime.binding import BoundSession, HostMemory
from segmif.runtime.driver import PinnedMemory
from segmif.runtime.errors import ArtefactError

# Read when the library loads. Otherwise ONNX Runtime 1.32 looks up its maker's host and keeps a
# database of events in the home folder.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime as onnxruntime

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}

# cuDNN would otherwise time every algorithm of every convolution again for each new size of frames.
CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC"}

# Both spoil QDQ networks with FP16 scales (ONNX Runtime 1.32). The first rounds the biases by the
# product of two scales, which FP16 may not hold: it changed a twelfth of the labels of a network in
# FP8. The second makes integer operators, of which that for Concat refuses such scales.
DISABLED_OPTIMIZERS = ["WeightBiasQuantization", "QDQSelectorActionTransformer"]

# Parts of its messages, on CPU and CUDA.
OUT_OF_MEMORY = ("Failed to allocate memory", "bad_alloc", "out of memory")

# ONNX Runtime keeps the memory of the largest batch: 60 MiB for one pair of 640x480, 670 for eight.
SHRINK_ARENA = "memory.enable_memory_arena_shrinkage"


class OnnxNetwork:
    """A network in an ONNX Runtime session."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        manifest: Manifest,
        memory: HostMemory | None = None,
    ) -> None:
        """With `memory`, frames go through it to the session and back, by IO binding."""
        provider = session.get_providers()[0]
        self.name = f"onnxruntime {onnxruntime.__version__} {provider}"
        self.manifest = manifest
        given = {node.name for node in session.get_outputs()}
        self.outputs = tuple(name for name in OUTPUTS if name in given)
        takes_tint = any(node.name == TINT for node in session.get_inputs())
        self.default_tint = manifest.default_tint if takes_tint else None
        self._options = _run_options()
        self._shrinking = _run_options()
        arenas = "cpu:0" if provider == PROVIDERS["cpu"] else "cpu:0;gpu:0"
        self._shrinking.add_run_config_entry(SHRINK_ARENA, arenas)
        self._pair = 0  # bytes of a pair in the last batch
        self._recent = self._largest = 0  # batch [bytes] since the last `trim`, and in the arena
        self._bound = BoundSession(session, memory) if memory else None
        self._session: onnxruntime.InferenceSession | None = session

    def run(
        self,
        visible: NDArray[np.uint8],
        infrared: NDArray[np.uint8],
        *,
        tint: NDArray[np.float32] | None = None,
        confidence: bool = False,
    ) -> tuple[NDArray[np.uint8], ...]:
        """See `segmif.runtime.Runtime.run`."""
        session, bound = self._session, self._bound
        if session is None:
            raise ValueError("the runtime was closed")
        check_batch(visible, infrared)
        given = self._feeds(visible, infrared, tint)
        wanted = requested_outputs(self.outputs, confidence)
        self._pair, self._recent = prod(visible.shape[1:]), max(self._recent, visible.nbytes)
        try:
            if bound:
                shapes = {n: _shape(n, infrared.shape) for n in wanted}
                return bound.run(given, shapes, self._options)
            outputs = session.run(wanted, given, self._options)
        except Exception as error:  # ONNX Runtime's exceptions have no common base but this one
            if not any(words in str(error) for words in OUT_OF_MEMORY):
                raise
            self._shrink_arena()
            raise MemoryError(f"ONNX Runtime: {error}") from error
        return cast(tuple[NDArray[np.uint8], ...], tuple(outputs))

    def _feeds(
        self,
        visible: NDArray[np.uint8],
        infrared: NDArray[np.uint8],
        tint: NDArray[np.float32] | None = None,
    ) -> dict[str, NDArray[Any]]:
        feeds: dict[str, NDArray[Any]] = {"visible": visible, "infrared": infrared}
        if tint is not None or self.default_tint is not None:
            feeds[TINT] = tints(tint, self.default_tint, len(infrared))
        return feeds

    def _shrink_arena(self) -> None:
        """Free the memory that earlier runs left in the arena."""
        with suppress(Exception):  # the caller raises the first error
            smallest = np.zeros((1, MULTIPLE, MULTIPLE), np.uint8)
            pair = self._feeds(np.stack([smallest] * 3, 3), smallest)
            if self._session:
                self._session.run(["fused", "labels"], pair, self._shrinking)

    def trim(self) -> None:
        """See `segmif.runtime.Runtime.trim`."""
        recent, self._recent = self._recent, 0
        if max(recent, self._pair) < self._largest:  # room for one pair stays
            self._shrink_arena()
            if self._bound:
                self._bound.trim()
            self._largest = 0
        self._largest = max(recent, self._largest)

    def close(self) -> None:
        """Stop current runs and free the session."""
        self._options.terminate = self._shrinking.terminate = True
        bound, self._bound, self._session = self._bound, None, None
        if bound:
            bound.close()


def open_onnx(
    path: Path, threads: int | None, device: str, *, bound: bool | None = None
) -> OnnxNetwork:
    """
    Open an ONNX file with its manifest; see `segmif.runtime.open_runtime`.

    `bound`: frames go by IO binding through pinned memory; None: if the device is a GPU.
    """
    manifest, content = Manifest.open(path)
    provider = PROVIDERS[device]
    if device != "cpu" and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()  # CUDA's libraries from Python packages
    if provider not in onnxruntime.get_available_providers():
        raise ArtefactError(
            f"device {device!r} needs the {provider}, which the installed ONNX Runtime lacks; "
            "install the extra gpu as docs/guides/gpu-and-jetson.md says, or choose the CPU"
        )
    try:
        session = onnxruntime.InferenceSession(
            content,
            _options(threads),
            providers=_providers(device, manifest),
            disabled_optimizers=DISABLED_OPTIMIZERS,
            enable_fallback=0,  # else a GPU's error, now or in a run, makes it a session of the CPU
        )
    except Exception as error:  # ONNX Runtime's exceptions have no common base but this one
        raise ArtefactError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load {path.name} ({error}): export it "
            "again, or install a newer ONNX Runtime if it lacks an opset or an operator"
        ) from error
    if session.get_providers()[0] != provider:
        # It does without a provider whose libraries do not load, twenty times slower.
        found = session.get_providers()[0]
        session = None
        raise ArtefactError(f"asked for the {provider}, but ONNX Runtime chose the {found}")
    _check_tensors(path, session)
    by_binding = device != "cpu" if bound is None else bound
    return OnnxNetwork(session, manifest, PinnedMemory() if by_binding else None)


def _providers(device: str, manifest: Manifest) -> list[tuple[str, dict[str, str]]]:
    """The provider of a device and its options; CUDA runs the nodes that TensorRT does not take."""
    if device == "cpu":
        return [(PROVIDERS["cpu"], {})]
    cuda = (PROVIDERS["cuda"], CUDA_OPTIONS)
    if device == "cuda":
        return [cuda]
    return [(PROVIDERS["tensorrt"], _tensorrt_options(manifest)), cuda]


def _tensorrt_options(manifest: Manifest) -> dict[str, str]:
    """
    Precisions that the ONNX has, and a cache of engines and timings if there is a place for it.

    Whether ONNX Runtime's TensorRT then keeps HIA's sums in FP32 is open, as no GPU has run it.
    """
    precisions = manifest.precision.split("+")  # as `int8+fp16`
    kinds = {f"trt_{kind}_enable": str(int(kind in precisions)) for kind in ("fp16", "int8")}
    folder = _tensorrt_cache(manifest)
    if folder is None:
        return kinds
    return kinds | {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
    }


def _tensorrt_cache(manifest: Manifest) -> Path | None:
    """
    The folder of this ONNX in the user's cache, made if it is missing; None if it cannot be.

    ONNX Runtime makes no parents, and names engines by the graph and not by its weights.
    """
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = home / "segmif" / "onnxruntime" / manifest.sha256[:16]
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # a read-only container; a user without a home
        return None
    return folder


def _run_options() -> onnxruntime.RunOptions:
    options = onnxruntime.RunOptions()
    options.only_execute_path_to_fetches = True  # no confidence unless requested
    return options


def _options(threads: int | None) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or _thread_count()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Spinning threads would take the cores from the codecs, which run at the same time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # The manifest's hash does not cover weights outside the file: no folder has any.
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", os.devnull
    )
    return options


def _thread_count() -> int:
    """The usable cores if they are not all; else 0, which leaves it to ONNX Runtime."""
    usable = usable_cores()
    return usable if usable < (os.cpu_count() or 1) else 0


def _check_tensors(path: Path, session: onnxruntime.InferenceSession) -> None:
    inputs = {node.name: (node.type, len(node.shape)) for node in session.get_inputs()}
    outputs = {node.name: (node.type, len(node.shape)) for node in session.get_outputs()}
    wanted_inputs, wanted_outputs = _contract(INPUTS), _contract(OUTPUTS)
    if TINT in inputs:
        wanted_inputs[TINT] = ("tensor(float)", 1)
    if CONFIDENCE not in outputs:
        del wanted_outputs[CONFIDENCE]
    if inputs != wanted_inputs or not wanted_outputs.items() <= outputs.items():
        raise ArtefactError(
            f"{path.name} maps {inputs} to {outputs}; expected {wanted_inputs} to "
            f"{wanted_outputs}: export it again"
        )


def _shape(output: str, infrared: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of an output for infrared (B, H, W)."""
    return (*infrared, 3) if OUTPUTS[output] == 3 else infrared


def _contract(tensors: dict[str, int]) -> dict[str, tuple[str, int]]:
    return {n: ("tensor(uint8)", 4 if depth == 3 else 3) for n, depth in tensors.items()}
