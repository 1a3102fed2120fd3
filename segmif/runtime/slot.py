"""
Pinned buffers on a GPU for one batch at a time.

A slot keeps an execution context and a CUDA graph of upload, network and download for each of the
last sizes of frames. All slots share one stream and one scratch memory, so batches compute one
after the other. The host fills and empties the buffers of one slot while another one computes.
"""

import logging
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmif.frames import CONFIDENCE, INPUTS, OUTPUTS, TINT, requested_outputs
from segmif.runtime.compatibility import DIMENSIONS, profile_of
from segmif.runtime.device import Buffer, DeviceBackend, Recording
from segmif.runtime.errors import DeviceError, EnqueueError
from segmif.runtime.tensorrt_rtx_ import create_context

DEPTHS = INPUTS | OUTPUTS  # bytes a pixel
TINT_BYTES = 4  # float32
SIZES = 4  # of frames, whose contexts and graphs a slot keeps

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Size = tuple[int, int, int]  # batch, height, width
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Uncaptured:
    """Work that the device could not record as a graph."""

    launch: Callable[[], None]

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class _PreparedSize:
    """The context and the work for one size of frames."""

    work: Recording | _Uncaptured
    context: Any  # must live as long as the work, which uses its memory

    def launch(self) -> None:
        self.work.launch()

    def close(self) -> None:
        self.work.close()


class SharedEngine:
    """An engine with what its slots share; used by the thread that opened the device."""

    def __init__(
        self,
        trt: Any,
        engine: Any,
        device: DeviceBackend,
        facts: dict[str, Any],
        refusal: Callable[[], str],
    ) -> None:
        """
        `facts` are those of the manifest; `refusal` gives the last error in TensorRT's log.

        Raises DeviceError if memory is short.
        """
        self.trt, self.engine, self.device = trt, engine, device
        self.refusal, self.profiles = refusal, facts["profiles"]
        batch, height, width = (facts["profile"][name][2] for name in DIMENSIONS)
        self.largest: Size = batch, height, width
        self.inputs, self.outputs = _inputs_of(engine), _outputs_of(engine)
        self.stream = device.stream()
        self.scratch_size = int(engine.device_memory_size_v2)  # the most that a profile needs
        log.info("the engine needs %d MB of scratch memory", self.scratch_size / 1e6)
        # one for all sizes: contexts with scratch memory of their own would multiply it
        self.scratch = self.allocate(lambda: device.memory(max(self.scratch_size, 1)))

    def allocate(self, make: Callable[[], Any]) -> Any:
        """What `make` allocates; raises DeviceError if the GPU has too little memory."""
        try:
            return make()
        except DeviceError as error:
            batch, height, width = self.largest
            raise DeviceError(
                f"{error}; needed for frames of up to batch {batch}, {height}x{width}: build the "
                "engine with smaller --batch, --height or --width, or free memory"
            ) from error


