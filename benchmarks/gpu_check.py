"""
`make gpu-check`: everything that needs a GPU, in one command; JSON into benchmarks/results.

Each part does what this machine allows and says what it left out: the attention kernels against
float64 and against the bandwidth of this GPU; the networks in torch, compiled, and on our kernels;
ONNX Runtime; TensorRT with our plugin and without. Needs no network. `--rehearse` goes through all
of it on the CPU, small and with the host build of the kernels: its times mean nothing.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
import torch
from torch import Tensor, nn

from segmif.model.network import Network
from segmif.model.precision import to_half
from segmif.model.weights import load_network
from segmif.ops.interactive_attention import fast_forms, gram, plain
from segmif.ops.native import Kernels, use

HEIGHT, WIDTH = 480, 640
ATTENTIONS = {  # channels, heads, height, width of the maps at 480x640
    "nano": (24, 3, HEIGHT // 4, WIDTH // 4),
    "edge": (40, 5, HEIGHT // 4, WIDTH // 4),
    "paper": (64, 8, HEIGHT, WIDTH),
}
BATCHES: tuple[int, ...] = (1, 2, 4, 8)
RUNS = 50
DEVICE: Literal["cpu", "cuda"] = "cuda"

Results = dict[str, Any]


@dataclass
class Report:
    """What was found, part by part; a part that fails leaves its reason and the rest goes on."""

    facts: Results
    parts: Results = field(default_factory=dict)

    def part(self, name: str, work: Callable[[], Any]) -> None:
        """Runs one part and keeps its answer, or why there is none."""
        print(f"== {name}", flush=True)
        start = time.monotonic()
        try:
            answer = work()
        except Exception as error:
            traceback.print_exc()
            answer = {"left_out": f"{type(error).__name__}: {error}"}
        self.parts[name] = answer
        print(json.dumps(answer, indent=1, default=str)[:4000])
        print(f"   {time.monotonic() - start:.0f} s", flush=True)

    def write(self, folder: Path) -> Path:
        """One JSON file, named by GPU and day."""
        gpu = self.facts["gpu"].lower().replace(" ", "-")
        path = folder / f"gpu-check-{gpu}-{self.facts['date'][:10]}.json"
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.facts | self.parts, indent=1, default=str) + "\n")
        return path


def main() -> int:
    """Runs all parts; returns the exit code, 1 where the kernels are wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    root = Path(__file__).parent
    parser.add_argument("--out", type=Path, default=root / "results")
    parser.add_argument("--weights", type=Path, default=root.parent / "weights")
    parser.add_argument(
        "--kernels", type=Path, default=root.parent / "build/plugin/libsegmif_attention.so"
    )
    parser.add_argument(
        "--plugin", type=Path, default=root.parent / "build/plugin/libsegmif_plugin.so"
    )
    parser.add_argument("--site", type=Path, help="folder of further Python packages")
    parser.add_argument("--variants", nargs="+", default=["nano", "edge", "paper"])
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, for its errors only")
    args = parser.parse_args()
    if args.site:
        sys.path.append(str(args.site))
    if args.rehearse:
        rehearse()
    elif not torch.cuda.is_available():
        print("gpu-check: torch sees no GPU here", file=sys.stderr)
        return 1
    report = Report(machine_facts())
    kernels = Kernels(args.kernels, DEVICE)
    report.part("ceilings", ceilings)
    report.part("attention_errors", lambda: attention_errors(kernels))
    bandwidth = report.parts["ceilings"].get("copy_gb_s", float("nan"))
    report.part("attention_times", lambda: attention_times(kernels, bandwidth))
    for variant in args.variants:
        network = open_network(args.weights, variant)
        report.part(f"torch_{variant}", lambda: network_times(network, kernels, report))  # noqa: B023
    report.part("onnxruntime", lambda: onnx_runtime(args.weights / "edge.onnx"))
    report.part("tensorrt", lambda: tensorrt(args.weights / "edge.safetensors", args.plugin))
    print(report.write(args.out))
    errors = report.parts["attention_errors"]
    return 0 if isinstance(errors, list) and all(row["right"] for row in errors) else 1


def rehearse() -> None:
    """Makes everything small and puts it on the CPU."""
    global DEVICE, HEIGHT, WIDTH, BATCHES, RUNS
    DEVICE, HEIGHT, WIDTH, BATCHES, RUNS = "cpu", 64, 96, BATCHES[:2], 2
    for name, (channels, heads, _, _) in ATTENTIONS.items():
        ATTENTIONS[name] = (channels, heads, 16, 24)


def machine_facts() -> Results:
    """GPU, driver, versions, date, command."""
    if DEVICE == "cpu":
        return {"gpu": "rehearsal", "date": f"{datetime.now(UTC):%Y-%m-%dT%H:%MZ}"}
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    driver = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "gpu": torch.cuda.get_device_name(),
        "capability": ".".join(map(str, torch.cuda.get_device_capability())),
        "driver": driver,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "date": f"{datetime.now(UTC):%Y-%m-%dT%H:%MZ}",
        "command": " ".join(sys.argv),
    }


