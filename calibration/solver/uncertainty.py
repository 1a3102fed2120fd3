"""What a solution is worth: its errors view by view, its spread, and a verdict in words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from segmif.geometry.rig import Camera, Floats, Rig

from .bundle_adjustment import (
    Bundle,
    Normal,
    PairView,
    at_rest,
    normals,
    prior,
    prior_std,
    residuals,
    solved_cameras,
    split,
    transform,
)

WELL, ROUGHLY = 0.01, 0.05  # standard deviation of the baseline over the baseline
ROTATION = 0.05  # [degrees] that 95 of 100 calibrations should keep to
GOOD_PX = 1.0  # stereo RMS that sharp frames of a stiff board keep below
Z_95 = 1.644854  # standard deviations that 95 % of a normal distribution lie below
HELD = 0.5  # a number is held by experience where the data leave more than this of its spread


@dataclass(frozen=True)
class ViewErrors:
    """
    How far one view is from the solution, root mean squares of distances [px].

    The rig is stiff and so is the view here: one pose of the board for both exposures.
    """

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
    undetermined: str = ""  # why the views do not determine the rig, which was accepted

    @property
    def rotation_std(self) -> float:
        """Root mean square of the rotation's error that the covariance states [degrees]."""
        return float(np.degrees(np.sqrt(np.trace(self.pair_covariance[-6:-3, -6:-3]))))

    @property
    def rotation_95(self) -> float:
        """
        The rotation's error that 95 of 100 such calibrations keep to [degrees].

        The square of the error is a sum of weighed chi-squares: Satterthwaite's degrees of freedom,
        and Wilson and Hilferty's quantile for them.
        """
        axes = np.linalg.eigvalsh(self.pair_covariance[-6:-3, -6:-3])
        unit = 2 * (axes**2).sum() / (9 * axes.sum() ** 2)
        return float(self.rotation_std * (1 - unit + Z_95 * np.sqrt(unit)) ** 1.5)

    @property
    def views_wanted(self) -> int:
        """Views like these that would know the rotation to `ROTATION` in 95 of 100 cases."""
        return math.ceil(len(self.views) * (self.rotation_95 / ROTATION) ** 2)

    @property
    def verdict(self) -> list[str]:
        """What the numbers mean, in sentences."""
        return _verdict(self)


def left_out(bundle: Bundle, parts: Sequence[Normal]) -> Floats:
    """
    The pair's parameters (V, P) without each view, by one Newton step from the solution.

    The views' normal equations add up, so leaving one out is a subtraction.
    """
    A, g = prior(bundle)
    S, total = A + sum(part.S for part in parts), g + sum(part.g for part in parts)
    steps = [np.linalg.solve(S - part.S, total - part.g) for part in parts]
    return bundle.pair + np.array(steps)


def left_out_errors(bundle: Bundle, parts: Sequence[Normal]) -> Floats:
    """
    Root mean square distance [px] of each view to the rig that the other views make (V,).

    The board is held still between the exposures: its motion is what may be wrong with the view.
    """
    errors = []
    for index, pair in enumerate(left_out(bundle, parts)):
        pose = bundle.poses[index : index + 1]
        one = at_rest(replace(bundle, views=[bundle.views[index]], pair=pair, poses=pose))
        errors.append(_rms(np.vstack(residuals(one, 0))))
    return np.array(errors, np.float64)


def judge(bundle: Bundle, refused: dict[str, str], source: str) -> Solution:
    parts = normals(bundle)
    information: Floats = prior(bundle)[0] + np.sum([part.S for part in parts], axis=0)
    covariance = np.asarray(np.linalg.inv(information), np.float64)
    T = transform(bundle.pair[-6:])
    places = left_out(bundle, parts)[:, -3:]
    baselines = np.asarray(np.linalg.norm(places, axis=1), np.float64)
    std = baseline_std(bundle, covariance, baselines)
    visible, infrared = solved_cameras(bundle)
    rig = Rig(visible, infrared, T, std, source)
    outside = left_out_errors(bundle, parts)
    still = at_rest(bundle)
    errors = [_errors(still, rig, at, float(outside[at])) for at in range(len(bundle.views))]
    everything = np.vstack([rest for at in range(len(errors)) for rest in residuals(still, at)])
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
    if solution.undetermined:
        sentences.insert(0, f"NOT DETERMINED, accepted all the same: {solution.undetermined}.")
    if (wanted := solution.views_wanted) > len(solution.views):
        sentences.append(
            f"The rotation is known to {solution.rotation_std:.2f} degrees (standard deviation): "
            f"for {ROTATION:g} in 95 of 100 cases take "
            f"about {round(wanted, 2 - len(str(wanted)))} such "
            "views, fewer where `live` asks for the poses or the board has more corners."
        )
    if solution.stereo_rms_px > GOOD_PX:
        sentences.append(
            f"Corners are {solution.stereo_rms_px:.1f} px from where this rig puts them (RMS; good "
            f"frames stay below {GOOD_PX:g}): are frames blurred, is the board flat and as stated?"
        )
    depth = np.median([view.depth_m for view in solution.views])
    moved_px = solution.rig.infrared.fx * solution.bundle.motion_m / depth
    if moved_px > np.mean([view.infrared.sigma_px for view in solution.bundle.views]):
        sentences.append(
            f"The board moved by {1e3 * solution.bundle.motion_m:.1f} mm between the two exposures "
            "(standard deviation), which was allowed for: rest the board, or trigger both cameras."
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
    return ViewErrors(
        name=bundle.views[index].name,
        visible_px=_rms(visible),
        infrared_px=_rms(infrared),
        stereo_px=_rms(np.vstack([visible, infrared])),
        epipolar_px=_rms(epipolar(rig, bundle.views[index])[:, None]),
        left_out_px=outside,
        depth_m=float(bundle.poses[index, 5]),
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