class Slot:
    """
    Buffers for one batch.

    `write` and `read` copy, in the thread of whoever holds the slot. All else is for the thread
    that opened the device.
    """

    def __init__(self, shared: SharedEngine) -> None:
        """Allocates for the largest frames; raises DeviceError if memory is short."""
        self._shared, self._device, self._stream = shared, shared.device, shared.stream
        names = (*shared.inputs, *shared.outputs)
        self._buffers: dict[str, Buffer] = shared.allocate(
            lambda: {n: self._device.buffer(_bytes(n, shared.largest)) for n in names}
        )
        self._done = self._device.event()
        self._ready: OrderedDict[Size, _PreparedSize] = OrderedDict()
        self._size: Size = (0, 0, 0)  # of the current batch

    def write(self, visible: Bytes, infrared: Bytes, tint: Floats | None) -> None:
        """
        Copies a batch into pinned memory; the arrays may change afterwards.

        `tint` (B,) is given if the engine takes it, else None.
        """
        batch, height, width = infrared.shape
        self._size = batch, height, width
        for name, frames in (("visible", visible), ("infrared", infrared)):
            np.copyto(self._view(name), frames)
        if tint is not None:
            np.copyto(self._view(TINT), tint)

    def start(self) -> None:
        """Enqueues the work for the batch that was written."""
        size = self._size
        if size not in self._ready:
            while len(self._ready) >= SIZES:
                self._ready.popitem(last=False)[1].close()
            self._ready[size] = self._prepare(size)
        self._ready.move_to_end(size)
        self._ready[size].launch()
        self._device.record(self._done, self._stream)

    @property
    def finished(self) -> bool:
        """Whether the work that `start` enqueued is done."""
        return self._device.reached(self._done)

    def read(self, *, confidence: bool) -> tuple[Bytes, ...]:
        """Copies of the outputs of a finished batch."""
        wanted = requested_outputs(self._shared.outputs, confidence)
        return tuple(self._view(name).copy() for name in wanted)

    def close(self) -> None:
        """Frees contexts and graphs; the stream must be idle."""
        while self._ready:
            self._ready.popitem()[1].close()

    def _view(self, name: str) -> NDArray[Any]:
        held = self._buffers[name].host[: _bytes(name, self._size)]
        dtype = np.float32 if name == TINT else np.uint8
        return held.view(dtype).reshape(_shape(name, self._size))

    def _prepare(self, size: Size) -> _PreparedSize:
        """A context and a graph of upload, network and download for frames of a size."""
        context = self._context(size)

        def enqueue() -> None:
            for name in self._shared.inputs:
                self._device.upload(*self._transfer(name, size), self._stream)
            if not context.execute_async_v3(self._stream):
                batch, height, width = size
                raise EnqueueError(
                    f"TensorRT refused frames of batch {batch}, {height}x{width}: "
                    f"{self._shared.refusal()}"
                )
            for name in self._shared.outputs:
                self._device.download(*self._transfer(name, size), self._stream)

        enqueue()  # the first run initialises TensorRT, which a graph must not contain
        self._device.wait(self._stream)
        try:
            return _PreparedSize(self._device.capture(self._stream, enqueue), context)
        except (DeviceError, EnqueueError) as error:
            words = str(error)  # a log that kept the error itself would keep the context alive
            log.warning("no CUDA graph for %s, work is enqueued in pieces: %s", size, words)
            return _PreparedSize(_Uncaptured(enqueue), context)

    def _context(self, size: Size) -> Any:
        """An execution context for frames of a size, bound to the buffers."""
        trt, shared = self._shared.trt, self._shared
        context = create_context(trt, shared.engine)
        if context is None:
            batch, height, width = size
            raise MemoryError(
                f"no GPU memory is left for frames of batch {batch}, {height}x{width} beside the "
                f"{shared.scratch_size:,} bytes of scratch: give smaller frames or fewer sizes, or "
                "build the engine with smaller --batch, --height or --width"
            )
        context.nvtx_verbosity = trt.ProfilingVerbosity.NONE  # a detailed one delays each enqueue
        context.set_device_memory(shared.scratch, shared.scratch_size)
        profile = profile_of(shared.profiles, size)
        if not context.set_optimization_profile_async(profile, self._stream):
            raise EnqueueError(f"TensorRT has no profile {profile}: {shared.refusal()}")
        for name in shared.inputs:
            if not context.set_input_shape(name, _shape(name, size)):
                raise ValueError(f"the engine refuses {name} of shape {_shape(name, size)}")
        for name, buffer in self._buffers.items():
            if not context.set_tensor_address(name, buffer.device):
                raise ValueError(f"the engine has no tensor {name}: build it from our ONNX")
        return context

    def _transfer(self, name: str, size: Size) -> tuple[Buffer, int]:
        return self._buffers[name], _bytes(name, size)


def _inputs_of(engine: Any) -> tuple[str, ...]:
    return (*INPUTS, TINT) if TINT in _tensors_of(engine) else tuple(INPUTS)


def _outputs_of(engine: Any) -> tuple[str, ...]:
    held = _tensors_of(engine)
    return tuple(name for name in OUTPUTS if name in held or name != CONFIDENCE)


def _tensors_of(engine: Any) -> set[str]:
    return {engine.get_tensor_name(place) for place in range(engine.num_io_tensors)}


def _bytes(name: str, size: Size) -> int:
    """Bytes of a tensor for a size of frames."""
    return math.prod(_shape(name, size)) * (TINT_BYTES if name == TINT else 1)


def _shape(name: str, size: Size) -> tuple[int, ...]:
    if name == TINT:
        return size[:1]
    return (*size, 3) if DEPTHS[name] == 3 else size
