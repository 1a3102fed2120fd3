"""
A GPU's memory, streams and graphs, by pycuda or NVIDIA's cuda-bindings.

All calls come from the one thread that opened the device. pycuda is used if it is installed,
otherwise cuda-bindings. Both use the primary context, which TensorRT, ONNX Runtime and torch share.
Graphs go straight to the driver: pycuda has none.
"""

import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segmif.install import install_command
from segmif.runtime.driver import Driver
from segmif.runtime.errors import ArtefactError, DeviceError

MAPPED = 2  # CU_MEMHOSTALLOC_DEVICEMAP
NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: does not wait for the default stream
DISABLE_TIMING = 2  # CU_EVENT_DISABLE_TIMING
THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may allocate meanwhile


@dataclass(frozen=True)
class Buffer:
    """Pinned host memory and its copy on the device; one memory on an integrated GPU."""

    host: NDArray[np.uint8]  # (size,), pinned
    device: int  # address


class Recording(Protocol):
    """A recorded sequence of work, as a CUDA graph."""

    def launch(self) -> None:
        """Enqueues all of it."""

    def close(self) -> None:
        """Frees it; its stream must be idle."""


class DeviceBackend(Protocol):
    """The operations that a runtime needs of a GPU; methods raise DeviceError."""

    name: str
    capability: tuple[int, int]
    driver: str  # newest CUDA version that it supports
    integrated: bool  # shares its memory with the CPU, as a Jetson does

    def stream(self) -> int:
        """A new CUDA stream."""

    def buffer(self, size: int) -> Buffer:
        """Pinned memory of `size` bytes and its counterpart on the device."""

    def memory(self, size: int) -> int:
        """The address of `size` new bytes on the device."""

    def upload(self, buffer: Buffer, size: int, stream: int) -> None:
        """Enqueues the copy of the first `size` bytes to the device."""

    def download(self, buffer: Buffer, size: int, stream: int) -> None:
        """Enqueues the copy of the first `size` bytes from the device."""

    def wait(self, stream: int) -> None:
        """Waits until all work of a stream is done."""

    def event(self) -> int:
        """A new event, which marks a place in a stream."""

    def record(self, event: int, stream: int) -> None:
        """Puts an event behind all work of a stream; it forgets its place before."""

    def reached(self, event: int) -> bool:
        """Whether the work before an event is done."""

    def check(self) -> None:
        """Waits for all work; raises DeviceError if the GPU is lost, not for a refused call."""

    def capture(self, stream: int, enqueue: Callable[[], None]) -> Recording:
        """Records the work that `enqueue` puts on the stream, without running it."""

    def close(self) -> None:
        """Frees everything but recordings, which must be closed before."""


def open_device(index: int = 0) -> DeviceBackend:
    """A GPU of this machine; raises ArtefactError if no package for it is installed."""
    for backend in (PycudaDevice, BindingsDevice):
        try:
            return backend(index)
        except ImportError:
            continue
    raise ArtefactError(
        "a TensorRT engine needs a GPU with its driver and pycuda or cuda-python: run the .onnx "
        f"file on the CPU, or {install_command('trt')}"
    )


