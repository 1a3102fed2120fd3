"""
Registration: the remaining misalignment of a visible and an infrared frame, from their edges.

Brightness differs between the spectra, but edges lie at the same places, with either contrast. So
each frame becomes a field of doubled edge directions, which makes opposite contrasts equal. The
affine map with the best agreement is searched on a bounded grid of rotations, scales and shifts,
then refined by Gauss-Newton steps.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.geometry.rig import Floats

Grey = NDArray[np.uint8]
Field = NDArray[np.float32]
Picture = TypeVar("Picture", NDArray[np.uint8], NDArray[np.float32])
Plane = TypeVar("Plane", bound=NDArray[np.uint8] | NDArray[np.uint16])

COARSE_ROWS, FINE_ROWS = 120, 240
EDGE_FLOOR = 0.3  # of a frame's typical gradient: weaker edges count less and less
GRID_BLUR, STEP_BLURS = 1.5, (2.0, 1.0)  # [px] how far agreement reaches, coarse to fine
TURNS = np.arange(-12.0, 12.1, 2.0)  # [degrees]
SCALES = np.array([0.9, 0.95, 1.0, 1.05, 1.1])
SHIFT = 0.08  # of the frame's width: the bound of the search
STARTS = 3  # best places of the grid that are followed
STEPS = 20
WINDOW_PAIRS, MIN_PAIRS = 15, 7  # residuals for a drift, at most and at least
SURE = 2.0  # standard deviations beyond the limit before an alarm
# Points of a frame for the drift, (2, 9) shares of its width and height.
GRID = np.stack(np.meshgrid([0.25, 0.5, 0.75], [0.25, 0.5, 0.75])).reshape(2, -1)
CONFIDENT, DOUBT = 3.6, 0.2  # see `_prominence`: confidence 0.5 there, and its slope


@dataclass(frozen=True)
class Refinement:
    """A correction of an alignment."""

    A: Floats  # (2, 3) visible pixel (x, y, 1) -> pixel of the infrared frame as it was given
    confidence: float  # 0 to 1: prominence of the best map over all others
    residual_px: float  # mean displacement that A describes over the frame

    @property
    def sure(self) -> bool:
        """Whether to use it: frames of different scenes have a best map too."""
        return self.confidence >= 0.5

    def apply(self, infrared: Plane, *, nearest: bool = False) -> Plane:
        """Warp the same infrared frame (H, W) by the correction: bilinear, or `nearest`."""
        height, width = infrared.shape
        flags = (cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP
        return cast(Plane, cv2.warpAffine(infrared, self.A, (width, height), flags=flags))


@dataclass(frozen=True)
class Drift:
    """The drift of a rig, from the last residuals of an aligned stream."""

    residual_px: float  # root mean square over the frame, of the medians in time
    std_px: float  # of `residual_px`, one standard deviation
    frames: int  # with a confident residual, among the last `WINDOW_PAIRS`
    moved: bool

    def __str__(self) -> str:
        state = (
            "the rig moved: calibrate it again" if self.moved else "the rig stands as calibrated"
        )
        return f"{state} ({self.residual_px:.1f} +/- {self.std_px:.1f} px in {self.frames} frames)"


class DriftMonitor:
    """
    Detects a rig that moved, as opposed to a scene at another depth.

    Depth shifts points along one direction only: `along` (2,), the unit vector of
    `alignment.parallax_direction`. Only residuals across it count; without it, all of them.
    """

    def __init__(self, along: Floats | None, limit_px: float = 3.0) -> None:
        """`limit_px` at the visible frame's resolution; raises ValueError unless positive."""
        if not limit_px > 0:
            raise ValueError(f"the limit is {limit_px} px, expected more than 0")
        self.limit_px = limit_px
        self._axes = np.eye(2) if along is None else np.array([[-along[1], along[0]]])
        self._residuals: deque[Floats] = deque(maxlen=WINDOW_PAIRS)

    def see(self, visible: Grey, aligned: Grey) -> Drift | None:
        """Add a pair, (H, W) uint8 each; None until enough pairs had a confident residual."""
        found = refine(visible, aligned)
        if found.sure:
            height, width = visible.shape
            pixels = GRID * [[width - 1], [height - 1]]
            moved = found.A @ np.vstack([pixels, np.ones(pixels.shape[1])]) - pixels
            self._residuals.append((self._axes @ moved).ravel())
        if len(self._residuals) < MIN_PAIRS:
            return None
        residuals = np.array(self._residuals)
        middle = self._median()
        scale = np.sqrt(len(self._axes))  # two axes make one distance
        residual = float(scale * np.sqrt((middle**2).mean()))
        # Median absolute deviation to a standard deviation, and that to one of a median.
        scatter = scale * np.sqrt((np.median(np.abs(residuals - middle), axis=0) ** 2).mean())
        std = float(1.4826 * 1.2533 * scatter / np.sqrt(len(residuals)))
        moved_far = residual - SURE * std > self.limit_px
        return Drift(residual, std, len(residuals), moved_far)

    def correction(self, width: int, height: int) -> Floats:
        """
        The medians as an affine map (2, 3), visible pixel -> pixel of the aligned frame.

        Raises ValueError with a direction of parallax: a residual along it may be depth.
        """
        if len(self._axes) != 2:
            raise ValueError("a solved rig cannot be corrected by a scene: calibrate it again")
        pixels = GRID * [[width - 1], [height - 1]]
        moved = pixels + self._median().reshape(2, -1)
        known = np.vstack([pixels, np.ones(pixels.shape[1])])
        return cast(Floats, np.linalg.lstsq(known.T, moved.T, rcond=None)[0].T)

    def _median(self) -> Floats:
        return cast(Floats, np.median(np.array(self._residuals), axis=0))


