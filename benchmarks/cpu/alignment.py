"""The time to align infrared to the visible view: the warp of a frame, and its preparation."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from benchmarks.results_file import save
from segmif.argument_types import IntegerRange
from segmif.geometry.alignment import align
from segmif.geometry.registration import refine
from segmif.geometry.rig import Camera, Rig

RESULT = Path(__file__).parents[1] / "results" / "alignment.json"
DEPTH_M = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="640x480", help="of both frames (%(default)s)")
    parser.add_argument(
        "--rounds", type=IntegerRange(1), default=500, help="of the warp (%(default)s)"
    )
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    rig = side_by_side(width, height)
    warp = align(rig, DEPTH_M)
    random = np.random.default_rng(0)
    counts = random.integers(0, 2**16, (height, width), np.uint16)
    levels = (counts >> 8).astype(np.uint8)
    times: dict[str, object] = {
        "prepare": spread(lambda: align(rig, DEPTH_M), 10),
        "refine": spread(lambda: refine(levels, levels), 3),
    }
    for threads in (1, 2):
        cv2.setNumThreads(threads)
        times[f"warp_8_bit_{threads}_threads"] = spread(lambda: warp.apply(levels), args.rounds)
        times[f"warp_16_bit_{threads}_threads"] = spread(lambda: warp.apply(counts), args.rounds)
    save({"size": args.size, "ms": times}, args.out)


def side_by_side(width: int, height: int) -> Rig:
    """Two cameras of one size, 100 mm apart, with lenses that distort."""
    K = np.array([[0.9 * width, 0, width / 2], [0, 0.9 * width, height / 2], [0, 0, 1]])
    visible = Camera(width, height, K, np.array([-0.1, 0.05, 0, 0, 0]))
    infrared = Camera(width, height, K, np.array([-0.3, 0.1, 0, 0, 0]))
    T = np.eye(4)
    T[0, 3] = -0.1
    return Rig(visible, infrared, T)


def spread(work: Callable[[], object], rounds: int) -> dict[str, float]:
    """Milliseconds of one call, after two to warm up: shortest, median, 99th percentile."""
    took = []
    for turn in range(rounds + 2):
        start = time.perf_counter()
        work()
        if turn >= 2:
            took.append(1e3 * (time.perf_counter() - start))
    return {
        "shortest": round(min(took), 3),
        "median": round(float(np.median(took)), 3),
        "p99": round(float(np.percentile(took, 99)), 3),
    }


if __name__ == "__main__":
    main()
