"""Times on a GPU: medians by events, of recorded work, with its data in the cache or not."""

import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

FLUSH = 256 << 20  # bytes that are read to empty the L2 cache: several times the largest
REPEATS = 20  # of warm work in a graph
AWAKE_S = 0.2  # of work before the first time: an idle GPU has a low clock
AHEAD = 200_000  # cycles that the GPU waits, so that what is timed is enqueued before it begins


@dataclass(frozen=True)
class Ceilings:
    """Measured copy and multiplication rates of a GPU."""

    copy_gb_s: float = float("nan")  # read and written
    fp16_tflop_s: float = float("nan")


@dataclass(frozen=True)
class Timer:
    """Times work on `cuda`, or on `cpu` to rehearse."""

    device: str
    runs: int

    def milliseconds(
        self, work: Callable[[], Any], *, graph: bool = True, cold: bool = False
    ) -> float:
        """
        Median time of `work`: of the GPU alone with `graph`, otherwise with launches.

        `cold`: the L2 cache holds none of its data. The start of a graph, as long as a small
        kernel, is subtracted.
        """
        if self.device == "cpu":
            with torch.no_grad():
                return host_milliseconds(work, self.runs)["p50"]
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream), torch.no_grad():
            _wake_up(work, stream)
            flush = torch.zeros(FLUSH if cold else 0, dtype=torch.uint8, device="cuda")

            def median_ms(run: Callable[[], Any]) -> float:
                return statistics.median(
                    _event_ms(run, stream, flush, ahead=graph) for _ in range(self.runs)
                )

            if not graph:
                return median_ms(work)
            graph_ms = partial(_graph_ms, work, stream, median_ms)
            return one_call_ms(graph_ms, 1 if cold else REPEATS)

    def ceilings(self) -> Ceilings:
        """Measured by a large copy and a large matrix product."""
        size, side = (1 << 30, 8192) if self.device == "cuda" else (1 << 20, 128)
        source = torch.empty(size, dtype=torch.uint8, device=self.device)
        target = torch.empty_like(source)
        copy = self.milliseconds(lambda: target.copy_(source))
        left, right = (torch.randn(side, side, device=self.device).half() for _ in range(2))
        product = self.milliseconds(lambda: left @ right)
        return Ceilings(2 * source.numel() / copy / 1e6, 2 * side**3 / product / 1e9)


def one_call_ms(graph_ms: Callable[[int], float], calls: int) -> float:
    """The time of one call, from graphs that hold `calls` of it and none."""
    return (graph_ms(calls) - graph_ms(0)) / calls


def _graph_ms(
    work: Callable[[], Any],
    stream: torch.cuda.Stream,
    median_ms: Callable[[Callable[[], Any]], float],
    calls: int,
) -> float:
    graph = torch.cuda.CUDAGraph()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a graph is empty
        with torch.cuda.graph(graph, stream=stream):
            for _ in range(calls):
                work()
    return median_ms(graph.replay)


def _wake_up(work: Callable[[], Any], stream: torch.cuda.Stream) -> None:
    """Runs the work until the GPU's clock is up, and at least three times."""
    end, runs = time.perf_counter() + AWAKE_S, 0
    while runs < 3 or time.perf_counter() < end:
        work()
        stream.synchronize()
        runs += 1


def _event_ms(
    run: Callable[[], Any], stream: torch.cuda.Stream, flush: Tensor, *, ahead: bool
) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    if flush.numel():
        flush.max()  # a read: a write would add its write-back to the time
    if ahead:
        torch.cuda._sleep(AHEAD)
    start.record(stream)
    run()
    end.record(stream)
    end.synchronize()
    return start.elapsed_time(end)


def roofline_ms(network: nn.Module, pair: list[Tensor], ceilings: Ceilings) -> float:
    """
    The roofline time in ms: per layer the larger of arithmetic and memory traffic.

    Arithmetic is at the measured FP16 rate. Traffic is one read of inputs and weights and one write
    of outputs at the copy rate.
    """
    flop_ms, byte_ms = 1 / (ceilings.fp16_tflop_s * 1e9), 1 / (ceilings.copy_gb_s * 1e6)
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


def host_milliseconds(work: Callable[[], Any], runs: int) -> dict[str, float]:
    """Median and 99th percentile of a call's time in ms, after some runs to warm up."""
    times, warm = [], min(runs, 3)
    for _ in range(warm + runs):
        start = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - start))
    p50, p99 = np.percentile(times[warm:], (50, 99))
    return {"p50": float(p50), "p99": float(p99)}
