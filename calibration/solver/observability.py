"""
Whether the views determine both focal lengths, on which everything else rests.

A flat board that faces the camera looks the same near a short lens and far from a long one. The
least squares still end somewhere, and their covariance describes that place alone. So each focal
length is moved by `REACH` and held while all else adapts: where the corners are explained nearly as
well, they do not determine it (profile likelihood; Venzon and Moolgavkar 1988, "A method for
computing profile-likelihood-based confidence intervals").
"""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from segmif.geometry.rig import Floats

from ..boards.board import Board
from .bundle_adjustment import Bundle, PairView, cost, minimise, split, transform
from .uncertainty import Solution

REACH = 0.1  # of a focal length
NEEDED = 36.0  # gain in the sum of squares at that distance: six standard deviations
SURE = 0.005  # standard deviation over focal length below which the profile need not be asked
TILT = 20.0  # [degrees] that some view should reach about either axis
DEPTH = 1.3  # farthest over nearest view
FACING = 0.02  # change of scale over half a board: 5 degrees at usual distances


class Undetermined(ValueError):
    """The views leave open which rig it is."""


def undetermined(solution: Solution) -> str:
    """Why the views do not determine the rig and which are missing, in words; else nothing."""
    bundle = solution.bundle
    starts = (0, split(bundle)[0].size)
    spread = np.sqrt(np.diag(solution.pair_covariance))
    for name, at in zip(("visible", "infrared"), starts, strict=True):
        focal = float(bundle.pair[at])
        if spread[at] < SURE * focal:
            continue
        factors = (1 - REACH, 1 / (1 - REACH))
        if min(_gain(bundle, at, factor) for factor in factors) < NEEDED:
            low, high = (focal * factor for factor in factors)
            return (
                f"these views do not determine the focal length of the {name} camera: {low:.0f} or "
                f"{high:.0f} px explain them about as well as {focal:.0f}; {missing(bundle.poses)}"
            )
    return ""


def missing(poses: Floats) -> str:
    """Which poses of a board would help, in words, given those (N, 6 or more) shown."""
    normals = np.abs([transform(pose[:6])[:3, 2] for pose in poses])
    about_x, about_y = np.degrees(np.arctan2(normals[:, 1::-1], normals[:, 2:])).max(0)[[0, 1]]
    lacking = []
    if about_y < TILT:
        lacking.append("with its left or right edge turned away by 30 to 45 degrees")
    if about_x < TILT:
        lacking.append("with its top or bottom edge turned away by 30 to 45 degrees")
    if np.ptp(np.log(np.maximum(poses[:, 5], 1e-9))) < np.log(DEPTH):
        lacking.append("nearer and farther")
    if not lacking:
        lacking.append("at other places and tilts, larger in the frame")
    tilt = f"it is tilted by at most {about_x:.0f} and {about_y:.0f} degrees"
    return f"show the board {', and '.join(lacking)} ({tilt} about x and y)"


def facing(views: Sequence[PairView], board: Board) -> bool:
    """Tell whether the board faces the visible camera in all views, by its corners alone."""
    flat = board.about_middle()[:, :2]
    flat = flat / np.abs(flat).max()
    for view in views:
        H = cv2.findHomography(flat[view.visible.ids], view.visible.points)[0]
        if H is None or np.hypot(H[2, 0], H[2, 1]) > FACING * abs(H[2, 2]):
            return False
    return True


def _gain(bundle: Bundle, at: int, factor: float) -> float:
    """How much worse the best rig is whose focal length (at `at` in the pair) is so much larger."""
    pair, poses = bundle.pair.copy(), bundle.poses.copy()
    pair[[at, at + 1]] *= factor
    if at == 0:  # a start in which all corners stay about where they are
        other = split(bundle)[0].size
        pair[[other, other + 1]] *= factor
        poses[:, 5] *= factor
    moved = minimise(replace(bundle, pair=pair, poses=poses), held=(at, at + 1))
    return cost(moved) - cost(bundle)
