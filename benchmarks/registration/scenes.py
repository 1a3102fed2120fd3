"""How far off a rig from rendered scenes is, and how often its stated errors cover the truth."""

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from benchmarks.results_file import save
from calibration.scenes.estimate import Scenes, fit_scenes, visible_grid
from calibration.scenes.moving_targets import small
from calibration.scenes.plane_model import homography_model
from calibration.scenes.synthetic_motion import RATE, random_rig, render, true_pixels
from segmif.argument_types import FloatRange, IntegerRange
from segmif.geometry.rig import Floats, Rig


@dataclass(frozen=True)
class Draw:
    """One rendered rig: errors over what both cameras see, and what was stated [px of visible]."""

    half_px: float
    most_px: float
    stated_half_px: float
    stated_most_px: float
    half_infrared_px: float
    fit_s: float  # of CPU


def drawn(seed: int, seconds: float, rate: float) -> Draw | str:
    """Render a rig and fit it; what was refused is given in words."""
    random = np.random.default_rng(seed)
    rig = random_rig(random)
    pairs = [(small(one), small(two)) for one, two in render(rig, seconds, random, rate)]
    sizes = (
        (rig.visible.width, rig.visible.height),
        (rig.infrared.width, rig.infrared.height),
    )
    scenes = Scenes([one for one, _ in pairs], [two for _, two in pairs], sizes)
    began = time.process_time()
    try:
        found = fit_scenes(scenes, homography_model(sizes))
    except ValueError as error:
        return str(error)
    took_s = time.process_time() - began
    off = errors(rig, found.fit.infrared_pixels(visible_grid(sizes[0])))
    scale = rig.visible.fx / rig.infrared.fx
    half, most = (scale * float(np.quantile(off, q)) for q in (0.5, 0.95))
    return Draw(half, most, found.median_px, found.most_px, half / scale, took_s)


def errors(rig: Rig, found: Floats) -> Floats:
    """Errors [px of infrared] of pixels (N, 2) found for `visible_grid`, if infrared sees them."""
    there = true_pixels(rig, visible_grid((rig.visible.width, rig.visible.height)))
    last = np.array([rig.infrared.width, rig.infrared.height]) - 1
    seen = ((there >= 0) & (there <= last)).all(1)
    return np.asarray(np.linalg.norm(found - there, axis=1)[seen])


def summary(draws: list[Draw]) -> dict[str, object]:
    """Medians, tails and coverage."""
    table = {name: np.array([getattr(one, name) for one in draws]) for name in vars(draws[0])}
    quantiles = {
        name: {"median": float(np.median(v)), "p95": float(np.quantile(v, 0.95)), "max": max(v)}
        for name, v in table.items()
    }
    covered = {
        f"covered_{name}": float((table[f"{name}_px"] <= table[f"stated_{name}_px"]).mean())
        for name in ("half", "most")
    }
    return quantiles | covered


def main() -> None:
    """Draw rigs, print the summary and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--draws", type=IntegerRange(1), default=100, help="(%(default)s)")
    add("--first", type=IntegerRange(0), default=0, help="seed of the first one (%(default)s)")
    add("--seconds", type=FloatRange(1, 3600), default=120.0, help="of each (%(default)s)")
    add("--rate", type=FloatRange(0.1, 30), default=RATE, help="pairs a second (%(default)s)")
    add("--processes", type=IntegerRange(1, 256), default=1, help="at a time (%(default)s)")
    add("--minutes", type=FloatRange(0, 1e6), default=np.inf, help="after which to stop")
    add("--out", type=Path, help="file to write the results into")
    args = parser.parse_args()
    until = time.monotonic() + 60 * args.minutes
    draws: list[Draw] = []
    refused: list[str] = []
    with ProcessPoolExecutor(args.processes, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        seeds = range(args.first, args.first + args.draws)
        draw = partial(drawn, seconds=args.seconds, rate=args.rate)
        for seed, one in zip(seeds, pool.map(draw, seeds), strict=True):
            if isinstance(one, Draw):
                draws.append(one)
            else:
                refused.append(one)
            print(seed, one, flush=True)
            if time.monotonic() > until:
                pool.shutdown(wait=False, cancel_futures=True)
                break
    found = {"seconds": args.seconds, "rate": args.rate, "draws": len(draws), "refused": refused}
    save(found | (summary(draws) if draws else {}), args.out)


if __name__ == "__main__":
    main()
