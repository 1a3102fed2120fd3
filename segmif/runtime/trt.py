"""
TensorRT: an engine for one kind of GPU, by names of tensors, from TensorRT 8.5 to 11.

One thread owns the GPU. It keeps some slots, each with pinned buffers, a stream and, for every size
of frames that it met, an execution context and a CUDA graph of upload, network and download: the
next pair is on its way while the last one computes.
"""

import ctypes
import importlib
import logging
import queue
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from segmif.frames import check_batch
from segmif.manifest import Manifest, sha256
from segmif.runtime.device import Buffer, DeviceBackend, open_device
from segmif.runtime.errors import ArtefactError, DeviceError

INPUTS = {"visible": 3, "infrared": 1}  # bytes a pixel
OUTPUTS = {"fused": 3, "labels": 1}
SLOTS = 2
SIZES = 4  # of frames that a slot stays ready for

Bytes = NDArray[np.uint8]
Size = tuple[int, int, int]  # batch, height, width
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Machine:
    """What an engine is built for and runs on."""

    tensorrt: str
    device: str
    capability: str  # compute capability, as 9.0
    driver: str

    @classmethod
    def of(cls, trt: Any, device: DeviceBackend) -> Self:
        """The machine that a module and an open device stand for."""
        return cls(
            trt.__version__, device.name, ".".join(map(str, device.capability)), device.driver
        )

    @classmethod
    def here(cls) -> Self:
        """This machine; ArtefactError or DeviceError where it has no TensorRT or no GPU."""
        trt = import_tensorrt()
        device = open_device()
        try:
            return cls.of(trt, device)
        finally:
            device.close()

    @property
    def facts(self) -> dict[str, str]:
        """As a manifest holds them."""
        return dict(vars(self))


def import_tensorrt() -> Any:
    """The module `tensorrt`; ArtefactError where it is not installed or cannot be loaded."""
    try:
        return importlib.import_module("tensorrt")
    except (ImportError, OSError) as error:
        raise ArtefactError(
            f"TensorRT is not installed here ({error}): take NVIDIA's TensorRT image or install "
            "segmif[trt], or run the .onnx file instead"
        ) from error


def version_of(trt: Any) -> tuple[int, ...]:
    """Major, minor, ... of the module `tensorrt`."""
    if trt.__name__ == "tensorrt_rtx":
        return (11,)  # counts versions of its own; what it offers is that of TensorRT 11
    return tuple(int(part) for part in trt.__version__.split(".") if part.isdigit())


class Words:
    """TensorRT's log, passed on to ours; its last error is kept."""

    def __init__(self, trt: Any) -> None:
        self.last_error = "it gave no reason"
        words = self

        class Logger(trt.ILogger):  # type: ignore[misc]  # the module is only known when it runs
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                    words.last_error = message
                log.debug("TensorRT: %s", message)

        self.of_tensorrt = Logger()


def load_plugin(trt: Any, path: Path) -> str:
    """Registers the plugin of a library with TensorRT; gives the library's hash."""
    if not path.is_file():
        raise ArtefactError(
            f"there is no plugin at {path}: `make plugin` builds it where TensorRT's headers are, "
            "--attention native goes without"
        )
    registry = trt.get_plugin_registry()
    try:
        if hasattr(registry, "load_library"):
            registry.load_library(str(path))
        else:  # before 8.6, a library registers its creators when it is loaded
            ctypes.CDLL(str(path))
    except OSError as error:
        raise ArtefactError(f"{path} cannot be loaded: {error}") from error
    return sha256(path)


def deserialize(trt: Any, engine: bytes, words: Words | None = None) -> Any:
    """An engine from its bytes; ArtefactError where this TensorRT cannot open it."""
    words = words or Words(trt)
    opened = trt.Runtime(words.of_tensorrt).deserialize_cuda_engine(engine)
    if opened is None:
        raise ArtefactError(
            f"TensorRT {trt.__version__} cannot open this engine: {words.last_error}; "
            "`python -m export engine --rebuild` makes one that fits"
        )
    return opened


def open_engine(
    path: Path,
    plugin: Path | None = None,
    trt: Any = None,
    device: Callable[[], DeviceBackend] = open_device,
) -> "EngineNetwork":
    """
    Opens an engine and its manifest; `trt` is the module `tensorrt` where the caller has it.

    Raises ManifestError, ArtefactError where the engine does not fit this machine, DeviceError
    where the GPU cannot be opened.
    """
    manifest = Manifest.read(path)
    if not manifest.engine:
        raise ArtefactError(
            f"the manifest of {path.name} says nothing of an engine: build it again"
        )
    trt = trt or import_tensorrt()
    if manifest.engine["attention"] == "plugin":
        _check_plugin(manifest, plugin)
        load_plugin(trt, plugin or Path())
    return EngineNetwork(path.read_bytes(), manifest, trt, device)


