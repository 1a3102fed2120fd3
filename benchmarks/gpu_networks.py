"""The parts of `gpu_check.py` that run whole networks: in torch, ONNX Runtime and TensorRT."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from gpu_compare import Answer, comparison, of_torch
from gpu_setting import Check, Row
from gpu_timing import roofline_ms
from torch import Tensor

from segmif.frames import CONFIDENCE
from segmif.manifest import Manifest, ManifestError
from segmif.model.network import Network
from segmif.model.precision import to_half
from segmif.ops.interactive_attention import fast_forms
from segmif.ops.native import KernelError, use

if TYPE_CHECKING:
    from segmif.runtime import Runtime
    from segmif.runtime.device import DeviceBackend

Compare = Callable[[Answer, int], Row]


def network_times(check: Check, variant: str) -> Iterator[Row]:
    """Milliseconds of whole pairs, pixels to pixels, in FP16: eager, on our kernels, compiled."""
    compare = comparison(check, variant, "fp16")
    half, turned = (to_half(check.network(variant)).to(check.device) for _ in range(2))
    turned.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stub
    ms = check.timer.milliseconds
    for batch in check.batches if variant != "paper" else (1,):
        pair = check.pair(batch)
        row: Row = {
            "batch": batch,
            "roofline_ms": roofline_ms(half, pair, check.ceilings),
            "eager_ms": ms(lambda: half(*pair), graph=False),  # noqa: B023
            "graph_ms": ms(lambda: half(*pair)),  # noqa: B023
            "graph_channels_last_ms": ms(lambda: turned(*pair)),  # noqa: B023
        }
        forms = {"kernels": half, "kernels_channels_last": turned}
        yield row | _on_kernels(check, forms, pair, compare)
    for batch in (1, check.batches[-1]) if variant != "paper" else ():  # last: compiling takes long
        pair = check.pair(batch)
        torch._dynamo.reset()
        compiled = torch.compile(turned, dynamic=False)
        yield {"batch": batch, "compiled_ms": ms(lambda: compiled(*pair))}  # noqa: B023


def _on_kernels(
    check: Check, networks: dict[str, Network], pair: list[Tensor], compare: Compare
) -> Row:
    """Times of each form of a network on our kernels, and whether all answer rightly."""
    try:
        use(check.kernels())
    except KernelError as error:
        return {"kernels": str(error)}
    row: Row = {}
    try:
        for name, network in networks.items():
            row[f"{name}_ms"] = check.timer.milliseconds(partial(network, *pair))
            row[name] = compare(of_torch(network, check.device), len(pair[0]))
    finally:
        fast_forms.clear()
    judged = [row[name]["right"] for name in networks if "right" in row[name]]
    return row | ({"right": all(judged)} if judged else {})


def onnx_runtime(check: Check) -> Iterator[Row]:
    """Milliseconds of whole pairs through ONNX Runtime's CUDA provider, frames on the host."""
    from segmif.runtime import open_runtime

    if check.device == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32, as ONNX Runtime multiplies there
    for variant in ("edge", "nano", "paper"):
        path = check.args.weights / f"{variant}.onnx"
        if not path.is_file():
            yield {"network": variant, "left_out": f"{path.name} is not there"}
            continue
        runtime = open_runtime(path, device=check.device)  # type: ignore[arg-type]
        yield from _served(check, runtime, comparison(check, variant, "fp32"), {"network": variant})
        runtime.close()


def _served(
    check: Check, runtime: "Runtime", compare: Compare, facts: Row, batches: Sequence[int] = ()
) -> Iterator[Row]:
    """Times of whole pairs through a runtime, and whether its answers are right afterwards."""
    answer = partial(runtime.run, confidence=CONFIDENCE in runtime.outputs)
    for batch in batches or check.batches:
        times = check.timer.host_milliseconds(partial(runtime.run, *check.frames(batch)))
        yield facts | {"batch": batch, "host_ms": times} | compare(answer, batch)


