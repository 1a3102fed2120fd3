"""What `gpu_check.py` runs, part by part; each gives its rows as it finds them."""

import argparse
import platform
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_timing import Ceilings, Timer, roofline_ms
from torch import Tensor

from segmif.model.network import Network
from segmif.model.precision import to_half
from segmif.model.weights import load_network
from segmif.ops.interactive_attention import fast_forms, gram, plain
from segmif.ops.native import TEMPERATURE, KernelError, Kernels, use

Row = dict[str, Any]
ODD = [(2, 24, 3, 13, 7), (1, 40, 5, 97, 1), (3, 16, 4, 5, 64), (1, 8, 2, 1, 1)]
# Maps of which networks, and batches, are timed: the most wanted first.
TIMED = [("edge", 1), ("edge", 8), ("paper", 1), ("nano", 1), ("nano", 8)]


class Check:
    """The machine and the sizes that every part measures."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.device = "cpu" if args.rehearse else "cuda"
        if self.device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("torch sees no GPU here")
        self.timer = Timer(self.device, runs=2 if args.rehearse else 50)
        self.height, self.width = (64, 96) if args.rehearse else (480, 640)
        self.batches = (1, 2) if args.rehearse else (1, 2, 4, 8)
        self.ceilings = Ceilings(**args.ceilings)
        rows, columns = self.height // 4, self.width // 4
        self.attentions = {  # channels, heads, height, width of the maps
            "nano": (24, 3, rows, columns),
            "edge": (40, 5, rows, columns),
            "paper": (64, 8, self.height, self.width),
        }

    def kernels(self) -> Kernels:
        """Our kernels; KernelError where they are not built."""
        return Kernels(self.args.kernels, self.device)

    def pair(self, batch: int) -> list[Tensor]:
        """Random pixels on the device."""
        return [torch.from_numpy(frames).to(self.device) for frames in self.frames(batch)]

    def frames(self, batch: int) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
        """Random pixels on the host."""
        random = np.random.default_rng(batch)
        shape = (batch, self.height, self.width)
        return [random.integers(0, 256, each, np.uint8) for each in ((*shape, 3), shape)]

    def network(self, variant: str) -> Network:
        """Trained weights where there are any; times are the same without."""
        path = self.args.weights / f"{variant}.safetensors"
        if path.is_file():
            return load_network(path, self.device)
        torch.manual_seed(0)
        return Network(variant).eval().to(self.device)

    def attention_arguments(
        self, batch: int, channels: int, heads: int, height: int, width: int, dtype: torch.dtype
    ) -> list[Tensor]:
        """Random maps and parameters of HIA, as its tests make them."""
        random = torch.Generator(self.device).manual_seed(channels * height)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=random, device=self.device)

        weight = channels**-0.5
        exact = [
            *(normal(batch, channels, height, width) for _ in range(3)),
            weight * normal(3, 2 * channels, channels),
            normal(3, 2 * channels) / 4,
            weight * normal(3, channels, channels),
            weight * normal(3, channels, channels),
            4 * normal(3, heads).exp(),
            weight * normal(2, channels, 2 * channels),
            normal(2, channels) / 4,
            1 + normal(2, channels) / 4,
            normal(2, channels) / 4,
        ]
        exact = [array.to(dtype) for array in exact]
        exact[TEMPERATURE] = exact[TEMPERATURE].float()  # as a network in half has it
        return exact


def run(args: argparse.Namespace) -> Iterator[Row]:
    """The rows of the part that the arguments name."""
    variant = args.part.rpartition("_")[2]
    parts: dict[str, Callable[[Check], Iterator[Row]]] = {
        "machine": machine,
        "attention_errors": attention_errors,
        "attention_times": attention_times,
        "tensorrt_plugin": partial(tensorrt, plugin=args.plugin),
        "tensorrt_native": partial(tensorrt, plugin=None),
        "onnxruntime": onnx_runtime,
        "profile": profile,
        "layers": layers,
    }
    return parts.get(args.part, partial(network_times, variant=variant))(Check(args))


def machine(check: Check) -> Iterator[Row]:
    """GPU, driver, versions, date, and what it copies and multiplies."""
    facts: Row = {
        "gpu": "rehearsal",
        "date": f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%MZ}",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    if check.device == "cuda":
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            said = subprocess.run(query, capture_output=True, text=True, check=False).stdout
        except FileNotFoundError:  # on a Jetson
            said = "no nvidia-smi"
        facts |= {
            "gpu": torch.cuda.get_device_name(),
            "capability": ".".join(map(str, torch.cuda.get_device_capability())),
            "driver": said.strip(),
            "cuda": torch.version.cuda,
        }
    yield facts | {"ceilings": asdict(check.timer.ceilings())}


def attention_errors(check: Check) -> Iterator[Row]:
    """Kernels against float64, beside plain torch in the same precision; both layouts."""
    kernels = check.kernels()
    for size in [*ODD, *((1, *size) for size in check.attentions.values())]:
        for dtype in (torch.float32, torch.float16):
            given = check.attention_arguments(*size, dtype=dtype)
            exact = plain(*(array.double() for array in given))
            torchs = _error(plain(*given), exact)
            ulp = torch.finfo(dtype).eps * max(map_.abs().max().item() for map_ in exact)
            for layout in (torch.contiguous_format, torch.channels_last):
                maps = [map_.contiguous(memory_format=layout) for map_ in given[:3]]
                answers = [kernels.attention(*maps, *given[3:]) for _ in range(2)]
                ours = _error(answers[0], exact)
                same = all(torch.equal(*pair) for pair in zip(*answers, strict=True))
                yield {
                    "size": size,
                    "dtype": str(dtype),
                    "layout": str(layout),
                    "error": ours,
                    "plain_torch": torchs,
                    "same_twice": same,
                    "right": ours <= 2 * torchs + ulp and same,
                }


def _error(given: tuple[Tensor, Tensor], exact: tuple[Tensor, Tensor]) -> float:
    pairs = zip(given, exact, strict=True)
    return max((ours.double() - truth).abs().max().item() for ours, truth in pairs)


def attention_times(check: Check) -> Iterator[Row]:
    """Times of HIA in FP16, and the kernels' share of the copy bandwidth; compiled forms last."""
    kernels, ms = check.kernels(), check.timer.milliseconds
    for name, batch in TIMED:
        given = check.attention_arguments(batch, *check.attentions[name], dtype=torch.float16)
        turned = [map_.to(memory_format=torch.channels_last) for map_ in given[:3]] + given[3:]
        # three maps read twice, for the Gram matrices must be known first; two written
        moved = 8 * given[0].numel() * given[0].element_size()
        cold = ms(partial(kernels.attention, *given), cold=True)
        yield {
            "network": name,
            "batch": batch,
            "megabytes": moved / 1e6,
            "kernels_ms": ms(partial(kernels.attention, *given)),
            "kernels_cold_ms": cold,
            "kernels_channels_last_ms": ms(partial(kernels.attention, *turned)),
            "kernels_channels_last_cold_ms": ms(partial(kernels.attention, *turned), cold=True),
            "share_of_copy_bandwidth": moved / cold / 1e6 / check.ceilings.copy_gb_s,
            "gram_ms": ms(partial(gram, *given)),
            "plain_ms": ms(partial(plain, *given)),
        }
    for form in (plain, gram):  # last, for compiling may take all the time that is left
        for name, batch in sorted(TIMED, key=lambda each: each[0] != "paper"):
            given = check.attention_arguments(batch, *check.attentions[name], dtype=torch.float16)
            torch._dynamo.reset()  # each size gets a program of its own, as a user would
            compiled = torch.compile(form, dynamic=False)
            took = ms(partial(compiled, *given))
            yield {"network": name, "batch": batch, f"compiled_{form.__name__}_ms": took}


