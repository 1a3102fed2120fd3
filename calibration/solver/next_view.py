"""
Which pose of the board to show next.

Without a solution: five poses that start any calibration. With one: of a grid of poses that both
cameras see, the pose with the largest gain in information, log det(A + S) - log det(A). This is
D-optimal design (Chaloner and Verdinelli 1995, "Bayesian experimental design", eq. 4).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from segmif.geometry.rig import Camera, Floats, Rig

from ..boards.board import Board
from ..boards.detection import Detection
from .bundle_adjustment import Bundle, PairView, normal_equations, pose_matrix, prior
from .uncertainty import Solution

FIRST_POSES = (
    "in the middle, facing the cameras, filling half of the frame",
    "at the upper left, its left edge turned away",
    "at the upper right, its right edge turned away",
    "at the lower left, its bottom edge turned away",
    "at the lower right, its top edge turned away",
)
COLUMNS = {"left": 0.25, "middle": 0.5, "right": 0.75}  # of the visible frame's width
ROWS = {"upper": 0.25, "middle": 0.5, "lower": 0.75}  # of its height
SIZES = {"near": 0.6, "at middle distance": 0.4, "far": 0.25}  # board's width over the frame's
TILT = np.radians(40)
TILTS = {
    "facing the cameras": (0.0, 0.0),
    "its top edge turned away": (-TILT, 0.0),
    "its bottom edge turned away": (TILT, 0.0),
    "its left edge turned away": (0.0, TILT),
    "its right edge turned away": (0.0, -TILT),
}


@dataclass(frozen=True)
class Candidate:
    """A pose of the board, and its words."""

    pose: Floats  # (6,) board to visible camera, about the board's middle
    words: str


def next_pose(kept: int, solution: Solution | None, board: Board) -> str:
    """Words for the pose to show after `kept` views, by the solution of them if there is one."""
    if solution is None:
        return FIRST_POSES[kept % len(FIRST_POSES)]
    try:
        return most_informative(solution, board)[0].words
    except ValueError as error:
        return f"at any place in which both cameras see it whole ({error})"


def coverage(views: Sequence[Floats], size: Sequence[int]) -> float:
    """Share [%] of an 8 x 6 grid over a frame (width, height) whose cells hold a point (N, 2)."""
    if not views:
        return 0.0
    column, row = (np.vstack(views) / size * (8, 6)).astype(int).clip(0, (7, 5)).T
    return 100 * len(set(zip(column.tolist(), row.tolist(), strict=True))) / 48


def empty_regions(views: Sequence[Floats], size: Sequence[int]) -> list[str]:
    """Which ninths of a frame (width, height) hold no point (N, 2) of any view, in words."""
    column, row = (np.vstack(views) / size * 3).astype(int).clip(0, 2).T
    held = set(zip(row.tolist(), column.tolist(), strict=True))
    return [
        "middle" if across == "middle" == down else f"{down} {across}"
        for y, down in enumerate(ROWS)
        for x, across in enumerate(COLUMNS)
        if (y, x) not in held
    ]


def most_informative(solution: Solution, board: Board, count: int = 1) -> list[Candidate]:
    """
    The candidates to show next, each with the largest gain in information after those before it.

    Raises ValueError if none fits both frames.
    """
    seen = list(candidates(solution.rig, board))
    if not seen:
        raise ValueError("no pose of the board fits both frames: do the cameras look the same way?")
    A, added = _information(solution, [one.pose for one in seen])
    chosen = []
    for _ in range(count):
        best = int(np.argmax(np.linalg.slogdet(A + added)[1]))
        A = A + added[best]
        chosen.append(seen[best])
    return chosen


def information_gains(solution: Solution, poses: Sequence[Floats]) -> Floats:
    """Gain (N,) in the pair's information by one more view in each of the poses."""
    A, added = _information(solution, poses)
    return np.asarray(np.linalg.slogdet(A + added)[1] - np.linalg.slogdet(A)[1], np.float64)


def _information(solution: Solution, poses: Sequence[Floats]) -> tuple[Floats, Floats]:
    """The pair's information (P, P), and what a view in each of the poses adds (N, P, P)."""
    bundle = solution.bundle
    A: Floats = prior(bundle)[0] + np.sum([part.S for part in normal_equations(bundle)], axis=0)
    imagined = _predicted_views(bundle, solution.rig, poses)
    return A, np.array([part.S for part in normal_equations(imagined)])


def candidates(rig: Rig, board: Board) -> Iterator[Candidate]:
    """Poses over the visible frame, near and far, five tilts, that both cameras see whole."""
    points = board.about_middle()
    wide_m = float(np.ptp(points[:, 0]))
    camera = rig.visible
    for (column, x), (row, y), (size, share), (tilt, turn) in product(
        COLUMNS.items(), ROWS.items(), SIZES.items(), TILTS.items()
    ):
        ray = camera.rays(np.array([[x * camera.width, y * camera.height]]))[0]
        depth_m = camera.fx * wide_m / (share * camera.width)
        pose = np.array([*turn, 0.0, *(depth_m * ray)])
        if _inside(camera, _transformed(pose, points)) and _inside(
            rig.infrared, _transformed(pose, points) @ rig.R.T + rig.t
        ):
            place = "in the middle" if row == column else f"at the {row} {column}"
            yield Candidate(pose, f"{place}, {size}, {tilt}")


def _predicted_views(bundle: Bundle, rig: Rig, poses: Sequence[Floats]) -> Bundle:
    """The bundle with noise-free views in these poses instead of its own."""
    ids, views = np.arange(len(bundle.board)), []
    for pose in poses:
        first = _transformed(pose, bundle.board)
        pixels = rig.visible.project(first), rig.infrared.project(first @ rig.R.T + rig.t)
        visible, infrared = (Detection(each, ids, 0.0, "imagined") for each in pixels)
        views.append(PairView("imagined", visible, infrared))
    still = np.hstack([np.array(poses), np.zeros((len(poses), 6))])
    return replace(bundle, views=views, poses=still)


def _transformed(pose: Floats, points: Floats) -> Floats:
    T = pose_matrix(pose)
    return points @ T[:3, :3].T + T[:3, 3]


def _inside(camera: Camera, points: Floats) -> bool:
    if not camera.sees(points).all():
        return False
    pixels = camera.project(points)
    return bool(((pixels > 0) & (pixels < (camera.width - 1, camera.height - 1))).all())
