"""From the corners of a board in both cameras to the rig, with what is known of its errors."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.board import Board
from calibration.bundle import (
    Bundle,
    Normal,
    PairView,
    normals,
    prior,
    prior_std,
    residuals,
    solve,
    solved_cameras,
    split,
    transform,
)
from calibration.detect import Detection
from segmif.rig import Camera, Floats, Model, Rig

MIN_VIEWS = 5
DISAGREES = 3.0  # times the median view: no view of a steady rig is that far off by chance
DISAGREES_PX = 1.0  # and never for less than this
REFUSED_SHARE = 1 / 3  # of the views: beyond it, the odd ones may be the right ones
WELL, ROUGHLY = 0.01, 0.05  # standard deviation of the baseline over the baseline
SHARED = 2.0  # times their own scatter: beyond it the corners of a view err together
HELD = 0.5  # a number is held by experience where the data leave more than this of its spread
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


@dataclass(frozen=True)
class ViewErrors:
    """How far one view is from the solution, root mean squares of distances [px]."""

    name: str
    visible_px: float  # seen to projected
    infrared_px: float
    stereo_px: float  # both together
    epipolar_px: float  # infrared points to the lines of their visible partners
    left_out_px: float  # both together, had the view not been used: only its pose fitted to it
    depth_m: float  # of the board's middle


@dataclass(frozen=True)
class Solution:
    """A rig with its errors, and what had to be left out or held."""

    rig: Rig
    bundle: Bundle
    views: Sequence[ViewErrors]
    refused: dict[str, str]  # view to reason
    held: Sequence[str]  # numbers that the data leave to experience, in words
    pair_covariance: Floats  # (P, P) of `bundle.pair`, by the residuals
    baseline_std_m: float  # the larger of covariance and leave-one-out
    baseline_left_out_m: Floats  # (V,) the baseline without each view
    stereo_rms_px: float

    @property
    def verdict(self) -> list[str]:
        """What the numbers mean, in sentences."""
        return _verdict(self)


def calibrate(
    views: Sequence[PairView],
    board: Board,
    sizes: tuple[Size, Size],
    models: tuple[Model, Model] = ("radtan", "radtan"),
    coefficients: tuple[int, int] = (5, 5),
    source: str = "",
) -> Solution:
    """
    Solve both cameras and T_infrared_visible from at least five views.

    Views that do not agree with the others are left out, the worst one at a time. Raises ValueError
    where too few are left, or where they do not make a rig.
    """
    _check_count(len(views), {})
    starts = [
        _start(which, views, board, *each)
        for which, each in enumerate(zip(sizes, models, coefficients, strict=True))
    ]
    bundle = _join(views, board, starts)
    bundle, refused = _agreeing(solve(bundle))
    return _judge(bundle, refused, source)


def _check_count(count: int, refused: dict[str, str]) -> None:
    if count < MIN_VIEWS:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        raise ValueError(
            f"{count} views can be used, at least {MIN_VIEWS} are needed"
            + (f" ({reasons})" if reasons else "")
        )


def _start(
    which: int, views: Sequence[PairView], board: Board, size: Size, model: Model, count: int
) -> tuple[Camera, Floats]:
    """One camera by OpenCV with everything fixed that few frames cannot tell; its poses (V, 6)."""
    seen = [(view.visible, view.infrared)[which] for view in views]
    objects = [board.points()[one.ids].astype(np.float32) for one in seen]
    images = [one.points.astype(np.float32) for one in seen]
    K = cv2.initCameraMatrix2D(objects, images, size)
    K[:2, 2] = (size[0] - 1) / 2, (size[1] - 1) / 2
    K[0, 0] = K[1, 1]
    distortion = np.zeros(count)
    try:
        if model == "fisheye":
            flat = [one.reshape(-1, 1, 3) for one in objects]
            pixels = [one.reshape(-1, 1, 2) for one in images]
            found = cv2.fisheye.calibrate(flat, pixels, size, K, distortion, flags=FISHEYE_FLAGS)
        else:
            flags = START_FLAGS | cv2.CALIB_USE_INTRINSIC_GUESS
            found = cv2.calibrateCamera(objects, images, size, K, np.zeros(5), flags=flags)
    except cv2.error as error:
        raise ValueError(f"no {model} camera explains the corners: {error.err}") from None
    _, K, start, rotations, places = found
    distortion[: min(count, 5)] = np.ravel(start)[: min(count, 5)]
    poses = np.hstack([np.reshape(rotations, (-1, 3)), np.reshape(places, (-1, 3))])
    return Camera(*size, np.asarray(K, np.float64), distortion, model), np.asarray(
        poses, np.float64
    )


def _join(
    views: Sequence[PairView], board: Board, starts: Sequence[tuple[Camera, Floats]]
) -> Bundle:
    """Find the transform that most views agree on, and with it the end each board is read from."""
    (visible, poses), (infrared, infrared_poses) = starts
    orders = board.orders()
    turns = [_turn(board, order) for order in orders]
    # (V, O, 4, 4): visible camera to infrared camera, were the board read in that order
    candidates = np.array(
        [
            [transform(b) @ turn @ np.linalg.inv(transform(a)) for turn in turns]
            for a, b in zip(poses, infrared_poses, strict=True)
        ]
    )
    best, choice = _agreement(candidates)
    read = [
        replace(view, infrared=_reread(view.infrared, orders[which]))
        for view, which in zip(views, choice, strict=True)
    ]
    pair = np.concatenate(
        [_numbers(visible), _numbers(infrared), cv2.Rodrigues(best[:3, :3])[0].ravel(), best[:3, 3]]
    )
    return Bundle(read, board.points(), (visible, infrared), pair, poses, (0.3, 0.3))


def _turn(board: Board, order: NDArray[np.intp]) -> Floats:
    """
    The motion (4, 4) of the board onto itself that puts point order[k] where point k was.

    If point k was really point order[k], then the found pose of "k" is the true pose after this.
    """
    points = board.points()
    middle = points.mean(0)
    # Kabsch: the rotation between two sets of the same points; they are flat, so z follows.
    U, _, Vt = np.linalg.svd((points - middle).T @ (points[order] - middle))
    fix = np.diag([1, 1, np.linalg.det(Vt.T @ U.T)])
    T = np.eye(4)
    T[:3, :3] = (Vt.T @ fix @ U.T).T
    T[:3, 3] = middle - T[:3, :3] @ middle
    return T


def _reread(seen: Detection, order: NDArray[np.intp]) -> Detection:
    return replace(seen, ids=order[seen.ids])


def _agreement(candidates: Floats) -> tuple[Floats, list[int]]:
    """
    The candidate (4, 4) nearest to one of every view, and which order each view takes.

    A board read from the wrong end gives a rotation that changes with its pose; the right one does
    not. Where both would do, the smaller rotation is the likelier rig.
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


