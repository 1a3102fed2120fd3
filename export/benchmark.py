"""`segmif export benchmark`: size, arithmetic and time of each variant on this machine."""

import argparse
import os
import platform
import statistics
import time
from dataclasses import dataclass
from datetime import datetime, timezone

import torch
from torch.utils.flop_counter import FlopCounterMode

from segmif.argument_types import IntegerRange
from segmif.frames import MULTIPLE, OUTPUTS
from segmif.model.config import VARIANTS
from segmif.model.network import Network
from segmif.runtime.onnxruntime_ import onnxruntime

from .to_onnx import feeds, to_model


@dataclass(frozen=True)
class Cost:
    """One row of the table, for one pair of the given size."""

    variant: str
    parameters: int
    macs: int  # multiply-accumulates of convolutions and matrix products
    milliseconds: float | None  # median through ONNX Runtime on the CPU
    confidence_ms: float | None  # median of what confidence adds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `segmif export benchmark`."""
    parser.add_argument("--table", action="store_true", help="print the table (the default)")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument(
        "--size", type=_size, default="480x640", help="height x width, multiples of 32"
    )
    parser.add_argument(
        "--threads", type=IntegerRange(1, 1024), default=os.cpu_count() or 1, help="CPU threads"
    )
    parser.add_argument(
        "--runs", type=IntegerRange(0), default=9, help="timed runs per variant; 0 counts only"
    )


def main(args: argparse.Namespace) -> int:
    """Prints the table; returns the exit code."""
    height, width = args.size
    costs = [measure(v, height, width, args.threads, args.runs) for v in args.variants]
    print(table(costs))
    print(
        f"one pair at {height}x{width}; ms: median of {args.runs} runs with fresh weights, "
        f"ONNX Runtime {onnxruntime.__version__}, {args.threads} threads, "
        f"{platform.machine()}, {datetime.now(timezone.utc):%Y-%m-%d}"
    )
    return 0


def _size(text: str) -> tuple[int, int]:
    """Height and width in pixels."""
    sides = [int(side) if side.isdecimal() else 0 for side in text.split("x")]
    if len(sides) != 2 or any(side == 0 or side % MULTIPLE for side in sides):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no size: expected multiples of {MULTIPLE}, such as 480x640"
        )
    return sides[0], sides[1]


def measure(variant: str, height: int, width: int, threads: int, runs: int) -> Cost:
    """Counts and times a variant with fresh weights."""
    parameters, macs = count(variant, height, width)
    times = clock(variant, height, width, threads, runs) if runs else (None, None)
    return Cost(variant, parameters, macs, *times)


def count(variant: str, height: int, width: int) -> tuple[int, int]:
    """Parameters, and multiply-accumulates for one pair, without computing anything."""
    with torch.device("meta"):
        network = Network(variant).eval()
        visible = torch.empty(1, height, width, 3, dtype=torch.uint8)
        infrared = torch.empty(1, height, width, dtype=torch.uint8)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(visible, infrared)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return parameters, counter.get_total_flops() // 2


def clock(variant: str, height: int, width: int, threads: int, runs: int) -> tuple[float, float]:
    """
    Median milliseconds of one pair through ONNX Runtime on the CPU, and what confidence adds.

    Runs without and with confidence alternate, after one of each to warm up.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        to_model(Network(variant).eval()).SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
    )
    pair = feeds(1, height, width)
    bare = onnxruntime.RunOptions()
    bare.only_execute_path_to_fetches = True  # as our runtime does
    plain, more = [], []
    for _ in range(1 + runs):
        times = []
        for outputs in (["fused", "labels"], list(OUTPUTS)):
            start = time.perf_counter()
            session.run(outputs, pair, bare)
            times.append(1e3 * (time.perf_counter() - start))
        plain.append(times[0])
        more.append(times[1] - times[0])
    return statistics.median(plain[1:]), statistics.median(more[1:])


def table(costs: list[Cost]) -> str:
    """The costs as a text table."""
    rows = [f"{'variant':<8} {'parameters':>11} {'GMAC':>8} {'CPU ms':>9} {'confidence':>11}"]
    for cost in costs:
        ms = "-" if cost.milliseconds is None else f"{cost.milliseconds:.0f}"
        more = "-" if cost.confidence_ms is None else f"{cost.confidence_ms:+.1f}"
        rows.append(
            f"{cost.variant:<8} {cost.parameters / 1e6:>9.2f} M {cost.macs / 1e9:>8.2f} {ms:>9} "
            f"{more:>11}"
        )
    return "\n".join(rows)
