"""
Least squares over two cameras, the transform between them and the poses of the board.

OpenCV's `stereoCalibrate` weighs the pixels of a sharp and of a blurred camera alike, frees the
same parameters in both and states no covariance. So OpenCV gives the start and all derivatives,
and Levenberg-Marquardt is here (docs/decisions/0019-own-parts.md). Each pixel is weighed by its
camera's noise. Priors of usual lenses hold what few frames do not determine: principal point,
aspect ratio, higher distortion.

Cameras without a common trigger see a hand-held board at two places. So each view has a motion of
the board between its exposures, whose size is estimated from all views (MacKay 1992, "Bayesian
interpolation", eq. 4.9). It vanishes for triggered cameras.

Parameters of the pair, in this order: visible fx fy cx cy and distortion, infrared the same,
rotation vector and translation of T_infrared_visible. A board pose has 12 numbers: rotation vector
and translation [m] from board to visible camera, then the same of its motion in the board's frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import cv2
import numpy as np

from segmif.geometry.rig import Camera, Floats, Model

from ..boards.detection import SMOOTH_TERMS, Detection

# Standard deviations of the priors. Pixels are square, and a lens is centred within some hundredths
# of the frame. Coefficients are those of lenses without much distortion, in the order
# k1 k2 p1 p2 k3 k4 k5 k6, and k1 to k4 for fisheye.
ASPECT_STD = 0.002
CENTRE_STD = 0.02  # of the frame's width
RADTAN_STD = (0.5, 0.5, 0.005, 0.005, 0.5, 0.5, 0.5, 0.5)
FISHEYE_STD = (0.2, 0.2, 0.2, 0.2)

STEPS = 60
TOLERANCE = 1e-9  # relative change of the cost
REWEIGHINGS = 5
POSE_STEPS = 4  # a pose alone is a nearly linear problem
NO_MOTION_M = 1e-6  # far below what any corner shows


@dataclass(frozen=True)
class PairView:
    """The board as both cameras show it in one pair; the ids of both index the same points."""

    name: str
    visible: Detection
    infrared: Detection


@dataclass(frozen=True)
class Bundle:
    """A state of the least squares: both cameras, their transform, and the poses of the views."""

    views: Sequence[PairView]
    board: Floats  # (N, 3) [m] about their middle
    cameras: tuple[Camera, Camera]  # sizes and lens models; the numbers are in `pair`
    pair: Floats  # (P,) in the order of the module's docstring
    poses: Floats  # (V, 12)
    noise_px: tuple[float, float]  # one coordinate's standard deviation, visible and infrared
    motion_m: float  # standard deviation of the board's motion between exposures, one coordinate

    @property
    def motion_std(self) -> Floats:
        """Standard deviations (6,) of a motion [rad, m]: rotation and shift move points alike."""
        radius_m = float(np.sqrt((self.board**2).sum(1).mean()))
        return np.repeat([self.motion_m / radius_m, self.motion_m], 3)


@dataclass(frozen=True)
class NormalEquations:
    """Normal equations of one view with its pose eliminated, and how to recover the pose."""

    S: Floats  # (P, P)
    g: Floats  # (P,)
    back: Floats  # (12, P) pose step = still - back @ pair step
    still: Floats  # (12,) pose step for an unchanged pair
    spread: Floats  # (12,) variances of the pose for a known pair


def solve(bundle: Bundle) -> Bundle:
    """Minimise a bundle, and estimate its noise and motion from the residuals."""
    for _ in range(REWEIGHINGS):
        bundle = minimise(bundle)
        noise_px, motion_m = estimated_noise(bundle), estimated_motion(bundle)
        bundle = replace(bundle, noise_px=noise_px, motion_m=motion_m)
    return minimise(bundle)


def without_motion(bundle: Bundle) -> Bundle:
    """The same pair with no board motion between exposures, and poses fitted again."""
    poses, count = bundle.poses.copy(), bundle.pair.size
    poses[:, 6:] = 0
    for _ in range(POSE_STEPS):
        bundle = replace(bundle, poses=poses.copy())
        for index in range(len(poses)):
            J, rest = _jacobian(bundle, index)
            poses[index, :6] += np.linalg.lstsq(J[:, count:-6], rest, rcond=None)[0]
    return replace(bundle, poses=poses)


def minimise(bundle: Bundle, fixed: Sequence[int] = ()) -> Bundle:
    """Levenberg-Marquardt at the bundle's noise levels; `fixed` indexes pair numbers to keep."""
    damping, least = 1e-4, cost(bundle)
    for _ in range(STEPS):
        trial = _step(bundle, damping, fixed)
        trial_cost = cost(trial)
        if not trial_cost < least:
            damping *= 10
            if damping > 1e8:
                break
            continue
        converged = least - trial_cost < TOLERANCE * least
        bundle, least, damping = trial, trial_cost, damping / 10
        if converged:
            break
    return bundle


def normal_equations(bundle: Bundle, damping: float = 0.0) -> list[NormalEquations]:
    """The normal equations of each view, poses eliminated (Schur complement), weighed."""
    return [_normal_equations(bundle, index, damping) for index in range(len(bundle.views))]


