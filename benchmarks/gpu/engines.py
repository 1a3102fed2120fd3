"""The parts of `benchmarks.gpu.check` that build and run engines."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.gpu.comparison import comparison, served
from benchmarks.gpu.report import Row
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.tolerance import tolerance
from export import to_engine
from segmif.frames import DEFAULT_TINT, INPUTS, TINT
from segmif.manifest import Manifest, ManifestError
from segmif.runtime import tensorrt_library as library
from segmif.runtime.device import DeviceBackend, open_device
from segmif.runtime.errors import ArtefactError, DeviceError
from segmif.runtime.tensorrt_ import open_engine


def tensorrt(
    setting: Setting,
    variant: str = "edge",
    attention: Literal["plugin", "native", "either"] = "either",
) -> Iterator[Row]:
    """
    Builds the FP16 engine and times whole pairs, frames on the host, with CUDA graphs or not.

    `either`: our plugin, or native if it does not load.
    """
    machine, plugin = library.Machine.here(), None
    if attention != "native":
        try:
            library.load_plugin(library.import_tensorrt(), setting.args.plugin)
            plugin = setting.args.plugin
        except ArtefactError as error:
            yield {"network": variant, "left_out": f"our plugin: {error}"}
            if attention == "plugin":
                return
    onnx = setting.folder / f"{variant}.fp16.onnx"
    engine = setting.folder / f"{variant}.{'plugin' if plugin else 'native'}.engine"
    start = time.monotonic()
    facts = to_engine.export(onnx, engine, _build(setting, machine, plugin), machine)
    yield {"network": variant, "build_s": time.monotonic() - start} | facts
    compare = comparison(partial(tolerance, setting, variant, "fp16"), engine=True)
    for open_ in (open_device, _without_graphs):
        network = open_engine(engine, plugin, device=open_)
        facts = {"network": variant, "graph": open_ is open_device}
        yield from served(setting, network, compare, facts)
        network.close()


def _build(setting: Setting, machine: library.Machine, plugin: Path | None) -> to_engine.Build:
    """One pair and batches of the measured size: a profile for any size would take minutes more."""
    height, width = (setting.height,) * 3, (setting.width,) * 3
    return to_engine.Build(
        profile=to_engine.Profile(batch=(1, 8, 8), height=height, width=width),
        plugin=plugin,
        # shared by all builds
        timing_cache=setting.folder / f"{machine.tensorrt}.cache",
    )


def _without_graphs() -> DeviceBackend:
    def refuse(*_: Any) -> Any:
        raise DeviceError("graphs are left out here")

    device = open_device()
    device.capture = refuse  # type: ignore[method-assign]
    return device


def layers(setting: Setting) -> Iterator[Row]:
    """TensorRT's times of the layers of `edge`, batch 1; of the engine with our plugin if built."""
    trt = library.import_tensorrt()
    path = _built(setting, trt.__version__)
    facts = Manifest.read(path).engine
    if facts["attention"] == "plugin":
        library.load_plugin(trt, setting.args.plugin)
    device = open_device()
    try:
        totals = _layer_times(setting, trt, path.read_bytes(), device)
    finally:
        device.close()
    yield {"engine": path.name, "tensorrt": trt.__version__}
    for name, ms in totals.most_common(40):
        yield {"layer": name[:160], "us_a_pair": 1000 * ms / setting.runs}


def _built(setting: Setting, version: str) -> Path:
    """The engine that an earlier part built by this TensorRT."""
    for kind in ("plugin", "native"):
        path = setting.folder / f"edge.{kind}.engine"
        try:
            if Manifest.read(path).engine["tensorrt"] == version:
                return path
        except ManifestError:
            continue
    raise FileNotFoundError(f"no engine of edge by TensorRT {version}: tensorrt_plugin builds it")


def _layer_times(setting: Setting, trt: Any, engine: bytes, device: DeviceBackend) -> Counter[str]:
    """Milliseconds of each layer over all runs; all objects of TensorRT end with it."""
    log = library.TensorRTLog(trt)
    context = library.deserialize(trt, engine, log).create_execution_context()
    totals: Counter[str] = Counter()

    class Profiler(trt.IProfiler):  # type: ignore[misc]  # the module is only known when it runs
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            totals[layer_name] += ms

    profiler, stream = Profiler(), device.stream()  # TensorRT keeps no reference to it
    _bind(context, setting, device, stream)
    for number in range(1 + setting.runs):
        if number == 1:  # after one run to warm up
            context.profiler = profiler
        if not context.execute_async_v3(stream):
            raise DeviceError(f"TensorRT could not enqueue the network: {log.last_error}")
        device.wait(stream)
    return totals


def _bind(context: Any, setting: Setting, device: DeviceBackend, stream: int) -> None:
    """Binds one pair, its tint if the engine takes one, and memory for the outputs, all uint8."""
    engine, given = context.engine, dict(zip(INPUTS, setting.frames(1), strict=True))
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    if TINT in names:
        given[TINT] = np.full(1, DEFAULT_TINT, np.float32)
    for name, values in given.items():
        buffer = device.buffer(values.nbytes)
        buffer.host[:] = values.ravel().view(np.uint8)
        device.upload(buffer, values.nbytes, stream)
        context.set_input_shape(name, values.shape)
        context.set_tensor_address(name, buffer.device)
    for name in names:
        if name not in given:
            size = int(np.prod(tuple(context.get_tensor_shape(name))))
            context.set_tensor_address(name, device.memory(size))


PARTS: dict[str, Callable[[Setting], Iterator[Row]]] = {
    "tensorrt_plugin": partial(tensorrt, attention="plugin"),
    "tensorrt_native": partial(tensorrt, attention="native"),
    "tensorrt_nano": partial(tensorrt, variant="nano"),
    "tensorrt_paper": partial(tensorrt, variant="paper"),
    "layers": layers,
}