class PycudaDevice:
    """A GPU by pycuda."""

    def __init__(self, index: int) -> None:
        import pycuda.driver as cuda

        self._cuda = cuda
        try:
            cuda.init()
            device = cuda.Device(index)
            self._context = device.retain_primary_context()
            self._context.push()
        except cuda.Error as error:
            raise _open_error(index, error) from error
        self.name = device.name()
        self.capability = device.compute_capability()
        self.driver = _version(cuda.get_driver_version())
        self.integrated = bool(device.get_attribute(cuda.device_attribute.INTEGRATED))
        self._streams: dict[int, Any] = {}
        self._events: list[Any] = []
        self._owned: list[Any] = []  # memory of both sides

    def stream(self) -> int:
        with _device_errors(self._cuda.Error, "a stream"):
            stream = self._cuda.Stream(NON_BLOCKING)
        self._streams[stream.handle] = stream
        return int(stream.handle)

    def buffer(self, size: int) -> Buffer:
        flags = MAPPED if self.integrated else 0
        with _device_errors(self._cuda.Error, f"{size:,} bytes of pinned memory"):
            host = self._cuda.pagelocked_empty(size, np.uint8, mem_flags=flags)
            self._owned.append(host.base)
            if self.integrated:
                return Buffer(host, int(host.base.get_device_pointer()))
        return Buffer(host, self.memory(size))

    def memory(self, size: int) -> int:
        with _device_errors(self._cuda.Error, f"{size:,} bytes of GPU memory"):
            self._owned.append(self._cuda.mem_alloc(size))
        return int(self._owned[-1])

    def upload(self, buffer: Buffer, size: int, stream: int) -> None:
        if not self.integrated:
            with _device_errors(self._cuda.Error, "copying to the GPU"):
                self._cuda.memcpy_htod_async(
                    buffer.device, buffer.host[:size], self._streams[stream]
                )

    def download(self, buffer: Buffer, size: int, stream: int) -> None:
        if not self.integrated:
            with _device_errors(self._cuda.Error, "copying from the GPU"):
                self._cuda.memcpy_dtoh_async(
                    buffer.host[:size], buffer.device, self._streams[stream]
                )

    def wait(self, stream: int) -> None:
        with _device_errors(self._cuda.Error, "waiting for the GPU"):
            self._streams[stream].synchronize()

    def event(self) -> int:
        with _device_errors(self._cuda.Error, "an event"):
            self._events.append(self._cuda.Event(DISABLE_TIMING))
        return len(self._events) - 1

    def record(self, event: int, stream: int) -> None:
        with _device_errors(self._cuda.Error, "recording an event"):
            self._events[event].record(self._streams[stream])

    def reached(self, event: int) -> bool:
        with _device_errors(self._cuda.Error, "asking for an event"):
            return bool(self._events[event].query())

    def check(self) -> None:
        with _device_errors(self._cuda.Error, "waiting for the GPU"):
            self._cuda.Context.synchronize()

    def capture(self, stream: int, enqueue: Callable[[], None]) -> Recording:
        return _Graph(stream, enqueue)

    def close(self) -> None:
        with _device_errors(self._cuda.Error, "closing the GPU"):
            for memory in self._owned:
                memory.free()
            self._streams.clear()
            self._events.clear()
            self._context.pop()
            self._context.detach()
        # detach makes a primary context current once more and leaves it so
        ctypes.CDLL("libcuda.so.1").cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))


