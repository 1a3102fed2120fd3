"""
On PYTHONPATH, gives every Python a fake GPU and a fake TensorRT that also builds.

FAKE_GPU (none: there is none), FAKE_DRIVER, FAKE_INTEGRATED, FAKE_FREE [bytes of every disk],
FAKE_STEP_S [s of each of ten steps of a build], FAKE_LOSS (set: the engine is not as its ONNX),
FAKE_TORCH (set: torch can be imported).
"""

import os
import shutil
import sys
import time
from types import SimpleNamespace
from typing import Any

from segmif.runtime import device
from segmif.runtime.errors import DeviceError
from tests.segmif.runtime.fakes import FakeContext, FakeDevice, fake_tensorrt


def open_fake(index: int) -> FakeDevice:
    if os.environ.get("FAKE_GPU") == "none":
        raise DeviceError(f"GPU {index} cannot be opened: fake driver: no device")
    return FakeDevice()


def build_serialized_network(network: Any, config: Any) -> bytes:
    config.progress_monitor.phase_start("Building engine", None, 10)
    for step in range(10):
        time.sleep(float(os.environ.get("FAKE_STEP_S", "0")))
        config.progress_monitor.step_complete("Building engine", step)
    config.progress_monitor.phase_finish("Building engine")
    return b"fake engine"


def with_builder(trt: Any) -> Any:
    """The fake of the runtime, and what `export engine` asks of a builder."""
    nothing = SimpleNamespace(
        set_shape=lambda *shapes: None,
        serialize=lambda: b"",
    )
    inputs = [SimpleNamespace(name=name) for name in ("visible", "infrared", "tint")]
    network = SimpleNamespace(
        num_layers=0, num_inputs=len(inputs), get_input=lambda place: inputs[place]
    )
    config = SimpleNamespace(
        create_timing_cache=lambda blob: nothing,
        set_timing_cache=lambda cache, ignore_mismatch: True,
        add_optimization_profile=lambda profile: 0,
    )
    trt.Builder = lambda logger: SimpleNamespace(
        create_network=lambda flags: network,
        create_builder_config=lambda: config,
        create_optimization_profile=lambda: nothing,
        build_serialized_network=build_serialized_network,
    )
    trt.OnnxParser = lambda network, logger: SimpleNamespace(parse=lambda model: True)
    trt.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    trt.IProgressMonitor = type("IProgressMonitor", (), {})
    trt.IProfiler = type("IProfiler", (), {})
    return trt


if "FAKE_LOSS" not in os.environ:  # as `tests/conftest.py` has the network that is built
    FakeContext.labelled = staticmethod(lambda seen: 2 * (seen > 200))  # type: ignore[method-assign]
    FakeContext.sure = staticmethod(lambda seen: 51 + 204 * (seen > 200))  # type: ignore[method-assign]
FakeDevice.driver = os.environ.get("FAKE_DRIVER", "13.0")
FakeDevice.integrated = bool(os.environ.get("FAKE_INTEGRATED"))
device.PycudaDevice = open_fake  # type: ignore[misc, assignment]
if "FAKE_TORCH" not in os.environ:  # the images have none
    sys.modules["torch"] = None  # type: ignore[assignment]
sys.modules["tensorrt"] = with_builder(fake_tensorrt())
if "FAKE_FREE" in os.environ:
    free = int(os.environ["FAKE_FREE"])
    shutil.disk_usage = lambda path: shutil._ntuple_diskusage(free, 0, free)
