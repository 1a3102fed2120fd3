"""
Whether the views determine both focal lengths.

A flat board that faces the camera looks the same near a short lens and far from a long one. Least
squares still converge, and their covariance is only local. So each focal length is changed by
`CHANGE` and fixed, and all else is fitted again. If the cost hardly rises, the views do not
determine it. This is the profile likelihood (Venzon and Moolgavkar 1988, "A method for computing
profile-likelihood-based confidence intervals").
"""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from segmif.geometry.rig import Floats

from ..boards.board import Board
from .bundle_adjustment import Bundle, PairView, camera_parameters, cost, minimise, pose_matrix
from .uncertainty import Solution

CHANGE = 0.1  # of a focal length
MIN_INCREASE = 36.0  # of the cost at that change: six standard deviations
SURE = 0.005  # standard deviation over focal length: below it no profile is needed
TILT = 20.0  # [degrees] that some view should reach about either axis
DEPTH = 1.3  # farthest over nearest view
FACING = 0.02  # change of scale over half a board: 5 degrees at usual distances


class Undetermined(ValueError):
    """The views do not determine the rig."""


def undetermined(solution: Solution) -> str:
    """Why the views do not determine the rig and which are missing, in words; "" if they do."""
    bundle = solution.bundle
    starts = (0, camera_parameters(bundle)[0].size)
    spread = np.sqrt(np.diag(solution.pair_covariance))
    for name, at in zip(("visible", "infrared"), starts, strict=True):
        focal = float(bundle.pair[at])
        if spread[at] < SURE * focal:
            continue
        factors = (1 - CHANGE, 1 / (1 - CHANGE))
        if min(_cost_increase(bundle, at, factor) for factor in factors) < MIN_INCREASE:
            low, high = (focal * factor for factor in factors)
            return (
                f"these views do not determine the focal length of the {name} camera: {low:.0f} or "
                f"{high:.0f} px explain them about as well as {focal:.0f}; "
                f"{missing_poses(bundle.poses)}"
            )
    return ""


def missing_poses(poses: Floats) -> str:
    """Which poses of a board would help, in words, given those (N, 6 or more) shown."""
    normals = np.abs([pose_matrix(pose[:6])[:3, 2] for pose in poses])
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


def faces_camera(views: Sequence[PairView], board: Board) -> bool:
    """Whether the board faces the visible camera in all views, from its corners alone."""
    flat = board.about_middle()[:, :2]
    flat = flat / np.abs(flat).max()
    for view in views:
        H = cv2.findHomography(flat[view.visible.ids], view.visible.points)[0]
        if H is None or np.hypot(H[2, 0], H[2, 1]) > FACING * abs(H[2, 2]):
            return False
    return True


def _cost_increase(bundle: Bundle, at: int, factor: float) -> float:
    """Rise of the cost for the focal length at `at` times `factor`, with all else fitted."""
    pair, poses = bundle.pair.copy(), bundle.poses.copy()
    pair[[at, at + 1]] *= factor
    if at == 0:  # a start that hardly moves any corner
        other = camera_parameters(bundle)[0].size
        pair[[other, other + 1]] *= factor
        poses[:, 5] *= factor
    moved = minimise(replace(bundle, pair=pair, poses=poses), fixed=(at, at + 1))
    return cost(moved) - cost(bundle)
