"""The errors of a solution: view by view, their spread, and a verdict in words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from segmif.geometry.rig import Camera, Floats, Rig

from .bundle_adjustment import (
    Bundle,
    NormalEquations,
    PairView,
    camera_parameters,
    cameras_of_bundle,
    normal_equations,
    pose_matrix,
    prior,
    prior_std,
    residuals,
    without_motion,
)

WELL, ROUGHLY = 0.01, 0.05  # standard deviation of the baseline over the baseline
ROTATION = 0.05  # [degrees] wanted in 95 of 100 calibrations
GOOD_PX = 1.0  # stereo RMS that sharp frames of a stiff board keep below
Z_95 = 1.644854  # standard deviations that 95 % of a normal distribution lie below
PRIOR_SHARE = (
    0.5  # a number rests on its prior if the data leave more than this share of its spread
)


@dataclass(frozen=True)
class ViewErrors:
    """
    Root mean square distances [px] of one view to the solution.

    Here the board has one pose for both exposures.
    """

    name: str
    visible_px: float  # seen to projected
    infrared_px: float
    stereo_px: float  # both together
    epipolar_px: float  # infrared points to the lines of their visible partners
    left_out_px: float  # both together, to the rig from the other views; only the pose is fitted
    depth_m: float  # of the board's middle


@dataclass(frozen=True)
class Solution:
    """A rig with its errors, the views left out and the numbers that rest on priors."""

    rig: Rig
    bundle: Bundle
    views: Sequence[ViewErrors]
    refused: dict[str, str]  # view to reason
    from_prior: Sequence[str]  # numbers that rest on their priors, in words
    pair_covariance: Floats  # (P, P) of `bundle.pair`, by the residuals
    baseline_std_m: float  # the larger of covariance and leave-one-out
    baseline_left_out_m: Floats  # (V,) the baseline without each view
    stereo_rms_px: float
    undetermined: str = ""  # why the views do not determine the rig, which was accepted

    @property
    def rotation_std(self) -> float:
        """Root mean square of the rotation's error that the covariance states [degrees]."""
        return float(np.degrees(np.sqrt(np.trace(self.pair_covariance[-6:-3, -6:-3]))))

    @property
    def rotation_95(self) -> float:
        """
        The 95 % quantile of the rotation's error [degrees].

        The squared error is a weighed sum of chi-squares. Its degrees of freedom are
        Satterthwaite's (1946), its quantile is Wilson and Hilferty's (1931).
        """
        axes = np.linalg.eigvalsh(self.pair_covariance[-6:-3, -6:-3])
        unit = 2 * (axes**2).sum() / (9 * axes.sum() ** 2)
        return float(self.rotation_std * (1 - unit + Z_95 * np.sqrt(unit)) ** 1.5)

    @property
    def views_needed(self) -> int:
        """Number of such views for a rotation error below `ROTATION` in 95 of 100 cases."""
        return math.ceil(len(self.views) * (self.rotation_95 / ROTATION) ** 2)

    @property
    def verdict(self) -> list[str]:
        """The meaning of the numbers, in sentences."""
        return _verdict(self)


def leave_one_out(bundle: Bundle, parts: Sequence[NormalEquations]) -> Floats:
    """
    Parameters (V, P) of the pair without each view, by one Newton step from the solution.

    Normal equations of views add up, so leaving one out is a subtraction.
    """
    A, g = prior(bundle)
    S, total = A + sum(part.S for part in parts), g + sum(part.g for part in parts)
    steps = [np.linalg.solve(S - part.S, total - part.g) for part in parts]
    return bundle.pair + np.array(steps)


def leave_one_out_errors(bundle: Bundle, parts: Sequence[NormalEquations]) -> Floats:
    """
    Root mean square distance [px] of each view (V,) to the rig from the other views.

    Without board motion between the exposures, so a view with motion shows a large error.
    """
    errors = []
    for index, pair in enumerate(leave_one_out(bundle, parts)):
        pose = bundle.poses[index : index + 1]
        one = without_motion(replace(bundle, views=[bundle.views[index]], pair=pair, poses=pose))
        errors.append(_rms(np.vstack(residuals(one, 0))))
    return np.array(errors, np.float64)


