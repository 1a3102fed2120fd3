"""
A GPU of numpy and a TensorRT that reads and writes its memory: interface only, none of their code.

The network of a fake engine: fused is visible, brighter by BRIGHTER levels for each 1 of tint above
the default. Labels are 1 if infrared is above 100, their confidence is infrared. An engine of the
bytes b"fake engine of old" takes no tint and gives no confidence.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from segmif.frames import DEFAULT_TINT
from segmif.runtime.device import Buffer
from segmif.runtime.errors import DeviceError


class FakeDevice:
    """Work runs when a stream is waited for, in the order it was enqueued: as late as on a GPU."""

    name, capability, driver, integrated = "Fake GPU", (9, 0), "13.0", False
    opened: ClassVar[list["FakeDevice"]] = []

    def __init__(self) -> None:
        self.held: dict[int, NDArray[np.uint8]] = {}
        self.work: dict[int, list[Callable[[], None]]] = {}
        self.recording: list[Callable[[], None]] | None = None
        self.captures = self.launches = self.recordings = self.contexts = 0
        self.closed = self.lost = False
        self.events = 0
        self.passed: set[int] = set()  # events whose place in their stream was reached
        self.profiles: list[int] = []  # that contexts chose
        self.records_graphs = True
        FakeDevice.opened.append(self)

    def stream(self) -> int:
        self.work[len(self.work) + 1] = []
        return len(self.work)

    def buffer(self, size: int) -> Buffer:
        return Buffer(np.zeros(size, np.uint8), self.memory(size))

    def memory(self, size: int) -> int:
        address = 4096 * (len(self.held) + 1)
        self.held[address] = np.zeros(size, np.uint8)
        return address

    def upload(self, buffer: Buffer, size: int, stream: int) -> None:
        def copy() -> None:
            self.held[buffer.device][:size] = buffer.host[:size]

        self.enqueue(stream, copy)

    def download(self, buffer: Buffer, size: int, stream: int) -> None:
        def copy() -> None:
            buffer.host[:size] = self.held[buffer.device][:size]

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

    def event(self) -> int:
        self.events += 1
        return self.events

    def record(self, event: int, stream: int) -> None:
        self.passed.discard(event)
        self.enqueue(stream, lambda: self.passed.add(event))

    def reached(self, event: int) -> bool:
        """Each question lets the GPU do one piece of work."""
        if self.lost:
            raise DeviceError("fake device: unplugged")
        for work in self.work.values():
            if work and event not in self.passed:
                work.pop(0)()
        return event in self.passed

    def check(self) -> None:
        for stream in self.work:
            self.wait(stream)

    def capture(self, stream: int, enqueue: Callable[[], None]) -> "FakeRecording":
        if not self.records_graphs:
            raise DeviceError("fake device: knows no graphs")
        self.recording, recorded = [], []
        try:
            enqueue()
            recorded = self.recording
        finally:
            self.recording = None
        self.captures += 1
        self.recordings += 1
        return FakeRecording(self, stream, recorded)

    def close(self) -> None:
        assert not self.contexts, "TensorRT must end before its GPU is closed"
        assert not self.recordings, "recordings must be closed before their device"
        self.closed = True


@dataclass
class FakeRecording:
    device: FakeDevice
    stream: int
    work: list[Callable[[], None]]

    def launch(self) -> None:
        self.device.launches += 1
        for do in self.work:
            self.device.enqueue(self.stream, do)

    def close(self) -> None:
        self.device.recordings -= 1


class FakeContext:
    """Its memory goes with it, as TensorRT's does, whatever was recorded from it."""

    def __init__(self, engine: "FakeEngine", device: FakeDevice) -> None:
        self.engine, self.device = engine, device
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.device_memory = 0
        self.profiler: Any = None
        self.nvtx_verbosity = "as the engine's"
        self.measured = False  # layer by layer, with their names
        self.alive = [True]
        device.contexts += 1
        weakref.finalize(self, self._end, device, self.alive)

    @staticmethod
    def labelled(seen: NDArray[np.uint8]) -> NDArray[Any]:
        return seen > 100

    @staticmethod
    def sure(seen: NDArray[np.uint8]) -> NDArray[Any]:
        return seen

    @staticmethod
    def _end(device: FakeDevice, alive: list[bool]) -> None:
        device.contexts -= 1
        alive.clear()

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self.device.profiles.append(profile)
        return stream in self.device.work

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes["visible" if name == "fused" else "infrared"]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        sizes = {name: int(np.prod(shape)) for name, shape in self.shapes.items()}
        device, alive, addresses = self.device, self.alive, self.addresses
        profiler = self.profiler

        assert self.measured or self.nvtx_verbosity == "none", "each enqueue would be delayed"

        def compute() -> None:
            assert alive, "the context of this work is gone"
            if profiler:
                profiler.report_layer_time("network", 0.5)
            memory = {name: device.held[place] for name, place in addresses.items()}
            memory["fused"][: sizes["visible"]] = memory["visible"][: sizes["visible"]]
            if "tint" in memory:
                (pairs,) = self.shapes["tint"]
                tint = memory["tint"][: 4 * pairs].view(np.float32)[:, None]
                fused = memory["fused"][: sizes["visible"]].reshape(pairs, -1)
                fused[:] = (fused + BRIGHTER * (tint - DEFAULT_TINT)).clip(0, 255)
            seen = memory["infrared"][: sizes["infrared"]]
            memory["labels"][: sizes["infrared"]] = self.labelled(seen)
            if "confidence" in memory:
                memory["confidence"][: sizes["infrared"]] = self.sure(seen)

        device.enqueue(stream, compute)
        return len(device.held.get(self.device_memory, ())) == SCRATCH

    def set_device_memory(self, address: int, size: int) -> None:
        assert size == SCRATCH
        self.device_memory = address


