"""
Pinned buffers, a stream and scratch memory on a GPU for one batch at a time.

A slot keeps an execution context and a CUDA graph of upload, network and download for each of the
last sizes of frames.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmif.frames import CONFIDENCE, INPUTS, OUTPUTS, requested_outputs
from segmif.runtime.device import Buffer, DeviceBackend, Recording
from segmif.runtime.errors import DeviceError

DEPTHS = INPUTS | OUTPUTS  # bytes a pixel
SIZES = 4  # of frames, whose contexts and graphs a slot keeps

Bytes = NDArray[np.uint8]
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


class Slot:
    """Buffers and a stream for one batch; used by the thread that opened the device."""

    def __init__(
        self, trt: Any, engine: Any, device: DeviceBackend, profile: dict[str, Any]
    ) -> None:
        """Allocates for the largest frames of `profile`; raises DeviceError if memory is short."""
        self._trt, self._engine, self._device = trt, engine, device
        self.outputs = _outputs_of(engine)
        self._stream = device.stream()
        self._scratch_size = int(engine.device_memory_size_v2)  # for the largest frames
        self._allocate(*(profile[name][2] for name in ("batch", "height", "width")))
        self._ready: OrderedDict[Size, _PreparedSize] = OrderedDict()
        self._size: Size = (0, 0, 0)  # of the current batch

    def _allocate(self, batch: int, height: int, width: int) -> None:
        """Allocates for the largest frames; raises DeviceError if the GPU has too little memory."""
        pixels, names = batch * height * width, (*INPUTS, *self.outputs)
        try:
            self._buffers = {name: self._device.buffer(pixels * DEPTHS[name]) for name in names}
            # one for all sizes: contexts with scratch memory of their own would multiply it
            self._scratch = self._device.memory(max(self._scratch_size, 1))
        except DeviceError as error:
            raise DeviceError(
                f"{error}; needed for frames of up to batch {batch}, {height}x{width}: build the "
                "engine with smaller --batch, --height or --width, or free memory"
            ) from error

    def start(self, visible: Bytes, infrared: Bytes) -> None:
        """Copies a batch and enqueues its work; the arrays may change afterwards."""
        batch, height, width = infrared.shape
        self._size = size = (batch, height, width)
        for name, frame in (("visible", visible), ("infrared", infrared)):
            np.copyto(self._view(name), frame)
        if size not in self._ready:
            while len(self._ready) >= SIZES:
                self._ready.popitem(last=False)[1].close()
            self._ready[size] = self._prepare(size)
        self._ready.move_to_end(size)
        self._ready[size].launch()

    def finish(self, *, confidence: bool) -> tuple[Bytes, ...]:
        """Waits for the batch and gives copies of its outputs."""
        self._device.wait(self._stream)
        return tuple(
            self._view(name).copy() for name in requested_outputs(self.outputs, confidence)
        )

    def close(self) -> None:
        """Frees contexts and graphs; the stream must be idle."""
        while self._ready:
            self._ready.popitem()[1].close()

    def _view(self, name: str) -> Bytes:
        shape = _shape(name, self._size)
        return self._buffers[name].host[: int(np.prod(shape))].reshape(shape)

    def _prepare(self, size: Size) -> _PreparedSize:
        """A context and a graph of upload, network and download for frames of a size."""
        context = self._context(size)

        def enqueue() -> None:
            for name in INPUTS:
                self._device.upload(*self._transfer(name, size), self._stream)
            if not context.execute_async_v3(self._stream):
                raise DeviceError("TensorRT could not enqueue the network")
            for name in self.outputs:
                self._device.download(*self._transfer(name, size), self._stream)

        enqueue()  # the first run initialises TensorRT, which a graph must not contain
        self._device.wait(self._stream)
        try:
            return _PreparedSize(self._device.capture(self._stream, enqueue), context)
        except DeviceError as error:
            words = str(error)  # a log that kept the error itself would keep the context alive
            log.warning("no CUDA graph for %s, work is enqueued in pieces: %s", size, words)
            return _PreparedSize(_Uncaptured(enqueue), context)

    def _context(self, size: Size) -> Any:
        """An execution context for frames of a size, bound to the buffers."""
        strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = self._engine.create_execution_context(strategy)
        if context is None:
            batch, height, width = size
            raise MemoryError(
                f"no GPU memory is left for frames of batch {batch}, {height}x{width} beside the "
                f"{self._scratch_size:,} bytes of scratch: give smaller frames or fewer sizes, or "
                "build the engine with smaller --batch, --height or --width"
            )
        context.set_device_memory(self._scratch, self._scratch_size)
        if not context.set_optimization_profile_async(0, self._stream):
            raise DeviceError("TensorRT could not choose the engine's profile")
        for name in INPUTS:
            if not context.set_input_shape(name, _shape(name, size)):
                raise ValueError(f"the engine refuses {name} of shape {_shape(name, size)}")
        for name, buffer in self._buffers.items():
            if not context.set_tensor_address(name, buffer.device):
                raise ValueError(f"the engine has no tensor {name}: build it from our ONNX")
        return context

    def _transfer(self, name: str, size: Size) -> tuple[Buffer, int]:
        return self._buffers[name], int(np.prod(_shape(name, size)))


def _outputs_of(engine: Any) -> tuple[str, ...]:
    held = {engine.get_tensor_name(place) for place in range(engine.num_io_tensors)}
    return tuple(name for name in OUTPUTS if name in held or name != CONFIDENCE)


def _shape(name: str, size: Size) -> tuple[int, ...]:
    return (*size, 3) if DEPTHS[name] == 3 else size