def refine(visible: Grey, infrared: Grey) -> Refinement:
    """
    Register `infrared` to `visible`, both (H, W) uint8 of one view.

    Infrared pixels of exactly 0 count as unseen. The search is bounded to rotations of 12 degrees,
    scales of 10 % and shifts of 8 % of the width. Raises ValueError for different sizes.
    """
    if visible.shape != infrared.shape:
        raise ValueError(f"visible is {visible.shape}, infrared {infrared.shape}: align them first")
    starts = _grid(_rows(visible, COARSE_ROWS), _rows(infrared, COARSE_ROWS))
    fine = _rows(visible, FINE_ROWS), _rows(infrared, FINE_ROWS)
    ratio = fine[0].shape[0] / _rows(visible, COARSE_ROWS).shape[0]
    levels = [_level(*fine, blur) for blur in STEP_BLURS]
    found = [_refine_start(_scaled(start, ratio), levels) for start in starts]
    prominence, best = max(found, key=lambda one: one[0])
    A = _scaled(best, visible.shape[0] / fine[0].shape[0])
    confidence = float(1 / (1 + np.exp((CONFIDENT - prominence) / DOUBT)))
    return Refinement(A, confidence, _mean_displacement(A, visible.shape))


def edges(frame: Grey, blur_px: float, mask: Grey | None = None) -> Field:
    """
    Edge directions (H, W, 2): strength times (cos 2a, sin 2a), strength below 1, then blurred.

    (gx + i gy)^2 / |g| by the doubled angle; pixels with a `mask` of 0 are 0.
    """
    smooth = cv2.GaussianBlur(frame, (0, 0), 1.0).astype(np.float32)
    gx, gy = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    squared = gx**2 + gy**2
    floor = EDGE_FLOOR * float(np.sqrt(squared.mean())) + 1e-3
    weight = 1 / (np.sqrt(squared) * (np.sqrt(squared) + floor) + 1e-6)
    field = np.stack([(gx**2 - gy**2) * weight, 2 * gx * gy * weight], axis=-1)
    if mask is not None:
        field *= (mask > 0)[..., None]
    return cast(Field, cv2.GaussianBlur(field.astype(np.float32), (0, 0), blur_px))


def seen_mask(infrared: Grey) -> Grey:
    """Mask (H, W) of a warped frame: 0 for black pixels and some around them, else 1."""
    black = cv2.morphologyEx((infrared == 0).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3)))
    return cast(Grey, 1 - cv2.dilate(black, np.ones((7, 7))))


def _rows(frame: Grey, rows: int) -> Grey:
    scale = rows / frame.shape[0]
    if scale >= 1:
        return frame
    width = round(frame.shape[1] * scale)
    return cast(Grey, cv2.resize(frame, (width, rows), interpolation=cv2.INTER_AREA))


def _grid(visible: Grey, infrared: Grey) -> list[Floats]:
    """The best maps of the bounded grid, visible pixel -> infrared pixel."""
    height, width = visible.shape
    reach = round(SHIFT * width)
    target = edges(visible, GRID_BLUR)
    padded = cv2.copyMakeBorder(
        target, reach, reach, reach, reach, cv2.BORDER_CONSTANT, value=[0, 0, 0, 0]
    )
    found: list[tuple[float, Floats]] = []
    for turn, scale in product(TURNS, SCALES):
        A = _about_middle(turn, scale, width, height)
        moved = _warp(infrared, A)
        field = edges(moved, GRID_BLUR, seen_mask(moved))
        surface = cv2.matchTemplate(padded, field, cv2.TM_CCORR) / (np.linalg.norm(field) + 1e-6)
        _, top, _, (x, y) = cv2.minMaxLoc(surface)
        # The template lies at (x, y) - reach in the visible frame: visible pixel = infrared + that.
        shift = A.copy()
        shift[:, 2] -= A[:, :2] @ np.array([x - reach, y - reach])
        found.append((top, shift))
    found.sort(key=lambda one: -one[0])
    return [A for _, A in found[:STARTS]]


@dataclass(frozen=True)
class _Level:
    """Edges of both frames at one blur, for all starts."""

    target: Field  # (H, W, 2) of visible
    field: Field  # (H, W, 2) of infrared
    slopes: Field  # (H, W, 4) of `field` along x, then along y