def _numbers(camera: Camera) -> Floats:
    return np.concatenate([[camera.fx, camera.fy, *camera.K[:2, 2]], camera.distortion])


def _agreeing(bundle: Bundle) -> tuple[Bundle, dict[str, str]]:
    """Leave out the view farthest from the others, until none is far."""
    refused: dict[str, str] = {}
    allowed = int(REFUSED_SHARE * len(bundle.views))
    while True:
        errors = _left_out_errors(bundle, normals(bundle))
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
            raise ValueError(
                f"{len(refused)} of {len(bundle.views) + len(refused) - 1} views disagree: are the "
                "frames of both cameras of the same moments, and is the board the one stated?"
            )
        _check_count(len(bundle.views) - 1, refused)
        bundle = solve(_without(bundle, worst))


def _without(bundle: Bundle, index: int) -> Bundle:
    views = [view for at, view in enumerate(bundle.views) if at != index]
    return replace(bundle, views=views, poses=np.delete(bundle.poses, index, axis=0))


def left_out(bundle: Bundle, parts: Sequence[Normal]) -> Floats:
    """
    The pair's parameters (V, P) without each view, by one Newton step from the solution.

    The views' normal equations add up, so leaving one out is a subtraction.
    """
    A, g = prior(bundle)
    S, total = A + sum(part.S for part in parts), g + sum(part.g for part in parts)
    steps = [np.linalg.solve(S - part.S, total - part.g) for part in parts]
    return bundle.pair + np.array(steps)


def _left_out_errors(bundle: Bundle, parts: Sequence[Normal]) -> Floats:
    """Root mean square distance [px] of each view to the rig that the other views make (V,)."""
    errors = []
    for index, (pair, part) in enumerate(zip(left_out(bundle, parts), parts, strict=True)):
        pose = bundle.poses[index] + part.still - part.back @ (pair - bundle.pair)
        one = replace(bundle, views=[bundle.views[index]], pair=pair, poses=pose[None])
        errors.append(_rms(np.vstack(residuals(one, 0))))
    return np.array(errors, np.float64)


def _judge(bundle: Bundle, refused: dict[str, str], source: str) -> Solution:
    parts = normals(bundle)
    information: Floats = prior(bundle)[0] + np.sum([part.S for part in parts], axis=0)
    covariance = np.asarray(np.linalg.inv(information), np.float64)
    T = transform(bundle.pair[-6:])
    places = left_out(bundle, parts)[:, -3:]
    baselines = np.asarray(np.linalg.norm(places, axis=1), np.float64)
    std = baseline_std(bundle, covariance, baselines)
    visible, infrared = solved_cameras(bundle)
    rig = Rig(visible, infrared, T, std, source)
    outside = _left_out_errors(bundle, parts)
    errors = [_errors(bundle, rig, at, float(outside[at])) for at in range(len(bundle.views))]
    everything = np.vstack([rest for at in range(len(errors)) for rest in residuals(bundle, at)])
    held = [
        f"{name} {word}"
        for name, camera, numbers, spread in zip(
            ("visible", "infrared"),
            bundle.cameras,
            split(bundle),
            np.split(np.sqrt(np.diag(covariance))[:-6], [split(bundle)[0].size]),
            strict=True,
        )
        for word in _held(camera, numbers, spread)
    ]
    return Solution(
        rig, bundle, errors, refused, held, covariance, std, baselines, _rms(everything)
    )


