"""How far ranges of objects are off in rendered streets, and how often their errors cover that."""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from benchmarks.results_file import save
from calibration.scenes.synthetic_motion import (
    backgrounds,
    box_of,
    distance_m,
    draw,
    random_rig,
    walkers,
)
from segmif.argument_types import FloatRange, IntegerRange
from segmif.geometry.alignment import align
from segmif.geometry.object_range import object_range
from segmif.geometry.rig import Floats, Rig

SECONDS = 60  # of each street, one pair a second
INFRARED_M = np.array([0.09, 0.03, 0.0])  # place of the infrared camera
COUNTS = 7200, 1200  # of 14 bit: shown as black, and the span to white
NOISE = 2.0, 12.0  # [levels, counts]
SPANS = (0, 6), (6, 10), (10, 16), (16, 30)  # [m]


def mounted(random: np.random.Generator) -> Rig:
    """Two unlike cameras, 95 mm apart, known to 2 mm."""
    rig = random_rig(random)
    T = rig.T_infrared_visible.copy()
    T[:3, 3] = -T[:3, :3] @ INFRARED_M
    return replace(rig, T_infrared_visible=T, baseline_std_m=0.002)


def ranged(seed: int, plane_m: float) -> Iterator[tuple[float, float, float]]:
    """True distance, range and its deviation [m] of each object; NaN if there is no range."""
    random = np.random.default_rng(seed)
    rig = mounted(random)
    street, people, warp = backgrounds(rig, random), walkers(random, SECONDS), align(rig, plane_m)
    for time_s in range(SECONDS):
        visible, infrared = street[0].copy(), street[1].copy()
        there = draw(rig, people, time_s, visible, infrared)
        light = cv2.GaussianBlur(visible, (3, 3), 0.6) + random.normal(0, NOISE[0], visible.shape)
        counts = cv2.GaussianBlur(infrared, (5, 5), 0.9)
        counts = counts + random.normal(0, NOISE[1], infrared.shape)
        warm = (counts - COUNTS[0]) / COUNTS[1] * 255
        grey, heat = (np.clip(one, 0, 255).astype(np.uint8) for one in (light, warm))
        aligned = warp.apply(heat)
        for walker, place in there:
            low, high = box_of(rig, place, walker.size, infrared=False)
            left, top, right, bottom = (round(v) for v in (*low, *high))
            if left < 0 or top < 0 or right > grey.shape[1] or bottom > grey.shape[0]:
                continue
            box = left, top, right - left, bottom - top
            found = object_range(rig, plane_m, grey, aligned, box)
            of = (found.distance_m, found.std_m) if found else (np.nan, np.nan)
            yield (distance_m(walker, place), *of)


def summary(rows: Floats) -> dict[str, object]:
    """Of objects (N, 3): how many have a range, how far off it is, and what its error covers."""
    told = rows[~np.isnan(rows[:, 1])]
    if not len(told):
        return {"objects": len(rows), "ranged": 0}
    off = np.abs(told[:, 1] - told[:, 0])
    return {
        "objects": len(rows),
        "ranged": len(told),
        "relative_error_median": float(np.median(off / told[:, 0])),
        "relative_std_median": float(np.median(told[:, 2] / told[:, 1])),
        "within_one_std": float((off <= told[:, 2]).mean()),
        "within_two_std": float((off <= 2 * told[:, 2]).mean()),
    }


def main() -> None:
    """Render streets, print the summary by distance and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--streets", type=IntegerRange(1), default=10, help="(%(default)s)")
    add("--plane-m", type=FloatRange(1, 1000), default=10.0, help="that is aligned (%(default)s)")
    add("--out", type=Path, help="file to write the results into")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    rows = np.array([row for seed in range(args.streets) for row in ranged(seed, args.plane_m)])
    spans = {
        f"{low} to {high} m": summary(rows[(rows[:, 0] >= low) & (rows[:, 0] < high)])
        for low, high in SPANS
    }
    save({"streets": args.streets, "plane_m": args.plane_m, "all": summary(rows)} | spans, args.out)


if __name__ == "__main__":
    main()