def milliseconds(work: Callable[[], Any], *, graph: bool = True) -> float:
    """Median time of `work` on the GPU, replayed from a CUDA graph unless told otherwise."""
    if DEVICE == "cpu":
        return _cpu_milliseconds(work)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream), torch.no_grad():
        for _ in range(3):
            work()
        stream.synchronize()
        run = work
        if graph:
            recorded = torch.cuda.CUDAGraph()
            with torch.cuda.graph(recorded, stream=stream):
                work()
            run = recorded.replay
        times: list[float] = []
        for _ in range(RUNS):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record(stream)
            run()
            end.record(stream)
            end.synchronize()
            times.append(start.elapsed_time(end))
    return statistics.median(times)


def _cpu_milliseconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    with torch.no_grad():
        work()
    return 1e3 * (time.perf_counter() - start)


def ceilings() -> Results:
    """What this GPU really copies and multiplies."""
    large = DEVICE == "cuda"
    source = torch.empty(1 << (30 if large else 20), dtype=torch.uint8, device=DEVICE)
    target = torch.empty_like(source)
    copy = milliseconds(lambda: target.copy_(source))
    side = 8192 if large else 128
    left, right = (torch.randn(side, side, device=DEVICE).half() for _ in range(2))
    product = milliseconds(lambda: left @ right)
    return {
        "copy_gb_s": 2 * source.numel() / copy / 1e6,  # read and written
        "fp16_tflop_s": 2 * side**3 / product / 1e9,
    }


def attention_arguments(
    batch: int, channels: int, heads: int, height: int, width: int, dtype: torch.dtype
) -> list[Tensor]:
    """Random maps and parameters of HIA, as its tests make them."""
    random = torch.Generator(DEVICE).manual_seed(channels * height)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, device=DEVICE, dtype=torch.float32)

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
    return [array.to(dtype) for array in exact]


def attention_errors(kernels: Kernels) -> list[Results]:
    """Kernels against float64, beside plain torch in the same precision; both layouts."""
    rows = []
    odd = [(2, 24, 3, 13, 7), (1, 40, 5, 97, 1), (3, 16, 4, 5, 64), (1, 8, 2, 1, 1)]
    for size in [*odd, *((1, *size) for size in ATTENTIONS.values())]:
        for dtype in (torch.float32, torch.float16):
            given = attention_arguments(*size, dtype=dtype)
            exact = plain(*(array.double() for array in given))
            torchs = _error(plain(*given), exact)
            ulp = torch.finfo(dtype).eps * max(map_.abs().max().item() for map_ in exact)
            for layout in (torch.contiguous_format, torch.channels_last):
                maps = [map_.contiguous(memory_format=layout) for map_ in given[:3]]
                answers = [kernels.attention(*maps, *given[3:]) for _ in range(2)]
                ours = _error(answers[0], exact)
                same = all(torch.equal(*pair) for pair in zip(*answers, strict=True))
                rows.append(
                    {
                        "size": size,
                        "dtype": str(dtype),
                        "layout": str(layout),
                        "error": ours,
                        "plain_torch": torchs,
                        "same_twice": same,
                        "right": ours <= 2 * torchs + ulp and same,
                    }
                )
    return rows


def _error(given: tuple[Tensor, Tensor], exact: tuple[Tensor, Tensor]) -> float:
    pairs = zip(given, exact, strict=True)
    return max((ours.double() - truth).abs().max().item() for ours, truth in pairs)


def attention_times(kernels: Kernels, bandwidth: float) -> list[Results]:
    """Times of HIA in FP16 at 480x640, and what share of the copy bandwidth the kernels reach."""
    rows = []
    compiled = {"plain": torch.compile(plain), "gram": torch.compile(gram)}
    for name, (channels, heads, height, width) in ATTENTIONS.items():
        for batch in (1, 8) if name != "paper" else (1,):
            given = attention_arguments(batch, channels, heads, height, width, torch.float16)
            turned = [map_.to(memory_format=torch.channels_last) for map_ in given[:3]] + given[3:]
            # three maps read twice, for the Gram matrices must be known first; two written
            moved = 8 * given[0].numel() * given[0].element_size()
            ours = milliseconds(lambda: kernels.attention(*given))  # noqa: B023
            row = {
                "network": name,
                "batch": batch,
                "kernels_ms": ours,
                "kernels_channels_last_ms": milliseconds(lambda: kernels.attention(*turned)),  # noqa: B023
                "gram_ms": milliseconds(lambda: gram(*given)),  # noqa: B023
                "plain_ms": milliseconds(lambda: plain(*given)),  # noqa: B023
                "megabytes": moved / 1e6,
                "share_of_copy_bandwidth": moved / ours / 1e6 / bandwidth,
            }
            for form, function in compiled.items():
                row[f"compiled_{form}_ms"] = milliseconds(lambda: function(*given))  # noqa: B023
            rows.append(row)
    return rows


