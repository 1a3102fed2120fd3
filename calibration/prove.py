"""Calibrate rigs whose truth is known, and count how often the stated errors cover it."""

import argparse
import json
from dataclasses import asdict, dataclass

import numpy as np

from calibration.judge import Solution, interval_m
from calibration.stereo import calibrate
from calibration.synthetic import BOARD, draw, unlike_rig
from segmif.rig import Rig

TWO_SIDED = 1.959964  # standard deviations around 95 % of a normal distribution


@dataclass(frozen=True)
class Errors:
    """How far a solution is from the truth."""

    visible_focal_percent: float
    infrared_focal_percent: float
    rotation_degrees: float
    baseline_percent: float
    epipolar_px: float
    baseline_covered: bool  # by the 95 % interval
    focal_covered: bool  # visible fx, by the covariance


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--draws", type=int, default=100, help="calibrations (%(default)s)")
    parser.add_argument("--views", type=int, default=40, help="of the board in each (%(default)s)")
    parser.add_argument("--noise-px", type=float, default=0.2, help="of a corner (%(default)s)")


def main(args: argparse.Namespace) -> int:
    truth = unlike_rig()
    errors = [one_draw(truth, args.views, args.noise_px, seed) for seed in range(args.draws)]
    table = {name: [getattr(one, name) for one in errors] for name in asdict(errors[0])}
    spread = {
        name: {"median": float(np.median(v)), "p95": float(np.percentile(v, 95)), "worst": max(v)}
        for name, v in table.items()
        if not name.endswith("covered")
    }
    covered = {name: float(np.mean(v)) for name, v in table.items() if name.endswith("covered")}
    print(json.dumps({"draws": args.draws, "views": args.views} | spread | covered, indent=2))
    return 0


def one_draw(truth: Rig, views: int, noise_px: float, seed: int) -> Errors:
    """Calibrate one set of noisy corners."""
    drawn = draw(truth, BOARD, views, noise_px, np.random.default_rng(seed))
    sizes = (
        (truth.visible.width, truth.visible.height),
        (truth.infrared.width, truth.infrared.height),
    )
    return compare(calibrate(drawn, BOARD, sizes), truth)


def compare(solution: Solution, truth: Rig) -> Errors:
    """Errors of a solution against the rig that made its corners."""
    rig = solution.rig
    cosine = (np.trace(rig.R @ truth.R.T) - 1) / 2
    low, high = interval_m(solution)
    fx_std = float(np.sqrt(solution.pair_covariance[0, 0]))
    return Errors(
        visible_focal_percent=100 * abs(rig.visible.fx / truth.visible.fx - 1),
        infrared_focal_percent=100 * abs(rig.infrared.fx / truth.infrared.fx - 1),
        rotation_degrees=float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))),
        baseline_percent=100 * abs(rig.baseline_m / truth.baseline_m - 1),
        epipolar_px=float(np.sqrt(np.mean([view.epipolar_px**2 for view in solution.views]))),
        baseline_covered=low <= truth.baseline_m <= high,
        focal_covered=abs(rig.visible.fx - truth.visible.fx) <= TWO_SIDED * fx_std,
    )