def _level(visible: Grey, infrared: Grey, blur: float) -> _Level:
    field = edges(infrared, blur, seen_mask(infrared))
    slopes = np.concatenate([_slope(field, dx, 1 - dx) for dx in (1, 0)], axis=-1)
    return _Level(edges(visible, blur), field, slopes)


def _refine_start(A: Floats, levels: Sequence[_Level]) -> tuple[float, Floats]:
    """The prominence of the map that a start converges to, and the map."""
    for level in levels:
        A = _gauss_newton(A, level)
    return _prominence(A, levels[-1]), A


def _prominence(A: Floats, level: _Level) -> float:
    """
    Agreement under a map less the mean over all its shifts, in standard deviations.

    Frames of different scenes have a best map too, but it is hardly better than others.
    """
    reach = round(SHIFT * level.target.shape[1])
    field = _warp(level.field, A)
    inner = np.ascontiguousarray(field[reach:-reach, reach:-reach])
    surface = cv2.matchTemplate(level.target, inner, cv2.TM_CCORR)
    centre = float(surface[reach, reach])
    return (centre - float(surface.mean())) / (float(surface.std()) + 1e-6)


def _gauss_newton(A: Floats, level: _Level) -> Floats:
    """Gauss-Newton on the difference of both edge fields, over the affine map's six numbers."""
    height, width = level.target.shape[:2]
    y, x = np.indices((height, width), np.float32)
    basis = np.stack([x - width / 2, y - height / 2, np.full_like(x, width / 4)]).reshape(3, -1)
    products = np.stack([basis[i] * basis[j] for i, j in zip(*np.triu_indices(3), strict=True)])
    for _ in range(STEPS):
        moved, slopes = _warp(level.field, A), _warp(level.slopes, A)
        slopes *= (np.abs(moved[..., 0]) + np.abs(moved[..., 1]) > 1e-4)[..., None]
        H, g = _normal_equations(slopes, level.target - moved, basis, products)
        step = np.linalg.solve(H + (1e-3 * np.trace(H) / 6 + 1e-6) * np.eye(6), g)
        A = A + _from_middle(step.reshape(2, 3), width, height)
        if np.abs(step).max() * width < 1e-2:
            break
    return A


def _normal_equations(
    slopes: Field, rest: Field, basis: Field, products: Field
) -> tuple[Floats, Floats]:
    """
    J^T J (6, 6) and J^T rest (6,) without J, whose row at a pixel is slope times `basis` there.

    Takes slopes (H, W, 4) along x and y, residuals (H, W, 2), the basis (3, H W) and the products
    (6, H W) of any two of its rows.
    """
    gx, gy = slopes[..., :2], slopes[..., 2:]
    squares = [_dot(a, b) for a, b in ((gx, gx), (gx, gy), (gy, gy))]
    sums = products @ np.stack(squares, axis=1)  # (6, 3)
    blocks = np.empty((3, 3, 3))
    rows, columns = np.triu_indices(3)
    blocks[:, rows, columns] = blocks[:, columns, rows] = sums.T
    xx, xy, yy = blocks
    g = basis @ np.stack([_dot(slope, rest) for slope in (gx, gy)], axis=1)  # (3, 2)
    return np.block([[xx, xy], [xy, yy]]), g.T.ravel().astype(np.float64)


def _dot(a: Field, b: Field) -> Field:
    """Products (H W,) of vectors (H, W, 2); numpy's own sum over an axis of two is slow."""
    return cast(Field, (a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1]).ravel())


def _slope(field: Field, dx: int, dy: int) -> Field:
    # Sobel's kernel weighs 8 pixels of distance.
    return cast(Field, cv2.Sobel(field, cv2.CV_32F, dx, dy, ksize=3, scale=1 / 8))


def _from_middle(step: Floats, width: int, height: int) -> Floats:
    """A step in coordinates from the frame's middle as one of an affine map (2, 3)."""
    linear = step[:, :2]
    offset = step[:, 2] * width / 4 - linear @ np.array([width / 2, height / 2])
    return np.column_stack([linear, offset]).astype(np.float64)


def _about_middle(turn: float, scale: float, width: int, height: int) -> Floats:
    middle = ((width - 1) / 2, (height - 1) / 2)
    return np.asarray(cv2.getRotationMatrix2D(middle, float(turn), float(scale)), np.float64)


def _warp(picture: Picture, A: Floats) -> Picture:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cast(Picture, cv2.warpAffine(picture, A, picture.shape[1::-1], flags=flags))


def _scaled(A: Floats, factor: float) -> Floats:
    """The same map between frames `factor` times as large; pixel centres lie at half pixels."""
    offset = A[:, 2] + (A[:, :2] - np.eye(2)) @ np.array([0.5, 0.5])
    moved = factor * offset - (A[:, :2] - np.eye(2)) @ np.array([0.5, 0.5])
    return np.column_stack([A[:, :2], moved])


def _mean_displacement(A: Floats, shape: tuple[int, ...]) -> float:
    y, x = np.indices(shape).reshape(2, -1)
    moved = A @ np.stack([x, y, np.ones_like(x)])
    return float(np.hypot(moved[0] - x, moved[1] - y).mean())
