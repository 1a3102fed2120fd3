"""
An engine of TensorRT 10.3 to 11, or of TensorRT for RTX.

One thread owns the GPU and only enqueues work and asks for its end. Each caller of `run` holds a
slot (`segmif.runtime.slot`) and copies its own frames, so the next batch waits on the GPU while the
last one computes.
"""

import ctypes
import importlib
import logging
import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from typing_extensions import Self

from segmif.frames import TINT, check_batch, requested_outputs, tints
from segmif.install import install_command
from segmif.manifest import Manifest, sha256
from segmif.runtime import tensorrt_rtx_ as rtx
from segmif.runtime.compatibility import check_facts, check_machine, check_size
from segmif.runtime.device import DeviceBackend, open_device
from segmif.runtime.errors import ArtefactError, DeviceError, EnqueueError
from segmif.runtime.slot import Bytes, Floats, SharedEngine, Slot

SLOTS = 2
POLL_S = 5e-5  # between two questions whether a batch is done
PLUGIN = "InteractiveAttention"
OLDEST = (10, 3)  # TensorRT of JetPack 6

NO_REASON = "it gave no reason"

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
            rtx.label_of(trt), device.name, ".".join(map(str, device.capability)), device.driver
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

    @classmethod
    def any_rtx(cls) -> Self:
        """The RTX cards for which TensorRT-RTX builds; raises ArtefactError without it."""
        trt = rtx.import_tensorrt_rtx()
        return cls(rtx.label_of(trt), rtx.CARDS, ".".join(map(str, rtx.LEAST)), "any")

    @property
    def facts(self) -> dict[str, str]:
        """The facts of a manifest."""
        return dict(vars(self))


def import_for(facts: Mapping[str, Any]) -> Any:
    """The module that an engine with these facts needs; raises as `import_tensorrt`."""
    return rtx.import_tensorrt_rtx() if rtx.is_rtx(facts["tensorrt"]) else import_tensorrt()


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
    if rtx.is_rtx(trt.__name__):
        return (11,)  # has version numbers of its own and the interface of TensorRT 11
    return tuple(int(part) for part in trt.__version__.split(".") if part.isdigit())


class TensorRTLog:
    """A logger for TensorRT that keeps its last error and forwards all to our log."""

    def __init__(self, trt: Any) -> None:
        self.last_error = NO_REASON
        outer = self

        class Logger(trt.ILogger):  # type: ignore[misc]  # the module is only known when it runs
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                    outer.last_error = message
                log.debug("TensorRT: %s", message)

        self.logger = Logger()

    def take_error(self) -> str:
        """The last error, which is forgotten: the next one must not be explained by it."""
        error, self.last_error = self.last_error, NO_REASON
        return error


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
    trt = trt or import_for(manifest.engine)
    if "plugin" in (manifest.engine["attention"], manifest.engine.get("pixels")):
        _check_plugin(manifest, plugin)
        load_plugin(trt, plugin or Path())
    return EngineNetwork(content, manifest, trt, device)


def _check_plugin(manifest: Manifest, plugin: Path | None) -> None:
    if plugin is None:
        raise ArtefactError(
            "this engine computes some nodes by our plugin: give the path of its library "
            "(SEGMIF_PLUGIN), or build with --attention native"
        )
    if plugin.is_file() and sha256(plugin) != manifest.engine["plugin_sha256"]:
        raise ArtefactError(
            f"{plugin.name} is not the plugin that this engine was built with: "
            "`segmif export engine --rebuild` makes one that fits"
        )


@dataclass
class _Job:
    slot: Slot  # which has the frames
    done: "Future[None]" = field(default_factory=Future)


