"""
An engine of TensorRT 10.3 to 11, or of TensorRT for RTX.

One thread owns the GPU and only enqueues work and asks for its end. Each caller of `run` holds a
slot (`segmif.runtime.slot`) and copies its own frames, so the next batch waits on the GPU while the
last one computes.
"""

import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segmif.frames import TINT, check_batch, requested_outputs, tints
from segmif.manifest import Manifest, sha256
from segmif.runtime.compatibility import check_facts, check_machine, check_size
from segmif.runtime.device import DeviceBackend, open_device
from segmif.runtime.errors import ArtefactError, DeviceError, EnqueueError
from segmif.runtime.slot import Bytes, Floats, SharedEngine, Slot
from segmif.runtime.tensorrt_library import (
    Machine,
    TensorRTLog,
    deserialize,
    import_for,
    load_plugin,
)

SLOTS = 2
POLL_S = 5e-5  # between two questions whether a batch is done


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
        # no SimpleQueue: its `get` may wait for ever, if its timeout is over before it waits
        self._jobs: queue.Queue[_Job | None] = queue.Queue()
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
