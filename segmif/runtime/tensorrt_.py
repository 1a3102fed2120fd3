"""
TensorRT: an engine for one kind of GPU, by names of tensors, from TensorRT 10.3 to 11.

One thread owns the GPU. It keeps some slots (`segmif.runtime.slot`): the next pair is on its way
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

from segmif.frames import asked_of, check_batch
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
    """The module `tensorrt`; ArtefactError if it is missing, cannot be loaded or is too old."""
    try:
        trt = importlib.import_module("tensorrt")
    except (ImportError, OSError) as error:
        raise ArtefactError(
            f"TensorRT is not installed here ({error}): take NVIDIA's TensorRT image, install "
            "the extra trt (in the clone: pip install '.[trt]'), or run the .onnx file instead"
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
        if not _knows_plugin(registry):
            ctypes.CDLL(str(path.resolve()))  # gives the reason if it fails; TensorRT does not
            registry.load_library(str(path.resolve()))
    except OSError as error:
        raise ArtefactError(f"{path} cannot be loaded: {error}") from error
    if not _knows_plugin(registry):
        raise ArtefactError(
            f"{path} offers TensorRT {trt.__version__} no {PLUGIN}: `make plugin` builds it anew "
            "with this TensorRT's headers"
        )
    return sha256(path)


def _knows_plugin(registry: Any) -> bool:
    return any(creator.name == PLUGIN for creator in registry.all_creators)


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
            "this engine computes the attention by our plugin: say where its library is "
            "(SEGMIF_PLUGIN), or build with --attention native"
        )
    if plugin.is_file() and sha256(plugin) != manifest.engine["plugin_sha256"]:
        raise ArtefactError(
            f"{plugin.name} is not the plugin that this engine was built with: "
            "`python -m export engine --rebuild` makes one that fits"
        )


@dataclass
class _Job:
    visible: Bytes
    infrared: Bytes
    confidence: bool
    answer: "Future[tuple[Bytes, ...]]" = field(default_factory=Future)


class EngineNetwork:
    """A network in a TensorRT engine; safe to call from several threads."""

    def __init__(
        self, engine: bytes, manifest: Manifest, trt: Any, device: Callable[[], DeviceBackend]
    ) -> None:
        self.manifest = manifest
        self.name = f"tensorrt {trt.__version__}"
        self.slots = SLOTS
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # between a call that comes and a runtime that closes
        self.outputs: tuple[str, ...] = ()
        self._end: DeviceError | ValueError | None = None  # why nothing more is taken
        opened: Future[str] = Future()
        self._thread = threading.Thread(
            target=self._own, args=(engine, trt, device, opened), name="segmif-gpu", daemon=True
        )
        self._thread.start()
        self.name = opened.result()

    def run(
        self, visible: Bytes, infrared: Bytes, *, confidence: bool = False
    ) -> tuple[Bytes, ...]:
        """See `segmif.runtime.Runtime.run`; SizeError beyond the profile, DeviceError if lost."""
        check_batch(visible, infrared)
        asked_of(self.outputs, confidence)
        check_size(self.manifest.engine["profile"], infrared.shape)
        job = _Job(visible, infrared, confidence)
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

    def _own(
        self,
        engine: bytes,
        trt: Any,
        open_: Callable[[], DeviceBackend],
        opened: "Future[str]",
    ) -> None:
        """The life of the thread that owns the GPU."""
        failure = device = None
        try:
            device = open_()
            self._serve(engine, trt, device, opened)
        except BaseException as error:
            if opened.done():
                raise
            traceback.clear_frames(error.__traceback__)  # they hold what must end before the device
            failure = error
        finally:
            with suppress(DeviceError):
                if device:
                    device.close()
        if failure:
            opened.set_exception(failure)

    def _serve(self, engine: bytes, trt: Any, device: DeviceBackend, opened: "Future[str]") -> None:
        """Opens the engine and answers jobs until the end; everything of TensorRT ends with it."""
        check_machine(self.manifest.engine, Machine.of(trt, device).facts)
        words = Words(trt)  # must live as long as what it is given to
        network = deserialize(trt, engine, words)
        profile = self.manifest.engine["profile"]
        slots = [Slot(trt, network, device, profile) for _ in range(SLOTS)]
        self.outputs = slots[0].outputs
        opened.set_result(f"{self.name} {device.name}")
        try:
            self._work(slots)
        finally:
            for slot in slots:
                slot.close()

    def _work(self, slots: list[Slot]) -> None:
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
            else:  # nobody waits, or there is no room: what came first is due
                slot, oldest = busy.popleft()
                self._finish(slot, oldest)
                free.appendleft(slot)  # what was used last is ready for this size of frames

    def _start(self, slot: Slot, job: _Job) -> bool:
        with self._answering(job):
            if isinstance(self._end, DeviceError):
                raise self._end
            slot.start(job.visible, job.infrared)
            return True
        return False

    def _finish(self, slot: Slot, job: _Job) -> None:
        with self._answering(job):
            job.answer.set_result(slot.finish(confidence=job.confidence))

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