def _check_plugin(manifest: Manifest, plugin: Path | None) -> None:
    if plugin is None:
        raise ArtefactError(
            "this engine computes the attention by our plugin: say where its library is "
            "(SEGMIF_PLUGIN), or build with --attention native"
        )
    if plugin.is_file() and sha256(plugin) != manifest.engine["plugin_sha256"]:
        raise ArtefactError(
            f"{plugin.name} is not the plugin that this engine was built with: "
            "`python -m export engine --rebuild` makes one that fits"
        )


def check_machine(manifest: Manifest, machine: Machine) -> None:
    """ArtefactError where an engine was built for another TensorRT or another kind of GPU."""
    built = manifest.engine
    for what in ("tensorrt", "capability"):
        if built[what] != machine.facts[what]:
            raise ArtefactError(
                f"this engine was built for TensorRT {built['tensorrt']} on {built['device']} "
                f"({built['capability']}); here are TensorRT {machine.tensorrt} and "
                f"{machine.device} ({machine.capability}): `python -m export engine --rebuild` "
                "makes one that fits"
            )


@dataclass
class _Job:
    visible: Bytes
    infrared: Bytes
    answer: "Future[tuple[Bytes, Bytes]]" = field(default_factory=Future)

    @property
    def size(self) -> Size:
        batch, height, width = self.infrared.shape
        return batch, height, width


class EngineNetwork:
    """A network in a TensorRT engine; safe to call from several threads."""

    def __init__(
        self, engine: bytes, manifest: Manifest, trt: Any, device: Callable[[], DeviceBackend]
    ) -> None:
        self.manifest = manifest
        self.name = f"tensorrt {trt.__version__}"
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # between a call that comes and a runtime that closes
        self._end: DeviceError | ValueError | None = None  # why nothing more is taken
        opened: Future[str] = Future()
        self._thread = threading.Thread(
            target=self._own, args=(engine, trt, device, opened), name="segmif-gpu", daemon=True
        )
        self._thread.start()
        self.name = opened.result()

    def run(self, visible: Bytes, infrared: Bytes) -> tuple[Bytes, Bytes]:
        """See `segmif.runtime.Runtime.run`; DeviceError where the GPU is lost."""
        check_batch(visible, infrared)
        self._check_profile(infrared.shape)
        job = _Job(visible, infrared)
        with self._lock:
            if self._end:
                raise type(self._end)(*self._end.args)
            self._jobs.put(job)
        return job.answer.result()

    def close(self) -> None:
        """Ends the thread that owns the GPU, after what it was given before."""
        with self._lock:
            self._end = self._end or ValueError("the runtime was closed")
            self._jobs.put(None)
        self._thread.join()

    def _check_profile(self, size: tuple[int, ...]) -> None:
        profile = self.manifest.engine["profile"]
        limits = [
            (name, profile[name][0], profile[name][2]) for name in ("batch", "height", "width")
        ]
        if any(not least <= n <= most for n, (_, least, most) in zip(size, limits, strict=True)):
            takes = ", ".join(f"{name} {least} to {most}" for name, least, most in limits)
            raise ValueError(
                f"frames of batch {size[0]}, {size[1]}x{size[2]}: this engine takes {takes}; "
                "build it with another profile for more"
            )

    def _own(
        self,
        engine: bytes,
        trt: Any,
        open_: Callable[[], DeviceBackend],
        opened: "Future[str]",
    ) -> None:
        """The life of the thread that owns the GPU."""
        device = None
        try:
            device = open_()
            check_machine(self.manifest, Machine.of(trt, device))
            words = Words(trt)  # must live as long as what it is given to
            network = deserialize(trt, engine, words)
            slots = [_Slot(network, device, self.manifest) for _ in range(SLOTS)]
        except BaseException as error:
            opened.set_exception(error)
            if device:
                device.close()
            return
        opened.set_result(f"{self.name} {device.name}")
        try:
            self._work(slots)
        finally:
            slots.clear()
            with suppress(DeviceError):
                device.close()

    def _work(self, slots: "list[_Slot]") -> None:
        """Keeps the slots busy, oldest job first, until no more jobs come."""
        free, busy = deque(slots), deque[tuple[_Slot, _Job]]()
        ended = False
        while busy or not ended:
            job = None if ended or not free else self._next(wait=not busy)
            if job is END:
                ended = True
            elif isinstance(job, _Job):
                if self._start(free[0], job):
                    busy.append((free.popleft(), job))
            else:  # nobody waits, or there is no room: what came first is due
                slot, oldest = busy.popleft()
                self._finish(slot, oldest)
                free.appendleft(slot)  # what was used last is ready for this size of frames

    def _start(self, slot: "_Slot", job: _Job) -> bool:
        with self._answering(job):
            if isinstance(self._end, DeviceError):
                raise self._end
            slot.start(job)
            return True
        return False

    def _finish(self, slot: "_Slot", job: _Job) -> None:
        with self._answering(job):
            job.answer.set_result(slot.finish(job))

    @contextmanager
    def _answering(self, job: _Job) -> Iterator[None]:
        """What goes wrong with a job becomes its answer; with a lost GPU, that of all to come."""
        try:
            yield
        except DeviceError as error:
            with self._lock:
                if not isinstance(self._end, DeviceError):
                    words = f"the GPU was lost ({error}): start anew to open it again"
                    self._end = DeviceError(words)
            job.answer.set_exception(self._end)
        except Exception as error:
            job.answer.set_exception(error)

    def _next(self, *, wait: bool) -> "_Job | object | None":
        """The next job; END where none will come, None where none is there and `wait` is unset."""
        try:
            job = self._jobs.get(block=wait)
        except queue.Empty:
            return None
        return END if job is None else job