def baseline_std(bundle: Bundle, covariance: Floats, baselines: Floats) -> float:
    """
    Standard deviation of the baseline [m]: of the covariance or of leave-one-out, the larger.

    The covariance takes each corner's error for its own. A bent board or warm air moves all corners
    of a view together, and only leaving out whole views (the jackknife, Efron 1979) shows that.
    """
    direction = bundle.pair[-3:] / np.linalg.norm(bundle.pair[-3:])
    by_corners = float(np.sqrt(direction @ covariance[-3:, -3:] @ direction))
    count = len(baselines)
    by_views = float(np.sqrt((count - 1) / count * ((baselines - baselines.mean()) ** 2).sum()))
    return max(by_corners, by_views)


def interval_m(solution: Solution) -> tuple[float, float]:
    """
    The baselines [m] that 95 of 100 such calibrations cover with the true one.

    Student's t with one degree of freedom less than views, by its expansion about the normal
    quantile z (Abramowitz and Stegun 26.7.5).
    """
    z, freedom = 1.959964, len(solution.views) - 1
    t = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    reach = t * solution.baseline_std_m
    return solution.rig.baseline_m - reach, solution.rig.baseline_m + reach


def _verdict(solution: Solution) -> list[str]:
    share = solution.baseline_std_m / solution.rig.baseline_m
    word = "well" if share < WELL else "roughly" if share < ROUGHLY else "hardly"
    sentences = [f"The baseline is {word} known ({100 * share:.1f} %)."]
    own = np.mean([v.sigma_px for view in solution.bundle.views for v in (view.infrared,)])
    infrared = np.sqrt(np.mean([view.infrared_px**2 for view in solution.views]) / 2)
    if infrared > SHARED * own:
        sentences.append(
            f"The infrared corners scatter by {own:.2f} px, but lie {infrared:.2f} px off: the two "
            "exposures are not of one moment, or the board is bent. Rest the board, or trigger "
            "both cameras."
        )
    if solution.held:
        sentences.append(
            f"{len(solution.held)} lens numbers rest on experience rather than on these frames: "
            "show the board closer, more tilted and in the corners."
        )
    return sentences


def _held(camera: Camera, numbers: Floats, spread: Floats) -> list[str]:
    """Numbers of one camera that the data tell little of, in words."""
    names = {"radtan": "k1 k2 p1 p2 k3 k4 k5 k6", "fisheye": "k1 k2 k3 k4"}[camera.model].split()
    beforehand = prior_std(camera)
    rows = zip(["cx", "cy", *names], numbers[2:], spread[2:], beforehand, strict=False)
    return [
        f"{name} = {number:.4g} +/- {after:.2g} (known to {before:.2g} beforehand)"
        for name, number, after, before in rows
        if after > HELD * before
    ]


def _errors(bundle: Bundle, rig: Rig, index: int, outside: float) -> ViewErrors:
    visible, infrared = residuals(bundle, index)
    pose = transform(bundle.poses[index])
    return ViewErrors(
        name=bundle.views[index].name,
        visible_px=_rms(visible),
        infrared_px=_rms(infrared),
        stereo_px=_rms(np.vstack([visible, infrared])),
        epipolar_px=_rms(epipolar(rig, bundle.views[index])[:, None]),
        left_out_px=outside,
        depth_m=float((pose[:3, :3] @ bundle.board.mean(0) + pose[:3, 3])[2]),
    )


def epipolar(rig: Rig, view: PairView) -> Floats:
    """
    Signed distances (N,) of the infrared points to their visible partners' epipolar lines [px].

    Undistorted, in a pinhole camera of the infrared focal length: x' E x = 0 with E = [t]x R.
    """
    common, a, b = np.intersect1d(view.visible.ids, view.infrared.ids, return_indices=True)
    if not common.size:
        return np.zeros(1)
    t = rig.t
    cross = np.array([[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]])
    lines = rig.visible.rays(view.visible.points[a]) @ (cross @ rig.R).T
    points = rig.infrared.rays(view.infrared.points[b])
    distances: Floats = (lines * points).sum(1) / np.hypot(lines[:, 0], lines[:, 1])
    return rig.infrared.fx * distances


def _rms(distances: Floats) -> float:
    """Root mean square length of vectors (N, D)."""
    return float(np.sqrt((distances**2).sum(1).mean()))
