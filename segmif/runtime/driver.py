"""NVIDIA's driver by its C library, for what needs no package: CUDA graphs, pinned memory."""

import ctypes
import logging
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmif.runtime.errors import DeviceError

Bytes = NDArray[np.uint8]
log = logging.getLogger(__name__)


class Driver:
    """The driver's functions by name; raises DeviceError if there is no driver."""

    def __init__(self) -> None:
        try:
            self.library = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise DeviceError(f"there is no driver of NVIDIA here: {error}") from error

    def call(self, function: str, *arguments: Any) -> None:
        """Calls a function; raises DeviceError with the name of its error."""
        error = getattr(self.library, function)(*arguments)
        if error:
            name = ctypes.c_char_p()
            self.library.cuGetErrorName(error, ctypes.byref(name))
            raise DeviceError(f"{function}: {(name.value or b'unknown error').decode()}")


class PinnedMemory:
    """
    Host memory that the GPU reads and writes by itself; any thread may ask for it.

    If it cannot be had, usual memory takes its place, with a warning: copies then take longer.
    """

    def __init__(self) -> None:
        self._addresses: dict[int, ctypes.c_void_p] = {}  # by where the array lies
        self._lock = threading.Lock()
        self._driver: Driver | None = None
        self._device, self._context = ctypes.c_int(), ctypes.c_void_p()
        try:
            driver = Driver()
            driver.call("cuInit", 0)
            driver.call("cuDeviceGet", ctypes.byref(self._device), 0)
            # the one that ONNX Runtime uses too
            driver.call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)
            self._driver = driver
        except DeviceError as error:
            self._warn(error)

    def take(self, size: int) -> Bytes:
        """`size` bytes, until they are given back."""
        with self._lock:
            if self._driver:
                try:
                    return self._pinned(self._driver, size)
                except DeviceError as error:
                    self._warn(error)
        return np.empty(size, np.uint8)

    def give_back(self, held: Bytes) -> None:
        """Frees what `take` gave; nothing may read or write it any more."""
        with self._lock:
            address = self._addresses.pop(held.ctypes.data, None)
            if address and self._driver:
                self._in_context(self._driver, "cuMemFreeHost", address)

    def close(self) -> None:
        """Frees all that is left."""
        with self._lock:
            driver, self._driver = self._driver, None
            if driver:
                while self._addresses:
                    self._in_context(driver, "cuMemFreeHost", self._addresses.popitem()[1])
                driver.call("cuDevicePrimaryCtxRelease_v2", self._device)

    def _pinned(self, driver: Driver, size: int) -> Bytes:
        address = ctypes.c_void_p()
        place, bytes_ = ctypes.byref(address), ctypes.c_size_t(size)
        self._in_context(driver, "cuMemHostAlloc", place, bytes_, 0)
        assert address.value
        self._addresses[address.value] = address
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address.value))

    def _in_context(self, driver: Driver, function: str, *arguments: Any) -> None:
        driver.call("cuCtxPushCurrent_v2", self._context)
        try:
            driver.call(function, *arguments)
        finally:
            driver.call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def _warn(self, error: DeviceError) -> None:
        log.warning(
            "frames are copied from memory that is not pinned, which takes longer: %s", error
        )