def network_times(check: Check, variant: str) -> Iterator[Row]:
    """Milliseconds of whole pairs, pixels to pixels, in FP16: eager, compiled, on our kernels."""
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
        row |= _on_kernels(check, lambda: half(*pair), lambda: turned(*pair))  # noqa: B023
        yield row
    for batch in (1, check.batches[-1]) if variant != "paper" else ():  # last: compiling takes long
        pair = check.pair(batch)
        torch._dynamo.reset()
        compiled = torch.compile(turned, dynamic=False)
        yield {"batch": batch, "compiled_ms": ms(lambda: compiled(*pair))}  # noqa: B023


def _on_kernels(check: Check, half: Callable[[], Any], turned: Callable[[], Any]) -> Row:
    try:
        use(check.kernels())
    except KernelError as error:
        return {"kernels": str(error)}
    try:
        ms = check.timer.milliseconds
        return {"kernels_ms": ms(half), "kernels_channels_last_ms": ms(turned)}
    finally:
        fast_forms.clear()


def onnx_runtime(check: Check) -> Iterator[Row]:
    """Milliseconds of whole pairs through ONNX Runtime's CUDA provider, frames on the host."""
    from segmif.runtime import open_runtime

    runtime = open_runtime(check.args.weights / "edge.onnx", device=check.device)  # type: ignore[arg-type]
    for batch in check.batches:
        work = partial(runtime.run, *check.frames(batch))
        yield {"batch": batch, "host_ms": check.timer.host_milliseconds(work)}


