"""The sizes that every part of `gpu_check.py` measures; needs no torch."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Row = dict[str, Any]
Bytes = NDArray[np.uint8]


class Setting:
    """The sizes that every part measures, and where what they make lies."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.folder: Path = args.plugin.parent  # of ONNX files, engines and references
        self.runs = 1 if args.rehearse else 50
        self.height, self.width = (64, 96) if args.rehearse else (480, 640)
        self.batches = (1, 2) if args.rehearse else (1, 2, 4, 8)

    def frames(self, batch: int) -> list[Bytes]:
        """Random pixels on the host: visible (B, H, W, 3) and infrared (B, H, W)."""
        random = np.random.default_rng(batch)
        shape = (batch, self.height, self.width)
        return [random.integers(0, 256, each, np.uint8) for each in ((*shape, 3), shape)]


def host_milliseconds(work: Callable[[], Any], runs: int) -> dict[str, float]:
    """Median and 99th percentile of the time that a caller waits, after some runs to warm up."""
    times, warm = [], min(runs, 3)
    for _ in range(warm + runs):
        start = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - start))
    p50, p99 = np.percentile(times[warm:], (50, 99))
    return {"p50": float(p50), "p99": float(p99)}