END = object()


class _Slot:
    """Buffers and a stream for one batch at a time."""

    def __init__(self, engine: Any, device: DeviceBackend, manifest: Manifest) -> None:
        self._engine, self._device = engine, device
        self._stream = device.stream()
        profile = manifest.engine["profile"]
        pixels = profile["batch"][2] * profile["height"][2] * profile["width"][2]
        self._buffers = {
            name: device.buffer(pixels * depth) for name, depth in (INPUTS | OUTPUTS).items()
        }
        self._ready: OrderedDict[Size, Callable[[], None]] = OrderedDict()

    def start(self, job: _Job) -> None:
        """Enqueues a job; its arrays may change afterwards."""
        for name, frame in (("visible", job.visible), ("infrared", job.infrared)):
            np.copyto(self._view(name, job.size), frame)
        if job.size not in self._ready:
            while len(self._ready) >= SIZES:
                self._ready.popitem(last=False)
            self._ready[job.size] = self._prepare(job.size)
        self._ready.move_to_end(job.size)
        self._ready[job.size]()

    def finish(self, job: _Job) -> tuple[Bytes, Bytes]:
        """Waits for a job and gives its answer, in memory of its own."""
        self._device.wait(self._stream)
        return self._view("fused", job.size).copy(), self._view("labels", job.size).copy()

    def _view(self, name: str, size: Size) -> Bytes:
        shape = _shape(name, size)
        return self._buffers[name].host[: int(np.prod(shape))].reshape(shape)

    def _prepare(self, size: Size) -> Callable[[], None]:
        """What enqueues upload, network and download for frames of a size."""
        context = self._context(size)

        def enqueue() -> None:
            for name in INPUTS:
                self._device.upload(*self._copied(name, size), self._stream)
            if not context.execute_async_v3(self._stream):
                raise DeviceError("TensorRT could not enqueue the network")
            for name in OUTPUTS:
                self._device.download(*self._copied(name, size), self._stream)

        enqueue()  # TensorRT sets things up in the first run, which a graph must not hold
        self._device.wait(self._stream)
        try:
            return self._device.capture(self._stream, enqueue)
        except DeviceError as error:
            log.warning("no CUDA graph for %s, work is enqueued piece by piece: %s", size, error)
            return enqueue

    def _context(self, size: Size) -> Any:
        """TensorRT's state for frames of a size, bound to the buffers."""
        context = self._engine.create_execution_context()
        if context is None:
            raise DeviceError("there is too little GPU memory for another size of frames")
        for name in INPUTS:
            if not context.set_input_shape(name, _shape(name, size)):
                raise ValueError(f"the engine refuses {name} of shape {_shape(name, size)}")
        for name, buffer in self._buffers.items():
            context.set_tensor_address(name, buffer.device)
        return context

    def _copied(self, name: str, size: Size) -> tuple[Buffer, int]:
        return self._buffers[name], int(np.prod(_shape(name, size)))


def _shape(name: str, size: Size) -> tuple[int, ...]:
    return (*size, 3) if (INPUTS | OUTPUTS)[name] == 3 else size