def prior(bundle: Bundle) -> tuple[Floats, Floats]:
    """Information (P, P) and gradient (P,) of the priors of both cameras."""
    A = np.zeros((bundle.pair.size,) * 2)
    g = np.zeros(bundle.pair.size)
    start = 0
    for camera in bundle.cameras:
        rows, offsets = _prior_rows(camera, bundle.pair[start:])
        end = start + rows.shape[1]
        A[start:end, start:end] = rows.T @ rows
        g[start:end] = rows.T @ offsets
        start = end
    return A, g


def prior_std(camera: Camera) -> Floats:
    """Standard deviations (2 + D,) of the priors of cx, cy [px] and each distortion coefficient."""
    lens = FISHEYE_STD if camera.model == "fisheye" else RADTAN_STD
    return np.array([CENTRE_STD * camera.width] * 2 + [*lens[: camera.distortion.size]])


def residuals(bundle: Bundle, index: int) -> tuple[Floats, Floats]:
    """Detected minus projected points of one view, (N, 2) [px], visible and infrared."""
    view = bundle.views[index]
    visible, infrared = camera_parameters(bundle)
    pose, motion = np.split(bundle.poses[index], 2)
    composed = compose(compose(motion, pose)[0], bundle.pair[-6:])[0]
    looks = ((view.visible, visible, pose), (view.infrared, infrared, composed))
    first, second = (
        seen.points - _project(camera.model, bundle.board[seen.ids], at, numbers)[0]
        for (seen, numbers, at), camera in zip(looks, bundle.cameras, strict=True)
    )
    return first, second


def camera_parameters(bundle: Bundle) -> tuple[Floats, Floats]:
    """The numbers of the visible and of the infrared camera: fx, fy, cx, cy, distortion."""
    middle = 4 + bundle.cameras[0].distortion.size
    return bundle.pair[:middle], bundle.pair[middle:-6]


def cameras_of_bundle(bundle: Bundle) -> tuple[Camera, Camera]:
    """Both cameras with the solved numbers; raises ValueError if a camera cannot have them."""
    first, second = (
        replace(
            camera,
            K=np.array([[n[0], 0.0, n[2]], [0.0, n[1], n[3]], [0.0, 0.0, 1.0]]),
            distortion=n[4:],
        )
        for camera, n in zip(bundle.cameras, camera_parameters(bundle), strict=True)
    )
    return first, second


def pose_matrix(pose: Floats) -> Floats:
    """A rotation vector and a translation (6,) as a matrix (4, 4)."""
    T = np.eye(4)
    T[:3, :3] = cv2.Rodrigues(pose[:3])[0]
    T[:3, 3] = pose[3:]
    return T


def compose(first: Floats, second: Floats) -> tuple[Floats, Floats, Floats]:
    """The pose of `first` and then `second`, with its derivatives (6, 6) by either."""
    r, t, rr1, rt1, rr2, rt2, tr1, tt1, tr2, tt2 = cv2.composeRT(
        first[:3], first[3:], second[:3], second[3:]
    )
    blocks = np.array([[[rr1, rt1], [tr1, tt1]], [[rr2, rt2], [tr2, tt2]]])
    by_first, by_second = blocks.transpose(0, 1, 3, 2, 4).reshape(2, 6, 6)
    return np.concatenate([r.ravel(), t.ravel()]), by_first, by_second


def estimated_noise(bundle: Bundle) -> tuple[float, float]:
    """
    Standard deviation of one coordinate [px], visible and infrared, for independent corners.

    Corners also share errors, of a bent board, warm air or a lens beyond its model. These are
    smooth over the board, with about `SMOOTH_TERMS` terms a coordinate. So N corners count as that
    many for them: their variance is multiplied by N / SMOOTH_TERMS (design effect, Kish 1965).
    """
    pairs = [residuals(bundle, index) for index in range(len(bundle.views))]
    unknowns = bundle.pair.size + bundle.poses.size
    left = max(1 - unknowns / sum(rest.size for pair in pairs for rest in pair), 0.1)
    noises = []
    for which in (0, 1):
        rest = np.vstack([pair[which] for pair in pairs])
        seen = [(view.visible, view.infrared)[which] for view in bundle.views]
        own = float(np.mean([one.sigma_px**2 for one in seen]))
        total = float((rest**2).mean()) / left
        corners = len(rest) / len(pairs)
        shared = max(total - own, 0.0) * max(corners / SMOOTH_TERMS, 1.0)
        noises.append(float(np.sqrt(max(min(total, own) + shared, 1e-6))))
    return noises[0], noises[1]


def estimated_motion(bundle: Bundle) -> float:
    """Standard deviation [m] of the motion between exposures, from all views (MacKay, eq. 4.9)."""
    share = bundle.motion_std / bundle.motion_m
    squares = (bundle.poses[:, 6:] / share) ** 2
    spread = np.array([part.spread[6:] for part in normal_equations(bundle)]) / share**2
    determined = float((1 - spread / bundle.motion_m**2).sum())
    return max(float(np.sqrt(squares.sum() / max(determined, 1e-9))), NO_MOTION_M)