def open_network(folder: Path, variant: str) -> Network:
    """Trained weights where there are any; times are the same without."""
    path = folder / f"{variant}.safetensors"
    if path.is_file():
        return load_network(path, DEVICE)
    torch.manual_seed(0)
    return Network(variant).eval().to(DEVICE)


def network_times(network: Network, kernels: Kernels, report: Report) -> list[Results]:
    """Milliseconds of whole pairs, pixels to pixels, in FP16: eager, compiled, on our kernels."""
    half = to_half(network).to(DEVICE)
    turned = to_half(network).to(DEVICE)
    turned.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stub
    rows = []
    for batch in BATCHES if network.variant != "paper" else (1,):
        random = torch.Generator(DEVICE).manual_seed(batch)
        shapes = ((batch, HEIGHT, WIDTH, 3), (batch, HEIGHT, WIDTH))
        pair = [
            torch.randint(0, 256, s, dtype=torch.uint8, device=DEVICE, generator=random)
            for s in shapes
        ]
        row: Results = {"batch": batch, "roofline_ms": roofline(half, pair, report)}
        row["eager_ms"] = milliseconds(lambda: half(*pair), graph=False)  # noqa: B023
        row["graph_ms"] = milliseconds(lambda: half(*pair))  # noqa: B023
        row["graph_channels_last_ms"] = milliseconds(lambda: turned(*pair))  # noqa: B023
        use(kernels)
        row["kernels_ms"] = milliseconds(lambda: half(*pair))  # noqa: B023
        row["kernels_channels_last_ms"] = milliseconds(lambda: turned(*pair))  # noqa: B023
        fast_forms.clear()
        if batch in (1, 8) and network.variant != "paper":
            compiled = torch.compile(turned)
            row["compiled_ms"] = milliseconds(lambda: compiled(*pair))  # noqa: B023
        rows.append(row)
    return rows


def roofline(network: nn.Module, pair: list[Tensor], report: Report) -> float:
    """
    Milliseconds that a perfect machine would need: per layer, the larger of arithmetic at the
    measured FP16 rate and of reading inputs and weights and writing outputs once at copy speed.
    """
    found = report.parts["ceilings"]
    flop_ms, byte_ms = 1 / (found["fp16_tflop_s"] * 1e9), 1 / (found["copy_gb_s"] * 1e6)
    total = 0.0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        weight = layer.weight
        assert isinstance(weight, Tensor)
        moved = sum(t.numel() * t.element_size() for t in (inputs[0], weight, output))
        outputs = output.numel() // weight.shape[0]
        total += max(2 * weight.numel() * outputs * flop_ms, moved * byte_ms)

    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.no_grad():
        network(*pair)
    for hook in hooks:
        hook.remove()
    return total


def onnx_runtime(path: Path) -> list[Results]:
    """Milliseconds of whole pairs through ONNX Runtime's CUDA provider, frames on the host."""
    from segmif.runtime import open_runtime

    runtime = open_runtime(path, device=DEVICE)
    return [{"batch": batch, "ms": _host_ms(runtime.run, batch)} for batch in BATCHES]


def _host_ms(run: Callable[..., Any], batch: int) -> float:
    random = np.random.default_rng(batch)
    visible = random.integers(0, 256, (batch, HEIGHT, WIDTH, 3), np.uint8)
    infrared = random.integers(0, 256, (batch, HEIGHT, WIDTH), np.uint8)
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run(visible, infrared)
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def tensorrt(weights: Path, plugin: Path) -> list[Results]:
    """Builds the FP16 engine with our plugin and without; whole pairs, frames on the host."""
    from export import to_engine, to_onnx
    from segmif.runtime import trt

    folder = plugin.parent
    onnx = folder / f"{weights.stem}.fp16.onnx"
    to_onnx.export(weights, onnx, "fp16")
    profile = to_engine.Profile(height=(32, HEIGHT, HEIGHT), width=(32, WIDTH, WIDTH))
    rows = []
    for library in (plugin, None):
        build = to_engine.Build(profile=profile, plugin=library)
        engine = folder / f"{weights.stem}.{'plugin' if library else 'native'}.engine"
        facts = to_engine.export(onnx, engine, build, trt.Machine.here())
        network = trt.open_engine(engine, library)
        times = {batch: _host_ms(network.run, batch) for batch in BATCHES}
        network.close()
        rows.append({"attention": facts["attention"], "host_ms": times, **facts})
    return rows


if __name__ == "__main__":
    sys.exit(main())
