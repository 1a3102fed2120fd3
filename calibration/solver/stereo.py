"""From the corners of a board in both cameras to the rig and its errors."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.geometry.rig import COEFFICIENTS, Camera, Floats, Model

from ..boards.board import Board
from ..boards.detection import Detection
from .bundle_adjustment import Bundle, PairView, normal_equations, pose_matrix, solve
from .observability import Undetermined, faces_camera, missing_poses, undetermined
from .uncertainty import Solution, assess, leave_one_out_errors

MIN_VIEWS = 5
DISAGREES = 3.0  # times the median view: never reached by chance with a steady rig
DISAGREES_PX = 1.0  # and never for less than this
REFUSED_SHARE = 1 / 3  # of the views: with more, the majority may be wrong
NO_RIG_PX = 5.0  # stereo RMS beyond which the fault is not noise
START_NOISE = ((0.3, 0.3), 1e-3)  # of both cameras [px], of the board between exposures [m]
START_FLAGS = (
    cv2.CALIB_FIX_PRINCIPAL_POINT
    | cv2.CALIB_FIX_ASPECT_RATIO
    | cv2.CALIB_ZERO_TANGENT_DIST
    | cv2.CALIB_FIX_K2
    | cv2.CALIB_FIX_K3
)
FISHEYE_FLAGS = (
    cv2.CALIB_RECOMPUTE_EXTRINSIC
    | cv2.CALIB_FIX_SKEW
    | cv2.CALIB_FIX_PRINCIPAL_POINT
    | cv2.CALIB_USE_INTRINSIC_GUESS
)

Size = tuple[int, int]  # width, height [px]


class NoRigFits(ValueError):
    """No rig fits the corners of the views."""


def calibrate(
    views: Sequence[PairView],
    board: Board,
    sizes: tuple[Size, Size],
    models: tuple[Model, Model] = ("radtan", "radtan"),
    source: str = "",
    *,
    accept_undetermined: bool = False,
) -> Solution:
    """
    Solve both cameras and T_infrared_visible from at least five views.

    Views that disagree with the others are left out, the worst one at a time. Raises ValueError if
    too few are left or if no rig fits them. Raises Undetermined, a ValueError, if they do not
    determine the rig; with `accept_undetermined` the solution has the reason instead.
    """
    _check_count(len(views), {})
    if not accept_undetermined and faces_camera(views, board):
        raise Undetermined(
            "the board faces the visible camera in all views, or is too far away, which leaves "
            f"focal lengths and distances open: {missing_poses(np.array([[0.0, 0, 0, 0, 0, 1]]))}"
        )
    solution = _calibrated(views, board, sizes, models, source)
    reason = undetermined(solution)
    if reason and not accept_undetermined:
        raise Undetermined(reason)
    if not reason:
        return solution
    marked = f"{source}; NOT DETERMINED by its views, accepted all the same: {reason}"
    return replace(solution, rig=replace(solution.rig, source=marked), undetermined=reason)


def _calibrated(
    views: Sequence[PairView],
    board: Board,
    sizes: tuple[Size, Size],
    models: tuple[Model, Model],
    source: str,
) -> Solution:
    """The rig that fits most views; raises NoRigFits if none does."""
    starts = [
        _initial_camera(which, views, board, *each)
        for which, each in enumerate(zip(sizes, models, strict=True))
    ]
    bundle = _initial_bundle(views, board, starts)
    bundle, refused = _without_outliers(solve(bundle))
    solution = assess(bundle, refused, source)
    if solution.stereo_rms_px > NO_RIG_PX:
        raise NoRigFits(
            f"no rig explains the corners: the nearest leaves them {solution.stereo_rms_px:.1f} px "
            "off (RMS). Is the board the one stated, and are the frames of the same moments?"
        )
    return solution


def _check_count(count: int, refused: dict[str, str]) -> None:
    if count < MIN_VIEWS:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        raise ValueError(
            f"{count} views can be used, at least {MIN_VIEWS} are needed"
            + (f" ({reasons})" if reasons else "")
        )


def _initial_camera(
    which: int, views: Sequence[PairView], board: Board, size: Size, model: Model
) -> tuple[Camera, Floats]:
    """One camera by OpenCV, with what few frames do not determine fixed, and its poses (V, 6)."""
    seen = [(view.visible, view.infrared)[which] for view in views]
    objects = [board.about_middle()[one.ids].astype(np.float32) for one in seen]
    images = [one.points.astype(np.float32) for one in seen]
    K = cv2.initCameraMatrix2D(objects, images, size)
    K[:2, 2] = (size[0] - 1) / 2, (size[1] - 1) / 2
    K[0, 0] = K[1, 1]
    distortion = np.zeros(COEFFICIENTS[model][0])
    try:
        if model == "fisheye":
            flat = [one.reshape(1, -1, 3).astype(np.float64) for one in objects]
            pixels = [one.reshape(1, -1, 2).astype(np.float64) for one in images]
            blank = np.zeros((4, 1))
            found = cv2.fisheye.calibrate(flat, pixels, size, K, blank, flags=FISHEYE_FLAGS)
        else:
            flags = START_FLAGS | cv2.CALIB_USE_INTRINSIC_GUESS
            found = cv2.calibrateCamera(objects, images, size, K, np.zeros(5), flags=flags)
    except cv2.error as error:
        raise ValueError(f"no {model} camera explains the corners: {error.err}") from None
    _, K, lens, rotations, places = found
    distortion[:] = np.ravel(lens)[: distortion.size]
    poses = np.hstack([np.reshape(rotations, (-1, 3)), np.reshape(places, (-1, 3))])
    camera = Camera(*size, np.asarray(K, np.float64), distortion, model)
    return camera, poses.astype(np.float64)


def _initial_bundle(
    views: Sequence[PairView], board: Board, starts: Sequence[tuple[Camera, Floats]]
) -> Bundle:
    """A bundle with the transform that most views agree on, and each board's reading direction."""
    (visible, poses), (infrared, infrared_poses) = starts
    orders = board.orders()
    turns = [_reordering_motion(board, order) for order in orders]
    # (V, O, 4, 4): visible camera to infrared camera, were the board read in that order
    candidates = np.array(
        [
            [pose_matrix(b) @ turn @ np.linalg.inv(pose_matrix(a)) for turn in turns]
            for a, b in zip(poses, infrared_poses, strict=True)
        ]
    )
    best, choice = _common_transform(candidates)
    read = [
        replace(view, infrared=_reordered(view.infrared, orders[which]))
        for view, which in zip(views, choice, strict=True)
    ]
    pair = np.concatenate(
        [
            _parameters(visible),
            _parameters(infrared),
            cv2.Rodrigues(best[:3, :3])[0].ravel(),
            best[:3, 3],
        ]
    )
    still = np.hstack([poses, np.zeros_like(poses)])
    cameras = (visible, infrared)
    return Bundle(read, board.about_middle(), cameras, pair, still, *START_NOISE)