def tensorrt(check: Check, plugin: Path | None) -> Iterator[Row]:
    """Builds the FP16 engine and times whole pairs, frames on the host, with CUDA graphs or not."""
    from export import to_engine, to_onnx
    from segmif.runtime import trt
    from segmif.runtime.device import DeviceBackend, open_device
    from segmif.runtime.errors import DeviceError

    def without_graphs() -> DeviceBackend:
        device = open_device()

        def refuse(*_: Any) -> Any:
            raise DeviceError("graphs are left out here")

        device.capture = refuse  # type: ignore[method-assign]
        return device

    machine = trt.Machine.here()
    folder = check.args.plugin.parent
    onnx, kind = folder / "edge.fp16.onnx", "plugin" if plugin else "native"
    folder.mkdir(parents=True, exist_ok=True)
    to_onnx.export(check.args.weights / "edge.safetensors", onnx, "fp16")
    sizes = to_engine.Profile(height=(32, 480, 480), width=(32, 640, 640))
    build, engine = to_engine.Build(profile=sizes, plugin=plugin), folder / f"edge.{kind}.engine"
    yield to_engine.export(onnx, engine, build, machine)
    for open_ in (open_device, without_graphs):
        network = trt.open_engine(engine, plugin, device=open_)
        for batch in check.batches:
            work = partial(network.run, *check.frames(batch))
            times = check.timer.host_milliseconds(work)
            yield {"batch": batch, "graph": open_ is open_device, "host_ms": times}
        network.close()


def profile(check: Check) -> Iterator[Row]:
    """Where the time of `edge` goes on our kernels, batch 1: the longest kernels of the GPU."""
    network, pair = to_half(check.network("edge")).to(check.device), check.pair(1)
    use(check.kernels())
    activities = [torch.profiler.ProfilerActivity.CPU]
    if check.device == "cuda":
        activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.no_grad():
        network(*pair)
        with torch.profiler.profile(activities=activities) as recorded:
            for _ in range(check.timer.runs):
                network(*pair)
    on_cpu = check.device == "cpu"
    totals = {
        each.key: each.self_cpu_time_total if on_cpu else each.self_device_time_total
        for each in recorded.key_averages()
    }
    for name in sorted(totals, key=lambda key: -totals[key])[:25]:
        yield {"kernel": name[:120], "us_a_pair": totals[name] / check.timer.runs}


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
