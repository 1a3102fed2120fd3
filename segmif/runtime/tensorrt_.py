"""
An engine of TensorRT 10.3 to 11.

One thread owns the GPU. It has several slots (`segmif.runtime.slot`), so the next batch is uploaded
while the last one computes.
"""

import ctypes
import importlib
import logging
import queue
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from typing_extensions import Self

from segmif.frames import check_batch, requested_outputs
from segmif.install import install_command
from segmif.manifest import Manifest, sha256
from segmif.runtime.compatibility import check_facts, check_machine, check_size
from segmif.runtime.device import DeviceBackend, open_device
from segmif.runtime.errors import ArtefactError, DeviceError
from segmif.runtime.slot import Bytes, Slot

SLOTS = 2
PLUGIN = "InteractiveAttention"
OLDEST = (10, 3)  # TensorRT of JetPack 6

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Machine:
    """The TensorRT and GPU that an engine is built for."""

    tensorrt: str
    device: str
    capability: str  # compute capability, as 9.0
    driver: str

    @classmethod
    def of(cls, trt: Any, device: DeviceBackend) -> Self:
        """The machine of a module `tensorrt` and an open device."""
        return cls(
            trt.__version__, device.name, ".".join(map(str, device.capability)), device.driver
        )

    @classmethod
    def here(cls) -> Self:
        """This machine; raises ArtefactError without TensorRT, DeviceError without a GPU."""
        trt = import_tensorrt()
        device = open_device()
        try:
            return cls.of(trt, device)
        finally:
            device.close()

    @property
    def facts(self) -> dict[str, str]:
        """The facts of a manifest."""
        return dict(vars(self))


def import_tensorrt() -> Any:
    """The module `tensorrt`; raises ArtefactError if it is missing, broken or too old."""
    try:
        trt = importlib.import_module("tensorrt")
    except (ImportError, OSError) as error:
        raise ArtefactError(
            f"TensorRT is not installed here ({error}): take NVIDIA's TensorRT image, run the "
            f".onnx file instead, or {install_command('trt')}"
        ) from error
    if version_of(trt) < OLDEST:
        raise ArtefactError(
            f"TensorRT {trt.__version__} is installed here; {'.'.join(map(str, OLDEST))} or later "
            "is needed: upgrade it, or run the .onnx file instead"
        )
    return trt


def version_of(trt: Any) -> tuple[int, ...]:
    """Major, minor, ... of the module `tensorrt`."""
    if trt.__name__ == "tensorrt_rtx":
        return (11,)  # has version numbers of its own and the interface of TensorRT 11
    return tuple(int(part) for part in trt.__version__.split(".") if part.isdigit())


class TensorRTLog:
    """A logger for TensorRT that keeps its last error and forwards all to our log."""

    def __init__(self, trt: Any) -> None:
        self.last_error = "it gave no reason"
        outer = self

        class Logger(trt.ILogger):  # type: ignore[misc]  # the module is only known when it runs
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                    outer.last_error = message
                log.debug("TensorRT: %s", message)

        self.logger = Logger()


def load_plugin(trt: Any, path: Path) -> str:
    """Registers our plugin with TensorRT; gives its library's hash, or raises ArtefactError."""
    if not path.is_file():
        raise ArtefactError(
            f"there is no plugin at {path}: `make plugin` builds it if TensorRT's headers are "
            "installed, --attention native does without"
        )
    registry = trt.get_plugin_registry()
    try:
        if not _has_plugin(registry):
            ctypes.CDLL(str(path.resolve()))  # gives the reason if it fails; TensorRT does not
            registry.load_library(str(path.resolve()))
    except OSError as error:
        raise ArtefactError(f"{path} cannot be loaded: {error}") from error
    if not _has_plugin(registry):
        raise ArtefactError(
            f"{path} has no {PLUGIN} for TensorRT {trt.__version__}: build it again with the "
            "headers of this TensorRT (`make plugin`)"
        )
    return sha256(path)


def _has_plugin(registry: Any) -> bool:
    return any(creator.name == PLUGIN for creator in registry.all_creators)


def deserialize(trt: Any, engine: bytes, trt_log: TensorRTLog | None = None) -> Any:
    """An engine from its bytes; raises ArtefactError if this TensorRT cannot open it."""
    trt_log = trt_log or TensorRTLog(trt)
    opened = trt.Runtime(trt_log.logger).deserialize_cuda_engine(engine)
    if opened is None:
        raise ArtefactError(
            f"TensorRT {trt.__version__} cannot open this engine: {trt_log.last_error}; "
            "`segmif export engine --rebuild` makes one that fits"
        )
    return opened


def open_engine(
    path: Path,
    plugin: Path | None = None,
    trt: Any = None,
    device: Callable[[], DeviceBackend] = open_device,
) -> "EngineNetwork":
    """
    Opens an engine and its manifest; `trt` is the module `tensorrt` (None: imported here).

    Raises ManifestError, ArtefactError if the engine does not fit this machine, DeviceError if the
    GPU cannot be opened.
    """
    manifest, content = Manifest.open(path)
    check_facts(path, manifest.engine)
    trt = trt or import_tensorrt()
    if manifest.engine["attention"] == "plugin":
        _check_plugin(manifest, plugin)
        load_plugin(trt, plugin or Path())
    return EngineNetwork(content, manifest, trt, device)