def _reordering_motion(board: Board, order: NDArray[np.intp]) -> Floats:
    """
    The motion (4, 4) of the board onto itself that moves point order[k] to point k.

    If point k was really point order[k], then the found pose of "k" is the true pose after this.
    """
    points = board.about_middle()
    # Kabsch: the rotation between two sets of the same points; they are flat, so z follows.
    U, _, Vt = np.linalg.svd(points.T @ points[order])
    fix = np.diag([1, 1, np.linalg.det(Vt.T @ U.T)])
    T = np.eye(4)
    T[:3, :3] = (Vt.T @ fix @ U.T).T
    return T


def _reordered(seen: Detection, order: NDArray[np.intp]) -> Detection:
    return replace(seen, ids=order[seen.ids])


def _common_transform(candidates: Floats) -> tuple[Floats, list[int]]:
    """
    The candidate (4, 4) nearest to one of every view, and which order each view takes.

    A board read from the wrong end gives a rotation that changes with its pose; the right one does
    not. If both fit, the smaller rotation is the likelier rig.
    """
    rotations = candidates[..., :3, :3]
    flat = rotations.reshape(-1, 3, 3)
    traces = np.einsum("aij,voij->avo", flat, rotations)
    angles = np.arccos(np.clip((traces - 1) / 2, -1, 1))  # (V O, V, O)
    scores = np.median(angles.min(2), axis=1)
    tilt = np.arccos(np.clip((np.trace(flat, axis1=1, axis2=2) - 1) / 2, -1, 1))
    near = scores <= scores.min() + np.radians(1)
    group = int(np.argmin(np.where(near, tilt > np.pi / 2, 2) * 10 + scores))
    choice = angles[group].argmin(1)
    chosen = candidates[np.arange(len(candidates)), choice]
    place = np.median(chosen[:, :3, 3], axis=0)
    best = candidates.reshape(-1, 4, 4)[group].copy()
    best[:3, 3] = place
    return best, [int(which) for which in choice]


def _parameters(camera: Camera) -> Floats:
    return np.concatenate([[camera.fx, camera.fy, *camera.K[:2, 2]], camera.distortion])


def _without_outliers(bundle: Bundle) -> tuple[Bundle, dict[str, str]]:
    """Drop the view farthest from the others until none is far; returns the reasons by name."""
    refused: dict[str, str] = {}
    allowed = int(REFUSED_SHARE * len(bundle.views))
    while True:
        errors = leave_one_out_errors(bundle, normal_equations(bundle))
        worst = int(np.argmax(errors))
        median = float(np.median(errors))
        if errors[worst] < max(DISAGREES * median, DISAGREES_PX):
            return bundle, refused
        name = bundle.views[worst].name
        refused[name] = (
            f"disagrees with the other views by {errors[worst]:.2f} px (the median is "
            f"{median:.2f} px): did the board move between the two exposures?"
        )
        if len(refused) > allowed:
            raise NoRigFits(
                f"{len(refused)} of {len(bundle.views) + len(refused) - 1} views disagree: are the "
                "frames of both cameras of the same moments, and is the board the one stated?"
            )
        _check_count(len(bundle.views) - 1, refused)
        bundle = solve(_without(bundle, worst))


def _without(bundle: Bundle, index: int) -> Bundle:
    views = [view for at, view in enumerate(bundle.views) if at != index]
    return replace(bundle, views=views, poses=np.delete(bundle.poses, index, axis=0))
