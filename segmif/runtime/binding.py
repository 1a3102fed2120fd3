"""
Runs of an ONNX Runtime session on host memory that is kept from run to run.

`InferenceSession.run` lets a GPU copy from and to memory that is not pinned, so the driver copies
once more. Here a caller's frames are copied into pinned memory, which ONNX Runtime binds as inputs
and outputs.
"""

import threading
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Shape = tuple[int, ...]


class HostMemory(Protocol):
    """Where the memory comes from; safe to call from several threads."""

    def take(self, size: int) -> Bytes:
        """`size` bytes, until they are given back."""

    def give_back(self, held: Bytes) -> None:
        """Frees what `take` gave."""

    def close(self) -> None:
        """Frees all that is left."""


class BoundSession:
    """A session with as many bindings as it has had runs at a time."""

    def __init__(self, session: Any, memory: HostMemory) -> None:
        """`session` is an `onnxruntime.InferenceSession`; all its outputs are uint8."""
        self._session, self._memory = session, memory
        self._idle: list[_Binding] = []
        self._running, self._closed = 0, False
        self._lock = threading.Lock()

    def run(
        self, feeds: Mapping[str, NDArray[Any]], outputs: Mapping[str, Shape], options: Any
    ) -> tuple[Bytes, ...]:
        """New arrays of the outputs, which have the shapes given; raises as the session does."""
        with self._lock:
            binding = self._idle.pop() if self._idle else _Binding(self._session, self._memory)
            self._running += 1
        try:
            return binding.run(feeds, outputs, options)
        finally:
            with self._lock:
                self._running -= 1
                self._idle.append(binding)
            if self._closed:
                self.close()

    def trim(self) -> None:
        """Frees the memory that no run uses at the moment."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()

    def close(self) -> None:
        """Frees all memory, as soon as the last run is over."""
        self._closed = True
        self.trim()
        with self._lock:
            if not self._running:
                self._memory.close()


class _Binding:
    """The inputs and outputs of one run at a time."""

    def __init__(self, session: Any, memory: HostMemory) -> None:
        self._session, self._memory = session, memory
        self._bound = session.io_binding()
        self._held: dict[str, Bytes] = {}  # by tensor

    def run(
        self, feeds: Mapping[str, NDArray[Any]], outputs: Mapping[str, Shape], options: Any
    ) -> tuple[Bytes, ...]:
        for name, values in feeds.items():
            placed = self._array(name, values.shape, values.dtype)
            np.copyto(placed, values)
            # `cpu` is where the array lies; for a GPU this copies it there
            self._bound.bind_input(name, "cpu", 0, values.dtype, *_place(placed))
        self._bound.clear_binding_outputs()  # those of the last run may be more
        made = [self._array(name, shape, np.dtype(np.uint8)) for name, shape in outputs.items()]
        for name, array in zip(outputs, made, strict=True):
            self._bound.bind_output(name, "cpu", 0, np.uint8, *_place(array))
        self._bound.synchronize_inputs()
        self._session.run_with_iobinding(self._bound, options)
        self._bound.synchronize_outputs()
        return tuple(array.copy() for array in made)

    def close(self) -> None:
        """Frees its memory."""
        self._bound.clear_binding_inputs()
        self._bound.clear_binding_outputs()
        while self._held:
            self._memory.give_back(self._held.popitem()[1])

    def _array(self, name: str, shape: Shape, dtype: np.dtype[Any]) -> NDArray[Any]:
        size = prod(shape) * dtype.itemsize
        held = self._held.get(name)
        if held is None or len(held) < size:
            if held is not None:
                self._memory.give_back(self._held.pop(name))
            held = self._held[name] = self._memory.take(max(size, 1))
        return held[:size].view(dtype).reshape(shape)


def _place(array: NDArray[Any]) -> tuple[Sequence[int], int]:
    """Shape and address."""
    return array.shape, array.ctypes.data