class EngineNetwork:
    """A network in a TensorRT engine; safe to call from several threads."""

    def __init__(
        self, engine: bytes, manifest: Manifest, trt: Any, device: Callable[[], DeviceBackend]
    ) -> None:
        self.manifest = manifest
        self.name = f"{trt.__name__} {trt.__version__}"
        self.slots = SLOTS  # batches at a time
        # the slot used last has the graph for this size of frames; None: there are no more
        self._free: queue.LifoQueue[Slot | None] = queue.LifoQueue()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # between `run` and `close`
        self.outputs: tuple[str, ...] = ()
        self.default_tint: float | None = None
        self._end: DeviceError | ValueError | None = None  # why no more jobs are accepted
        opened: Future[str] = Future()
        self._thread = threading.Thread(
            target=self._own_gpu, args=(engine, trt, device, opened), name="segmif-gpu", daemon=True
        )
        self._thread.start()
        self.name = opened.result()

    def run(
        self,
        visible: Bytes,
        infrared: Bytes,
        *,
        tint: Floats | None = None,
        confidence: bool = False,
    ) -> tuple[Bytes, ...]:
        """
        See `segmif.runtime.Runtime.run`.

        Raises EnqueueError if this batch was refused, DeviceError once the GPU is lost.
        """
        check_batch(visible, infrared)
        requested_outputs(self.outputs, confidence)
        check_size(self.manifest.engine["profile"], infrared.shape)
        if tint is not None or self.default_tint is not None:
            tint = tints(tint, self.default_tint, len(infrared))
        slot = self._free.get()
        try:
            if slot is None:  # the end is set before the last slot is taken
                raise self._ended()
            slot.write(visible, infrared, tint)
            job = _Job(slot)
            with self._lock:
                if self._end:
                    raise self._ended()
                self._jobs.put(job)
            job.done.result()
            return slot.read(confidence=confidence)
        finally:
            self._free.put(slot)

    def _ended(self) -> Exception:
        assert self._end
        return type(self._end)(*self._end.args)

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
        facts = self.manifest.engine
        check_machine(facts, Machine.of(trt, device).facts)
        trt_log = TensorRTLog(trt)  # must live as long as the engine
        network = deserialize(trt, engine, trt_log)
        shared = SharedEngine(trt, network, device, facts, trt_log.take_error)
        slots = [Slot(shared) for _ in range(SLOTS)]
        self.outputs = shared.outputs
        self.default_tint = self.manifest.default_tint if TINT in shared.inputs else None
        for slot in slots:
            self._free.put(slot)
        opened.set_result(f"{self.name} {device.name}")
        try:
            self._process_jobs(device)
            for _ in slots:  # whoever still reads a slot gives it back
                self._free.get()
            self._free.put(None)
        finally:
            for slot in slots:
                slot.close()

    def _process_jobs(self, device: DeviceBackend) -> None:
        """
        Enqueues jobs as they come and ends them as the GPU does, until no more come.

        A job holds a slot, so there is always room for it.
        """
        busy, ended = deque[_Job](), False
        while busy or not ended:
            job = self._next(working=bool(busy), ended=ended)
            if job is END:
                ended = True
            elif isinstance(job, _Job) and self._start(job, device):
                busy.append(job)
            while busy and self._is_done(busy[0], device):
                busy.popleft()

    def _start(self, job: _Job, device: DeviceBackend) -> bool:
        with self._catching(job, device):
            if isinstance(self._end, DeviceError):
                raise self._end
            job.slot.start()
            return True
        return False

    def _is_done(self, job: _Job, device: DeviceBackend) -> bool:
        with self._catching(job, device):
            if not job.slot.finished:
                return False
            job.done.set_result(None)
        return True

    @contextmanager
    def _catching(self, job: _Job, device: DeviceBackend) -> Iterator[None]:
        """Gives an exception to the job's caller; that of a lost GPU also to all later callers."""
        try:
            yield
        except DeviceError as error:
            job.done.set_exception(self._judged(error, device))
        except Exception as error:
            with suppress(DeviceError):  # the next job finds that out
                device.check()  # nothing of a refused batch may run on in its slot
            # its frames would keep a context alive for as long as the caller keeps the error
            job.done.set_exception(error.with_traceback(None))

    def _judged(self, error: DeviceError, device: DeviceBackend) -> Exception:
        """The error of one job, or of all if the driver keeps it: then the GPU is lost."""
        if isinstance(self._end, DeviceError):
            return self._end
        try:
            device.check()
        except DeviceError as kept:
            with self._lock:
                self._end = DeviceError(f"the GPU was lost ({kept}): restart to open it again")
            return self._end
        return EnqueueError(f"the GPU did not take this batch ({error})")

    def _next(self, *, working: bool, ended: bool) -> "_Job | object | None":
        """The next job; END after the last one, None if none comes while the GPU is `working`."""
        if ended:
            time.sleep(POLL_S)
            return None
        try:
            job = self._jobs.get(timeout=POLL_S if working else None)
        except queue.Empty:
            return None
        return END if job is None else job


END = object()