def _step(bundle: Bundle, damping: float, fixed: Sequence[int]) -> Bundle:
    A, g = prior(bundle)
    parts = normal_equations(bundle, damping)
    S = A + sum(part.S for part in parts)
    free = np.setdiff1d(np.arange(len(g)), fixed)
    step = np.zeros_like(g)
    step[free] = np.linalg.solve(
        (S + damping * np.diag(np.diag(S)))[np.ix_(free, free)],
        (g + sum(part.g for part in parts))[free],
    )
    poses = [
        pose + part.still - part.back @ step for pose, part in zip(bundle.poses, parts, strict=True)
    ]
    return replace(bundle, pair=bundle.pair + step, poses=np.array(poses))


def cost(bundle: Bundle) -> float:
    """Sum of all squared weighed residuals, with the priors."""
    total = 0.0
    for index in range(len(bundle.views)):
        pair = zip(residuals(bundle, index), bundle.noise_px, strict=True)
        total += sum(float(((rest / noise) ** 2).sum()) for rest, noise in pair)
    total += float(((bundle.poses[:, 6:] / bundle.motion_std) ** 2).sum())
    start = 0
    for camera in bundle.cameras:
        rows, offsets = _prior_rows(camera, bundle.pair[start:])
        total += float((offsets**2).sum())
        start += rows.shape[1]
    return total if np.isfinite(total) else float("inf")


def _prior_rows(camera: Camera, numbers: Floats) -> tuple[Floats, Floats]:
    """Rows (K, 4 + D) and residuals (K,) of the prior, each in its standard deviations."""
    count = 4 + camera.distortion.size
    expected = np.zeros(count)
    expected[2:4] = (camera.width - 1) / 2, (camera.height - 1) / 2
    rows = np.vstack([np.zeros(count), np.diag(1 / prior_std(camera)) @ np.eye(count)[2:]])
    rows[0, :2] = np.array([1, -1]) / (ASPECT_STD * numbers[0])
    return rows, rows @ (expected - numbers[:count])


def _normal_equations(bundle: Bundle, index: int, damping: float) -> NormalEquations:
    J, rest = _jacobian(bundle, index)
    count = bundle.pair.size
    A, g = J.T @ J, J.T @ rest
    pose = A[count:, count:]
    inverse = np.linalg.inv(pose + damping * np.diag(np.diag(pose)))
    back, still = inverse @ A[count:, :count], inverse @ g[count:]
    return NormalEquations(
        A[:count, :count] - A[:count, count:] @ back,
        g[:count] - A[:count, count:] @ still,
        back,
        still,
        np.diag(inverse),
    )


def _jacobian(bundle: Bundle, index: int) -> tuple[Floats, Floats]:
    """Weighed derivatives (M, P + 12) of what one view shows, and residuals (M,)."""
    view, (pose, motion) = bundle.views[index], np.split(bundle.poses[index], 2)
    lenses = camera_parameters(bundle)
    moved, by_motion, by_pose = compose(motion, pose)
    composed, by_moved, by_pair = compose(moved, bundle.pair[-6:])
    count, middle = bundle.pair.size, lenses[0].size
    J, rest = [], []
    for which, (seen, at) in enumerate(((view.visible, pose), (view.infrared, composed))):
        points, at_pose, at_lens = _project(
            bundle.cameras[which].model, bundle.board[seen.ids], at, lenses[which]
        )
        rows = np.zeros((2 * len(points), count + 12))
        if which == 0:
            rows[:, :middle], rows[:, count:-6] = at_lens, at_pose
        else:
            rows[:, middle : count - 6], rows[:, count - 6 : count] = at_lens, at_pose @ by_pair
            rows[:, count:] = at_pose @ by_moved @ np.hstack([by_pose, by_motion])
        J.append(rows / bundle.noise_px[which])
        rest.append((seen.points - points).ravel() / bundle.noise_px[which])
    # The prior of a motion: one row for each of its six numbers.
    J.append(np.eye(count + 12)[-6:] / bundle.motion_std[:, None])
    return np.vstack(J), np.concatenate([*rest, -motion / bundle.motion_std])


def _project(
    model: Model, points: Floats, pose: Floats, numbers: Floats
) -> tuple[Floats, Floats, Floats]:
    """Pixels (N, 2), and their derivatives by the pose (2N, 6) and by the camera (2N, 4 + D)."""
    K = np.array([[numbers[0], 0, numbers[2]], [0, numbers[1], numbers[3]], [0, 0, 1.0]])
    if model == "fisheye":
        pixels, J = cv2.fisheye.projectPoints(
            points.reshape(-1, 1, 3), pose[:3], pose[3:], K, numbers[4:]
        )
        lens, at_pose = J[:, :8], J[:, 8:14]
    else:
        pixels, J = cv2.projectPoints(points, pose[:3], pose[3:], K, numbers[4:])
        lens, at_pose = J[:, 6 : 6 + numbers.size], J[:, :6]
    return cast(Floats, pixels.reshape(-1, 2)), cast(Floats, at_pose), cast(Floats, lens)