BRIGHTER = 100
OF_OLD = b"fake engine of old"
SCRATCH = 1234  # bytes that the fake engine asks for


class FakeEngine:
    names = ("visible", "infrared", "fused", "labels", "tint", "confidence")
    device_memory_size_v2 = SCRATCH

    def __init__(self, content: bytes, logger: Any) -> None:
        self.logger = logger
        self.num_io_tensors = len(self.names) - 2 * (content == OF_OLD)

    def get_tensor_name(self, place: int) -> str:
        return self.names[place]

    def create_runtime_config(self) -> Any:
        """Of TensorRT-RTX: it fills in slow kernels unless told otherwise."""
        config = SimpleNamespace(dynamic_shapes_kernel_specialization_strategy="lazy")
        config.set_execution_context_allocation_strategy = partial(setattr, config, "strategy")
        return config

    def create_execution_context(self, strategy: Any = "static") -> FakeContext:
        if not isinstance(strategy, str):
            assert strategy.dynamic_shapes_kernel_specialization_strategy == "eager"
            strategy = strategy.strategy
        context = FakeContext(self, FakeDevice.opened[-1])
        if strategy == "static":  # with memory of its own
            context.set_device_memory(context.device.memory(SCRATCH), SCRATCH)
            context.measured = True
        return context


def fake_tensorrt(version: str = "10.16.1", name: str = "tensorrt") -> Any:
    """A module like `tensorrt`, or `tensorrt_rtx`, whose engines are b"fake engine" and OF_OLD."""

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, engine: bytes) -> Any:
            if engine not in (b"fake engine", OF_OLD):
                self.logger.log(SEVERITY.ERROR, "fake TensorRT: the header is not mine")
                return None
            return FakeEngine(engine, self.logger)

    SEVERITY = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1)

    class ILogger:
        INTERNAL_ERROR, ERROR = SEVERITY.INTERNAL_ERROR, SEVERITY.ERROR

    return SimpleNamespace(
        __name__=name,
        __version__=version,
        Runtime=Runtime,
        ILogger=ILogger,
        ExecutionContextAllocationStrategy=SimpleNamespace(USER_MANAGED="user managed"),
        ProfilingVerbosity=SimpleNamespace(NONE="none", DETAILED="detailed"),
        DynamicShapesKernelSpecializationStrategy=SimpleNamespace(EAGER="eager"),
        LayerType=SimpleNamespace(PLUGIN_V3="plugin"),
    )
