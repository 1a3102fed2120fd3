"""
The map from visible to infrared pixels of what stands on one plane, by few numbers with priors.

In rays of the cameras it is R + t n^T / d: the rotation, and the part of the baseline t over the
plane (normal n, distance d) on which targets move. Priors instead of fixed numbers: what the scenes
leave open shows in the covariance.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.geometry.rig import Floats, Rig

Size = tuple[int, int]  # width, height [px]

FOCAL, FOCAL_STD = 0.9, (0.4, 0.5)  # of the frame's width; its logarithm, visible and infrared
TURN_STD = 0.3  # [rad] of cameras that someone mounted side by side
BASELINE_STD = 0.015  # entries of t n^T / d: 6 cm, 4 m above the ground
REMOUNTED_STD = 0.1  # [rad] of a rig that was calibrated and has moved
NEARNESS_STD = 0.3  # [1/m] of the plane: it may be 3 m away
STEPS, EPSILON = 40, 1e-6
HUBER = 1.5
LEAST_PX = 0.2  # of infrared: no measurement is better than that


@dataclass(frozen=True)
class PlaneModel:
    """Infrared pixels (N, 2) of numbers (K,) and visible pixels (N, 2), and what is known."""

    infrared_pixels: Callable[[Floats, Floats], Floats]
    prior: Floats  # (K,)
    prior_std: Floats  # (K,)


@dataclass(frozen=True)
class PlaneFit:
    """Numbers (K,) of a model, their covariance (K, K), and what is left of the measurements."""

    model: PlaneModel
    numbers: Floats
    covariance: Floats
    residuals: Floats  # (N,) [px of infrared]

    def infrared_pixels(self, visible: Floats) -> Floats:
        """Infrared pixels (N, 2) of visible ones (N, 2)."""
        return self.model.infrared_pixels(self.numbers, visible)

    def drawn(self, visible: Floats, count: int, random: np.random.Generator) -> Floats:
        """How far (count, N, 2) infrared pixels lie off in draws from the covariance."""
        numbers = random.multivariate_normal(self.numbers, self.covariance, count, method="eigh")
        there = self.infrared_pixels(visible)
        return np.array([self.model.infrared_pixels(one, visible) - there for one in numbers])


def homography_model(sizes: tuple[Size, Size]) -> PlaneModel:
    """Of two cameras of which only the sizes of their frames are known: see `homography`."""
    return PlaneModel(
        lambda numbers, visible: apply(homography(numbers, sizes), visible),
        np.concatenate([np.log([FOCAL, FOCAL]), np.zeros(12)]),
        np.concatenate([FOCAL_STD, np.full(3, TURN_STD), np.full(9, BASELINE_STD)]),
    )


def homography(numbers: Floats, sizes: tuple[Size, Size]) -> Floats:
    """
    H (3, 3), visible pixel -> infrared pixel, of 14 numbers.

    They are the logarithm of each focal length over its frame's width, the rotation [rad], and the
    nine entries of t n^T / d.
    """
    visible, infrared = (
        _matrix(np.exp(log) * size[0], size) for log, size in zip(numbers[:2], sizes, strict=True)
    )
    turned = cv2.Rodrigues(numbers[2:5])[0] + numbers[5:14].reshape(3, 3)
    H = infrared @ turned @ np.linalg.inv(visible)
    return np.asarray(H / H[2, 2], np.float64)


def rig_model(rig: Rig) -> PlaneModel:
    """
    Of calibrated cameras that were mounted again: a turn against the rig [rad], and n / d [1/m].

    Their baseline stays that of the rig: scenes do not show its length.
    """

    def infrared_pixels(numbers: Floats, visible: Floats) -> Floats:
        rays = rig.visible.rays(visible)
        R = turned(rig, numbers)
        return rig.infrared.project(rays @ R[:3, :3].T + rays @ numbers[3:, None] * R[:3, 3])

    std = np.concatenate([np.full(3, REMOUNTED_STD), np.full(3, NEARNESS_STD)])
    return PlaneModel(infrared_pixels, np.zeros(6), std)


def turned(rig: Rig, numbers: Floats) -> Floats:
    """T_infrared_visible (4, 4) of a rig whose infrared camera has turned about its own place."""
    T = np.eye(4)
    T[:3] = cv2.Rodrigues(numbers[:3])[0] @ rig.T_infrared_visible[:3]
    return T


def apply(H: Floats, pixels: Floats) -> Floats:
    """Pixels (N, 2) by H (3, 3)."""
    there = np.column_stack([pixels, np.ones(len(pixels))]) @ H.T
    return np.asarray(there[:, :2] / there[:, 2:], np.float64)


def fit_plane(
    model: PlaneModel,
    visible: Floats,
    infrared: Floats,
    clusters: NDArray[np.intp],
    start: Floats | None = None,
) -> PlaneFit:
    """
    Fit to pixels (N, 2) each, by Gauss-Newton with Huber's weights and the priors.

    Measurements of one cluster (N,) have errors of one mind, so the covariance adds up the
    gradients of whole clusters (Liang and Zeger, 1986), and the priors as one more.
    """
    numbers = model.prior if start is None else start
    inverse_prior = np.diag(model.prior_std**-2.0)
    for _ in range(STEPS):
        off, J, weights = _system(model, numbers, visible, infrared)
        weighted = J * weights[:, None]
        gradient = weighted.T @ off + inverse_prior @ (model.prior - numbers)
        step = np.linalg.solve(weighted.T @ J + inverse_prior, gradient)
        numbers = numbers + step
        if np.abs(step / model.prior_std).max() < 1e-4:
            break
    off, J, weights = _system(model, numbers, visible, infrared)
    bread = np.linalg.inv((J * weights[:, None]).T @ J + inverse_prior)
    each = (J * (weights * off)[:, None]).reshape(len(visible), 2, -1).sum(1)
    sums = np.zeros((int(clusters.max()) + 1, len(numbers)))
    np.add.at(sums, clusters, each)
    meat = sums.T @ sums * len(sums) / max(len(sums) - 1, 1) + inverse_prior
    lengths = np.linalg.norm(off.reshape(-1, 2), axis=1)
    return PlaneFit(model, numbers, bread @ meat @ bread, lengths)


def _system(
    model: PlaneModel, numbers: Floats, visible: Floats, infrared: Floats
) -> tuple[Floats, Floats, Floats]:
    """Residuals (2N,) [px], derivatives (2N, K), and weights (2N,) [1/px^2]."""
    now = model.infrared_pixels(numbers, visible)
    columns = []
    for at in range(len(numbers)):
        moved = numbers.copy()
        moved[at] += EPSILON
        columns.append((model.infrared_pixels(moved, visible) - now).ravel() / EPSILON)
    off = infrared - now
    scale = max(1.4826 * float(np.median(np.abs(off))), LEAST_PX)
    length = np.linalg.norm(off, axis=1)
    weights = np.minimum(1, HUBER * scale / np.maximum(length, 1e-9)) / scale**2
    return off.ravel(), np.stack(columns, axis=1), np.repeat(weights, 2)


def _matrix(focal: float, size: Size) -> Floats:
    return np.array([[focal, 0, (size[0] - 1) / 2], [0, focal, (size[1] - 1) / 2], [0, 0, 1]])