class BindingsDevice:
    """A GPU by NVIDIA's cuda-bindings."""

    def __init__(self, index: int) -> None:
        from cuda.bindings import driver

        self._driver = driver
        try:
            self._call(driver.cuInit, 0)
            self._device = self._call(driver.cuDeviceGet, index)
            context = self._call(driver.cuDevicePrimaryCtxRetain, self._device)
        except (DeviceError, RuntimeError) as error:  # RuntimeError: no driver to load
            raise _open_error(index, error) from error
        self._call(driver.cuCtxPushCurrent, context)
        self.name = self._call(driver.cuDeviceGetName, 128, self._device).split(b"\0")[0].decode()
        self.capability = (
            self._attribute("COMPUTE_CAPABILITY_MAJOR"),
            self._attribute("COMPUTE_CAPABILITY_MINOR"),
        )
        self.driver = _version(self._call(driver.cuDriverGetVersion))
        self.integrated = bool(self._attribute("INTEGRATED"))
        self._closing: list[Callable[[], object]] = []

    def stream(self) -> int:
        stream = self._call(self._driver.cuStreamCreate, NON_BLOCKING)
        self._closing.append(lambda: self._driver.cuStreamDestroy(stream))
        return int(stream)

    def buffer(self, size: int) -> Buffer:
        flags = MAPPED if self.integrated else 0
        with _device_errors(DeviceError, f"{size:,} bytes of pinned memory"):
            pinned = self._call(self._driver.cuMemHostAlloc, size, flags)
        self._closing.append(lambda: self._driver.cuMemFreeHost(pinned))
        host = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(int(pinned)))
        if self.integrated:
            return Buffer(host, int(self._call(self._driver.cuMemHostGetDevicePointer, pinned, 0)))
        return Buffer(host, self.memory(size))

    def memory(self, size: int) -> int:
        with _device_errors(DeviceError, f"{size:,} bytes of GPU memory"):
            memory = self._call(self._driver.cuMemAlloc, size)
        self._closing.append(lambda: self._driver.cuMemFree(memory))
        return int(memory)

    def upload(self, buffer: Buffer, size: int, stream: int) -> None:
        if not self.integrated:
            source = buffer.host.ctypes.data
            self._call(self._driver.cuMemcpyHtoDAsync, buffer.device, source, size, stream)

    def download(self, buffer: Buffer, size: int, stream: int) -> None:
        if not self.integrated:
            target = buffer.host.ctypes.data
            self._call(self._driver.cuMemcpyDtoHAsync, target, buffer.device, size, stream)

    def wait(self, stream: int) -> None:
        self._call(self._driver.cuStreamSynchronize, stream)

    def event(self) -> int:
        event = self._call(self._driver.cuEventCreate, DISABLE_TIMING)
        self._closing.append(lambda: self._driver.cuEventDestroy(event))
        return int(event)

    def record(self, event: int, stream: int) -> None:
        self._call(self._driver.cuEventRecord, event, stream)

    def reached(self, event: int) -> bool:
        (error,) = self._driver.cuEventQuery(event)
        if error == self._driver.CUresult.CUDA_ERROR_NOT_READY:
            return False
        self._check("cuEventQuery", error)
        return True

    def check(self) -> None:
        self._call(self._driver.cuCtxSynchronize)

    def capture(self, stream: int, enqueue: Callable[[], None]) -> Recording:
        return _Graph(stream, enqueue)

    def close(self) -> None:
        for give_back in reversed(self._closing):
            give_back()
        self._driver.cuCtxPopCurrent()
        self._driver.cuDevicePrimaryCtxRelease(self._device)

    def _attribute(self, name: str) -> int:
        attribute = getattr(self._driver.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return int(self._call(self._driver.cuDeviceGetAttribute, attribute, self._device))

    def _call(self, function: Callable[..., tuple[Any, ...]], *arguments: Any) -> Any:
        error, *answer = function(*arguments)
        self._check(function.__name__, error)
        return answer[0] if answer else None

    def _check(self, name: str, error: Any) -> None:
        if int(error):
            raise DeviceError(f"{name}: {error.name}")


class _Graph:
    """A CUDA graph of work recorded from a stream, by the driver's library."""

    def __init__(self, stream: int, enqueue: Callable[[], None]) -> None:
        self._driver = Driver()
        self._stream, self._ready = ctypes.c_void_p(stream), ctypes.c_void_p()
        recorded = ctypes.c_void_p()
        self._driver.call("cuStreamBeginCapture_v2", self._stream, THREAD_LOCAL)
        try:
            try:
                with _no_collection():
                    enqueue()
            finally:
                self._driver.call("cuStreamEndCapture", self._stream, ctypes.byref(recorded))
            ready, flags = ctypes.byref(self._ready), ctypes.c_ulonglong(0)
            self._driver.call("cuGraphInstantiateWithFlags", ready, recorded, flags)
        finally:
            if recorded:  # the instance does not need it
                self._driver.library.cuGraphDestroy(recorded)

    def launch(self) -> None:
        self._driver.call("cuGraphLaunch", self._ready, self._stream)

    def close(self) -> None:
        self._driver.library.cuGraphExecDestroy(self._ready)


@contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage is collected: an object that frees GPU memory would end a capture."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _open_error(index: int, error: Exception) -> DeviceError:
    return DeviceError(
        f"GPU {index} cannot be opened ({error}): `nvidia-smi` must list it, which takes NVIDIA's "
        "driver and, in a container, --gpus all; or run the .onnx file on the CPU"
    )


class _device_errors:
    """Raises a DeviceError with the failed operation for errors of a package."""

    def __init__(self, kind: type[Exception], doing: str) -> None:
        self._kind, self._doing = kind, doing

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, self._kind):
            raise DeviceError(f"{self._doing}: {error}") from error


def _version(number: int) -> str:
    """13000 as 13.0."""
    return f"{number // 1000}.{number % 1000 // 10}"