def assess(bundle: Bundle, refused: dict[str, str], source: str) -> Solution:
    """The solution of a minimised bundle, with its errors."""
    parts = normal_equations(bundle)
    information: Floats = prior(bundle)[0] + np.sum([part.S for part in parts], axis=0)
    covariance = np.asarray(np.linalg.inv(information), np.float64)
    T = pose_matrix(bundle.pair[-6:])
    places = leave_one_out(bundle, parts)[:, -3:]
    baselines = np.asarray(np.linalg.norm(places, axis=1), np.float64)
    std = baseline_std(bundle, covariance, baselines)
    visible, infrared = cameras_of_bundle(bundle)
    rig = Rig(visible, infrared, T, std, source)
    outside = leave_one_out_errors(bundle, parts)
    still = without_motion(bundle)
    errors = [_errors(still, rig, at, float(outside[at])) for at in range(len(bundle.views))]
    everything = np.vstack([rest for at in range(len(errors)) for rest in residuals(still, at)])
    from_prior = [
        f"{name} {word}"
        for name, camera, numbers, spread in zip(
            ("visible", "infrared"),
            bundle.cameras,
            camera_parameters(bundle),
            np.split(np.sqrt(np.diag(covariance))[:-6], [camera_parameters(bundle)[0].size]),
            strict=True,
        )
        for word in _from_prior(camera, numbers, spread)
    ]
    return Solution(
        rig, bundle, errors, refused, from_prior, covariance, std, baselines, _rms(everything)
    )


def baseline_std(bundle: Bundle, covariance: Floats, baselines: Floats) -> float:
    """
    Standard deviation of the baseline [m]: of the covariance or of leave-one-out, the larger.

    The covariance takes errors of corners as independent. A bent board or warm air moves all
    corners of a view together, which only leaving out whole views shows (jackknife, Efron 1979).
    """
    direction = bundle.pair[-3:] / np.linalg.norm(bundle.pair[-3:])
    by_corners = float(np.sqrt(direction @ covariance[-3:, -3:] @ direction))
    count = len(baselines)
    by_views = float(np.sqrt((count - 1) / count * ((baselines - baselines.mean()) ** 2).sum()))
    return max(by_corners, by_views)


def baseline_interval_m(solution: Solution) -> tuple[float, float]:
    """
    The 95 % confidence interval of the baseline [m].

    Student's t with one degree of freedom less than views, by its expansion about the normal
    quantile z (Abramowitz and Stegun 26.7.5).
    """
    z, freedom = 1.959964, len(solution.views) - 1
    t = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    reach = t * solution.baseline_std_m
    return solution.rig.baseline_m - reach, solution.rig.baseline_m + reach


def _verdict(solution: Solution) -> list[str]:
    share = solution.baseline_std_m / solution.rig.baseline_m
    word = "well" if share < WELL else "roughly" if share < ROUGHLY else "hardly"
    sentences = [f"The baseline is {word} known ({100 * share:.1f} %)."]
    if solution.undetermined:
        sentences.insert(0, f"NOT DETERMINED, accepted all the same: {solution.undetermined}.")
    if (wanted := solution.views_needed) > len(solution.views):
        sentences.append(
            f"The rotation is known to {solution.rotation_std:.2f} degrees (standard deviation). "
            f"For {ROTATION:g} in 95 of 100 cases take "
            f"about {round(wanted, 2 - len(str(wanted)))} such "
            "views, fewer if `segmif calibrate live` asks for the poses or the board has more "
            "corners."
        )
    if solution.stereo_rms_px > GOOD_PX:
        sentences.append(
            f"Corners are {solution.stereo_rms_px:.1f} px off (RMS; good frames stay "
            f"below {GOOD_PX:g}): are frames blurred, is the board flat and as stated?"
        )
    depth = np.median([view.depth_m for view in solution.views])
    moved_px = solution.rig.infrared.fx * solution.bundle.motion_m / depth
    if moved_px > np.mean([view.infrared.sigma_px for view in solution.bundle.views]):
        sentences.append(
            f"The board moved by {1e3 * solution.bundle.motion_m:.1f} mm between the two exposures "
            "(standard deviation), which was allowed for: rest the board, or trigger both cameras."
        )
    if solution.from_prior:
        sentences.append(
            f"{len(solution.from_prior)} lens numbers rest on experience rather than on "
            "these frames: show the board closer, more tilted and in the corners."
        )
    return sentences


def _from_prior(camera: Camera, numbers: Floats, spread: Floats) -> list[str]:
    """Numbers of one camera that rest on their priors, in words."""
    names = {"radtan": "k1 k2 p1 p2 k3 k4 k5 k6", "fisheye": "k1 k2 k3 k4"}[camera.model].split()
    beforehand = prior_std(camera)
    rows = zip(["cx", "cy", *names], numbers[2:], spread[2:], beforehand, strict=False)
    return [
        f"{name} = {number:.4g} +/- {after:.2g} (known to {before:.2g} beforehand)"
        for name, number, after, before in rows
        if after > PRIOR_SHARE * before
    ]


def _errors(bundle: Bundle, rig: Rig, index: int, outside: float) -> ViewErrors:
    visible, infrared = residuals(bundle, index)
    return ViewErrors(
        name=bundle.views[index].name,
        visible_px=_rms(visible),
        infrared_px=_rms(infrared),
        stereo_px=_rms(np.vstack([visible, infrared])),
        epipolar_px=_rms(epipolar_distances(rig, bundle.views[index])[:, None]),
        left_out_px=outside,
        depth_m=float(bundle.poses[index, 5]),
    )


def epipolar_distances(rig: Rig, view: PairView) -> Floats:
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