def tensorrt(
    check: Check, plugin: Path | None, variant: str = "edge", best: int = 1
) -> Iterator[Row]:
    """
    Builds the FP16 engine and times whole pairs, frames on the host, with CUDA graphs or not.

    `best`: the batch that the engine is built for; where it is not 1, it alone is timed.
    """
    from export import to_engine, to_onnx
    from segmif.runtime import trt
    from segmif.runtime.device import open_device

    machine = trt.Machine.here()
    if plugin and not plugin.is_file():
        raise FileNotFoundError(f"{plugin.name} is not there: `make plugin` builds it")
    folder = check.args.plugin.parent
    onnx, kind = folder / f"{variant}.fp16.onnx", "plugin" if plugin else "native"
    folder.mkdir(parents=True, exist_ok=True)
    weights = check.args.weights / f"{variant}.safetensors"
    if not _made_of(onnx, weights):  # by an earlier part
        to_onnx.export(weights, onnx, "fp16")
    sizes = to_engine.Profile(batch=(1, best, 8), height=(32, 480, 480), width=(32, 640, 640))
    cache = folder / f"{machine.tensorrt}.cache"  # what one build measured, the next need not
    build = to_engine.Build(profile=sizes, plugin=plugin, timing_cache=cache)
    kind = kind if best == 1 else f"{kind}.batch{best}"
    engine = folder / f"{variant}.{kind}.engine"
    start = time.monotonic()
    facts = to_engine.export(onnx, engine, build, machine)
    yield {"network": variant, "build_s": time.monotonic() - start} | facts
    compare = comparison(check, variant, "fp16")
    for open_ in (open_device, _without_graphs):
        network = trt.open_engine(engine, plugin, device=open_)
        facts = {"network": variant, "graph": open_ is open_device}
        yield from _served(check, network, compare, facts, () if best == 1 else (best,))
        network.close()


def _made_of(onnx: Path, weights: Path) -> bool:
    try:
        return Manifest.read(onnx).source_sha256 == Manifest.read(weights).sha256
    except ManifestError:
        return False


def _without_graphs() -> "DeviceBackend":
    from segmif.runtime.device import open_device
    from segmif.runtime.errors import DeviceError

    def refuse(*_: Any) -> Any:
        raise DeviceError("graphs are left out here")

    device = open_device()
    device.capture = refuse  # type: ignore[method-assign]
    return device


def layers(check: Check) -> Iterator[Row]:
    """Where the time of the engine of the part tensorrt_plugin goes, batch 1, as TensorRT says."""
    from segmif.runtime import trt as runtime

    trt = runtime.import_tensorrt()
    runtime.load_plugin(trt, check.args.plugin)
    words = runtime.Words(trt)
    path = check.args.plugin.parent / "edge.plugin.engine"
    context = runtime.deserialize(trt, path.read_bytes(), words).create_execution_context()
    tensors = _bound(context, check)
    totals: Counter[str] = Counter()

    class Profiler(trt.IProfiler):  # type: ignore[misc]  # the module is only known when it runs
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            totals[layer_name] += ms

    profiler = Profiler()  # TensorRT keeps no reference to it
    for number in range(1 + check.timer.runs):
        if number == 1:  # the run before it was to warm up
            context.profiler = profiler
        context.execute_async_v3(torch.cuda.current_stream().cuda_stream)
        torch.cuda.synchronize()
    for name, ms in totals.most_common(40):
        yield {"layer": name[:160], "us_a_pair": 1000 * ms / check.timer.runs}
    del tensors  # the engine wrote there until now


def _bound(context: Any, check: Check) -> list[Tensor]:
    """The tensors that the context reads and writes for one pair: bytes, all of them."""
    from segmif.frames import INPUTS

    tensors = dict(zip(INPUTS, check.pair(1), strict=True))
    for name, frames in tensors.items():
        context.set_input_shape(name, tuple(frames.shape))
    engine = context.engine
    for name in (engine.get_tensor_name(index) for index in range(engine.num_io_tensors)):
        if name not in tensors:
            size = tuple(context.get_tensor_shape(name))
            tensors[name] = torch.empty(size, dtype=torch.uint8, device=check.device)
        context.set_tensor_address(name, tensors[name].data_ptr())
    return list(tensors.values())
