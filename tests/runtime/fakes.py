"""
A GPU of numpy and a TensorRT that reads and writes its memory: interface only, none of their code.

The network of a fake engine: fused is visible, labels are 1 where infrared is above 100.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from segmif.runtime.device import Buffer
from segmif.runtime.errors import DeviceError


class FakeDevice:
    """Work runs when a stream is waited for, in the order it was enqueued: as late as on a GPU."""

    name, capability, driver, integrated = "Fake GPU", (9, 0), "13.0", False
    opened: ClassVar[list["FakeDevice"]] = []

    def __init__(self) -> None:
        self.memory: dict[int, NDArray[np.uint8]] = {}
        self.work: dict[int, list[Callable[[], None]]] = {}
        self.recording: list[Callable[[], None]] | None = None
        self.captures = self.launches = 0
        self.closed = self.lost = False
        self.records_graphs = True
        FakeDevice.opened.append(self)

    def stream(self) -> int:
        self.work[len(self.work) + 1] = []
        return len(self.work)

    def buffer(self, size: int) -> Buffer:
        address = 4096 * (len(self.memory) + 1)
        self.memory[address] = np.zeros(size, np.uint8)
        return Buffer(np.zeros(size, np.uint8), address)

    def upload(self, buffer: Buffer, size: int, stream: int) -> None:
        def copy() -> None:
            self.memory[buffer.device][:size] = buffer.host[:size]

        self.enqueue(stream, copy)

    def download(self, buffer: Buffer, size: int, stream: int) -> None:
        def copy() -> None:
            buffer.host[:size] = self.memory[buffer.device][:size]

        self.enqueue(stream, copy)

    def enqueue(self, stream: int, do: Callable[[], None]) -> None:
        if self.lost:
            raise DeviceError("fake device: unplugged")
        (self.work[stream] if self.recording is None else self.recording).append(do)

    def wait(self, stream: int) -> None:
        if self.lost:
            raise DeviceError("fake device: unplugged")
        while self.work[stream]:
            self.work[stream].pop(0)()

    def capture(self, stream: int, enqueue: Callable[[], None]) -> Callable[[], None]:
        if not self.records_graphs:
            raise DeviceError("fake device: knows no graphs")
        self.recording, recorded = [], []
        try:
            enqueue()
            recorded = self.recording
        finally:
            self.recording = None
        self.captures += 1

        def launch() -> None:
            self.launches += 1
            for do in recorded:
                self.enqueue(stream, do)

        return launch

    def close(self) -> None:
        self.closed = True


class FakeContext:
    def __init__(self, device: FakeDevice) -> None:
        self.device = device
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        sizes = {name: int(np.prod(shape)) for name, shape in self.shapes.items()}

        def compute() -> None:
            memory = {name: self.device.memory[place] for name, place in self.addresses.items()}
            memory["fused"][: sizes["visible"]] = memory["visible"][: sizes["visible"]]
            seen = memory["infrared"][: sizes["infrared"]]
            memory["labels"][: sizes["infrared"]] = seen > 100

        self.device.enqueue(stream, compute)
        return True


def fake_tensorrt(version: str = "10.16.1") -> Any:
    """A module like `tensorrt` whose engines are the bytes b"fake engine"."""

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, engine: bytes) -> Any:
            if engine != b"fake engine":
                self.logger.log(SEVERITY.ERROR, "fake TensorRT: the header is not mine")
                return None
            return SimpleNamespace(
                create_execution_context=lambda: FakeContext(FakeDevice.opened[-1])
            )

    SEVERITY = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1)

    class ILogger:
        INTERNAL_ERROR, ERROR = SEVERITY.INTERNAL_ERROR, SEVERITY.ERROR

    return SimpleNamespace(
        __name__="tensorrt", __version__=version, Runtime=Runtime, ILogger=ILogger
    )