def _check_plugin(manifest: Manifest, plugin: Path | None) -> None:
    if plugin is None:
        raise ArtefactError(
            "this engine computes the attention by our plugin: give the path of its library "
            "(SEGMIF_PLUGIN), or build with --attention native"
        )
    if plugin.is_file() and sha256(plugin) != manifest.engine["plugin_sha256"]:
        raise ArtefactError(
            f"{plugin.name} is not the plugin that this engine was built with: "
            "`segmif export engine --rebuild` makes one that fits"
        )


@dataclass
class _Job:
    visible: Bytes
    infrared: Bytes
    confidence: bool
    outputs: "Future[tuple[Bytes, ...]]" = field(default_factory=Future)


class EngineNetwork:
    """A network in a TensorRT engine; safe to call from several threads."""

    def __init__(
        self, engine: bytes, manifest: Manifest, trt: Any, device: Callable[[], DeviceBackend]
    ) -> None:
        self.manifest = manifest
        self.name = f"tensorrt {trt.__version__}"
        self.slots = SLOTS  # batches at a time
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # between `run` and `close`
        self.outputs: tuple[str, ...] = ()
        self._end: DeviceError | ValueError | None = None  # why no more jobs are accepted
        opened: Future[str] = Future()
        self._thread = threading.Thread(
            target=self._own_gpu, args=(engine, trt, device, opened), name="segmif-gpu", daemon=True
        )
        self._thread.start()
        self.name = opened.result()

    def run(
        self, visible: Bytes, infrared: Bytes, *, confidence: bool = False
    ) -> tuple[Bytes, ...]:
        """See `segmif.runtime.Runtime.run`; raises DeviceError once the GPU is lost."""
        check_batch(visible, infrared)
        requested_outputs(self.outputs, confidence)
        check_size(self.manifest.engine["profile"], infrared.shape)
        job = _Job(visible, infrared, confidence)
        with self._lock:
            if self._end:
                raise type(self._end)(*self._end.args)
            self._jobs.put(job)
        return job.outputs.result()

    def trim(self) -> None:
        """Does nothing: an engine has all its memory from the start."""

    def close(self) -> None:
        """Ends the thread that owns the GPU, after all jobs that were accepted."""
        with self._lock:
            self._end = self._end or ValueError("the runtime was closed")
            self._jobs.put(None)
        self._thread.join()

    def _own_gpu(
        self,
        engine: bytes,
        trt: Any,
        open_: Callable[[], DeviceBackend],
        opened: "Future[str]",
    ) -> None:
        """The thread that owns the GPU: opens it, runs the engine, closes it."""
        failure = device = None
        try:
            device = open_()
            self._run_engine(engine, trt, device, opened)
        except BaseException as error:
            if opened.done():
                raise
            traceback.clear_frames(error.__traceback__)  # their objects must end before the device
            failure = error
        finally:
            with suppress(DeviceError):
                if device:
                    device.close()
        if failure:
            opened.set_exception(failure)

    def _run_engine(
        self, engine: bytes, trt: Any, device: DeviceBackend, opened: "Future[str]"
    ) -> None:
        """Opens the engine and runs jobs until the end; all objects of TensorRT end with it."""
        check_machine(self.manifest.engine, Machine.of(trt, device).facts)
        trt_log = TensorRTLog(trt)  # must live as long as the engine
        network = deserialize(trt, engine, trt_log)
        profile = self.manifest.engine["profile"]
        slots = [Slot(trt, network, device, profile) for _ in range(SLOTS)]
        self.outputs = slots[0].outputs
        opened.set_result(f"{self.name} {device.name}")
        try:
            self._process_jobs(slots)
        finally:
            for slot in slots:
                slot.close()

    def _process_jobs(self, slots: list[Slot]) -> None:
        """Keeps the slots busy, oldest job first, until no more jobs come."""
        free, busy = deque(slots), deque[tuple[Slot, _Job]]()
        ended = False
        while busy or not ended:
            job = None if ended or not free else self._next(wait=not busy)
            if job is END:
                ended = True
            elif isinstance(job, _Job):
                if self._start(free[0], job):
                    busy.append((free.popleft(), job))
            else:  # no job waits, or no slot is free
                slot, oldest = busy.popleft()
                self._finish(slot, oldest)
                free.appendleft(slot)  # the slot used last has the graph for this size of frames

    def _start(self, slot: Slot, job: _Job) -> bool:
        with self._catching(job):
            if isinstance(self._end, DeviceError):
                raise self._end
            slot.start(job.visible, job.infrared)
            return True
        return False

    def _finish(self, slot: Slot, job: _Job) -> None:
        with self._catching(job):
            job.outputs.set_result(slot.finish(confidence=job.confidence))

    @contextmanager
    def _catching(self, job: _Job) -> Iterator[None]:
        """Gives an exception to the job's caller; that of a lost GPU also to all later callers."""
        try:
            yield
        except DeviceError as error:
            with self._lock:
                if not isinstance(self._end, DeviceError):
                    self._end = DeviceError(f"the GPU was lost ({error}): restart to open it again")
            job.outputs.set_exception(self._end)
        except Exception as error:
            job.outputs.set_exception(error)

    def _next(self, *, wait: bool) -> "_Job | object | None":
        """The next job; END after the last one, None if none waits and `wait` is False."""
        try:
            job = self._jobs.get(block=wait)
        except queue.Empty:
            return None
        return END if job is None else job


END = object()
