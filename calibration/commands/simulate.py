"""Simulates calibrations of a known rig and counts how often the stated errors cover it."""

import argparse
import json
from dataclasses import asdict, dataclass

import numpy as np

from segmif.argument_types import FloatRange, IntegerRange
from segmif.geometry.rig import Floats, Rig

from ..boards.board import Board, add_board_arguments, board_from
from ..solver.bundle_adjustment import PairView
from ..solver.next_view import most_informative
from ..solver.stereo import MIN_VIEWS, calibrate
from ..solver.synthetic import (
    BOARD,
    TRIES,
    example_rig,
    in_view,
    pose_of_middle,
    poses,
    simulate_views,
)
from ..solver.uncertainty import Solution, baseline_interval_m

TWO_SIDED = 1.959964  # standard deviations around 95 % of a normal distribution
# Deviation of a hand-held board from the pose asked for: (6,) standard deviations [rad, m].
HAND_STD = np.array([0.08, 0.08, 0.08, 0.02, 0.02, 0.02])


@dataclass(frozen=True)
class SolutionErrors:
    """Differences of a solution to the truth."""

    visible_focal_percent: float
    infrared_focal_percent: float
    rotation_degrees: float
    baseline_percent: float
    epipolar_px: float
    baseline_covered: bool  # by the 95 % interval
    focal_covered: bool  # visible fx, by the covariance
    rotation_covered: bool  # by the stated 95 % quantile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_board_arguments(parser, BOARD)
    parser.add_argument(
        "--draws", type=IntegerRange(1, 10**6), default=100, help="calibrations (%(default)s)"
    )
    parser.add_argument(
        "--views",
        type=IntegerRange(1, 10**6),
        default=40,
        help="of the board in each (%(default)s)",
    )
    parser.add_argument(
        "--noise-px", type=FloatRange(0, 1e3), default=0.2, help="of a corner (%(default)s)"
    )
    parser.add_argument(
        "--guided",
        action="store_true",
        help="near the poses that `segmif calibrate live` asks for (5 degrees, 20 mm off)",
    )


def main(args: argparse.Namespace) -> int:
    truth, board = example_rig(), board_from(args)
    asked = guided_poses(truth, board, args.views, args.noise_px) if args.guided else None
    errors = []
    for seed in range(args.draws):
        random = np.random.default_rng(seed)
        places = asked or poses(truth, board, args.views, random)
        errors.append(
            calibrate_once(
                truth, board, simulate_views(truth, board, places, args.noise_px, random)
            )
        )
    table = {name: [getattr(one, name) for one in errors] for name in asdict(errors[0])}
    spread = {
        name: {"median": float(np.median(v)), "p95": float(np.percentile(v, 95)), "worst": max(v)}
        for name, v in table.items()
        if not name.endswith("covered")
    }
    covered = {name: float(np.mean(v)) for name, v in table.items() if name.endswith("covered")}
    print(json.dumps({"draws": args.draws, "views": args.views} | spread | covered, indent=2))
    return 0


def guided_poses(truth: Rig, board: Board, views: int, noise_px: float) -> list[Floats]:
    """Poses (6,) of a guided operator: the first at random, then those asked for."""
    random = np.random.default_rng(0)
    first = list(poses(truth, board, MIN_VIEWS, random))
    solution = calibrate(simulate_views(truth, board, first, noise_px, random), board, sizes(truth))
    asked = most_informative(solution, board, views - MIN_VIEWS)
    return first + [
        hand_held(truth, board, pose_of_middle(one.pose, board), random) for one in asked
    ]


def hand_held(truth: Rig, board: Board, asked: Floats, random: np.random.Generator) -> Floats:
    """
    A pose (6,) near the one asked for, with the error of a hand, that both cameras see whole.

    Raises ValueError if none of `TRIES` is one.
    """
    for _ in range(TRIES):
        pose: Floats = asked + random.normal(0, HAND_STD)
        if in_view(truth, board, pose):
            return pose
    raise ValueError(f"no hand holds a {board} so that both cameras see it whole")


def calibrate_once(truth: Rig, board: Board, drawn: list[PairView]) -> SolutionErrors:
    """Calibrate one set of noisy corners."""
    # The stated error is checked also for views that leave the rig undetermined.
    return compare(calibrate(drawn, board, sizes(truth), accept_undetermined=True), truth)


def sizes(rig: Rig) -> tuple[tuple[int, int], tuple[int, int]]:
    """Width and height of the visible and of the infrared frame [px]."""
    return (
        (rig.visible.width, rig.visible.height),
        (rig.infrared.width, rig.infrared.height),
    )


def compare(solution: Solution, truth: Rig) -> SolutionErrors:
    """Errors of a solution against the rig that made its corners."""
    rig = solution.rig
    cosine = (np.trace(rig.R @ truth.R.T) - 1) / 2
    turned = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    low, high = baseline_interval_m(solution)
    fx_std = float(np.sqrt(solution.pair_covariance[0, 0]))
    return SolutionErrors(
        visible_focal_percent=100 * abs(rig.visible.fx / truth.visible.fx - 1),
        infrared_focal_percent=100 * abs(rig.infrared.fx / truth.infrared.fx - 1),
        rotation_degrees=turned,
        baseline_percent=100 * abs(rig.baseline_m / truth.baseline_m - 1),
        epipolar_px=float(np.sqrt(np.mean([view.epipolar_px**2 for view in solution.views]))),
        baseline_covered=low <= truth.baseline_m <= high,
        focal_covered=abs(rig.visible.fx - truth.visible.fx) <= TWO_SIDED * fx_std,
        rotation_covered=turned <= solution.rotation_95,
    )
