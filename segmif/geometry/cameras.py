"""
The two cameras of a rig, and the transform between them.

Camera frames: x to the right, y down, z forward along the optical axis, in metres. Pixels: (x, y),
the centre of the top left pixel is (0, 0).
"""

from dataclasses import dataclass, field
from typing import Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.imaging.codecs import MAX_PIXELS
from segmif.parsing import brief
from segmif.thermal.camera_profile import Cameras

Floats = NDArray[np.float64]
Model = Literal["radtan", "fisheye"]

COEFFICIENTS: dict[Model, tuple[int, ...]] = {"radtan": (5, 8), "fisheye": (4,)}
# Counts that others write of radtan: without k3, or with thin prisms and a tilted sensor.
WRITTEN = (4, 5, 8, 12, 14)
BASELINE_M = (1e-3, 5.0)
MAX_SIDE = 16_384  # [px] of a frame; the largest sensors have a half of it
FOCAL_SHARE = (0.02, 1000.0)  # of the longer side: a field of view of 175 to 0.06 degrees
FOCAL_RATIO = 2.0  # fx to fy: lenses stretched more than that are a mistake in the file
ROTATION_TOLERANCE = 1e-4  # the error of six written decimals, far below any real mistake
LENS_GRID, LENS_SHARE = 16, 0.5  # points along a side; share that must survive undistortion
LENS_STRETCH = 3.0  # of a ray over a pinhole's: strong wide angles reach 2
MODEL_RADIUS = 1.1  # a lens polynomial is trusted this much beyond the corners of its own frame
# More than the default of five steps: strong distortion needs them towards the corners.
UNDISTORT = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-10)


@dataclass(frozen=True)
class Camera:
    """
    One camera: frame size, pinhole matrix and lens distortion.

    `radtan` has 5 coefficients (k1 k2 p1 p2 k3) or 8 (and k4 k5 k6), `fisheye` has 4 (k1..k4).
    Order and formulas are those of OpenCV's calib3d and calib3d::fisheye.
    Raises ValueError for numbers that no camera has.
    """

    width: int  # [px]
    height: int  # [px]
    K: Floats  # (3, 3) [px]
    distortion: Floats  # (5,), (8,) or (4,)
    model: Model = "radtan"

    def __post_init__(self) -> None:
        check_size((self.width, self.height))
        if not isinstance(self.model, str) or self.model not in COEFFICIENTS:
            raise ValueError(f"the lens model is {brief(self.model)!r}, expected radtan or fisheye")
        self._check_numbers()
        self._check_matrix()

    def _check_numbers(self) -> None:
        if self.K.shape != (3, 3) or not np.isfinite(self.K).all():
            raise ValueError(f"K must be 3x3 finite numbers, got {brief(self.K.tolist())}")
        counts = COEFFICIENTS[self.model]
        if self.distortion.shape not in [(count,) for count in counts]:
            raise ValueError(
                f"{self.model} takes {' or '.join(map(str, counts))} distortion coefficients, "
                f"got {self.distortion.size}"
            )
        if not np.isfinite(self.distortion).all():
            raise ValueError(f"the distortion is not finite: {brief(self.distortion.tolist())}")

    def _check_matrix(self) -> None:
        fx, fy, cx, cy = self.fx, self.fy, self.K[0, 2], self.K[1, 2]
        if fx <= 0 or fy <= 0:
            raise ValueError(f"the focal lengths must be positive, got fx {fx:g} and fy {fy:g}")
        if not 1 / FOCAL_RATIO < fx / fy < FOCAL_RATIO:
            raise ValueError(f"fx {fx:g} and fy {fy:g} differ more than any lens makes them")
        low, high = (share * max(self.width, self.height) for share in FOCAL_SHARE)
        if not low <= fx <= high:
            raise ValueError(
                f"the focal length is {fx:g} px, expected {low:g} to {high:g} for a frame of "
                f"{self.width}x{self.height}: is it in millimetres?"
            )
        if not (0 < cx < self.width and 0 < cy < self.height):
            raise ValueError(
                f"the principal point ({cx:g}, {cy:g}) lies outside the frame of "
                f"{self.width}x{self.height}: is this the calibration of another resolution?"
            )
        if not np.array_equal(self.K, [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]):
            raise ValueError(
                f"K must be [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], got {self.K.tolist()}"
            )

    def check_lens(self) -> None:
        """
        Raise ValueError if no lens of this frame has such a distortion.

        Pixels are undistorted and distorted again. Towards the corners a polynomial may fold, or
        bend a ray far from that of a pinhole. If it does so over more than half of the frame, the
        coefficients are not of this camera.
        """
        x, y = (np.linspace(0, side - 1, LENS_GRID) for side in (self.width, self.height))
        pixels = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        rays = self.rays(pixels)
        off = np.abs(self.project(rays) - pixels).max(1)
        straight = np.hypot(*((pixels - self.K[:2, 2]) / (self.fx, self.fy)).T)
        with np.errstate(all="ignore"):  # NaN counts as not restored
            turned = np.hypot(*rays[:, :2].T)
            if self.model == "fisheye":  # its pixels are linear in the angle
                turned = np.arctan(turned)
            stretch = turned / np.maximum(straight, 1e-9)
        share = float(((off < 1) & (stretch < LENS_STRETCH) & (stretch > 1 / LENS_STRETCH)).mean())
        if share < LENS_SHARE:
            raise ValueError(
                f"the {self.model} distortion {brief(self.distortion.tolist())} folds or squeezes "
                f"the picture: {share:.0%} of its pixels have a usable direction; are the "
                "coefficients in the order k1 k2 p1 p2 k3, and of this camera?"
            )

    @property
    def fx(self) -> float:
        """Focal length along x [px]."""
        return float(self.K[0, 0])

    @property
    def fy(self) -> float:
        """Focal length along y [px]."""
        return float(self.K[1, 1])

    def project(self, points: Floats) -> Floats:
        """Pixels (N, 2) of points (N, 3) in this camera's frame; their z must be positive."""
        zero = np.zeros(3)
        shaped = np.ascontiguousarray(points, np.float64).reshape(-1, 1, 3)
        if self.model == "fisheye":
            pixels = cv2.fisheye.projectPoints(shaped, zero, zero, self.K, self.distortion)[0]
        else:
            pixels = cv2.projectPoints(shaped, zero, zero, self.K, self.distortion)[0]
        return cast(Floats, pixels.reshape(-1, 2))

    def rays(self, pixels: Floats) -> Floats:
        """Undistorted directions (N, 3) with z = 1 through pixels (N, 2)."""
        shaped = np.ascontiguousarray(pixels, np.float64).reshape(-1, 1, 2)
        undistort = cv2.fisheye.undistortPoints if self.model == "fisheye" else cv2.undistortPoints
        plane = undistort(shaped, self.K, self.distortion, criteria=UNDISTORT).reshape(-1, 2)
        return np.column_stack([plane, np.ones(len(plane))])

    def sees(self, points: Floats) -> NDArray[np.bool_]:
        """
        Mask (N,) of the points (N, 3) in front and within the valid field of the lens model.

        Beyond the frame's corners a distortion polynomial may turn back and show ghosts.
        """
        right, bottom = self.width - 1, self.height - 1
        corners = self.rays(np.array([[0, 0], [right, 0], [0, bottom], [right, bottom]], float))
        limit = MODEL_RADIUS * np.hypot(corners[:, 0], corners[:, 1]).max()
        z = np.maximum(points[:, 2], np.finfo(float).eps)
        near = np.hypot(points[:, 0] / z, points[:, 1] / z) < limit
        return cast(NDArray[np.bool_], (points[:, 2] > 0) & near)


@dataclass(frozen=True)
class Rig:
    """
    A visible and an infrared camera, fixed to one another.

    `T_infrared_visible` takes a point from the visible camera's frame to the infrared camera's:
    x_infrared = T_infrared_visible @ x_visible, metres.
    Raises ValueError for numbers that no rig has.
    """

    visible: Camera
    infrared: Camera
    T_infrared_visible: Floats  # (4, 4) [m]
    baseline_std_m: float | None = None  # [m] one standard deviation
    source: str = ""  # provenance, in words
    frames: Cameras = field(default_factory=Cameras)  # camera profiles of their frames

    def __post_init__(self) -> None:
        T = self.T_infrared_visible
        if T.shape != (4, 4) or not np.isfinite(T).all():
            raise ValueError(
                f"T_infrared_visible must be 4x4 finite numbers, got {brief(T.tolist())}"
            )
        if not np.array_equal(T[3], [0, 0, 0, 1]):
            raise ValueError(
                f"the last row of T_infrared_visible is {T[3].tolist()}, expected [0, 0, 0, 1]: "
                "is the matrix transposed?"
            )
        _check_rotation(self.R)
        self._check_baseline()
        for name, camera in (("visible", self.visible), ("infrared", self.infrared)):
            try:
                camera.check_lens()
            except ValueError as error:
                raise ValueError(f"the {name} camera: {error}") from None

    def _check_baseline(self) -> None:
        low, high = BASELINE_M
        if not low <= self.baseline_m <= high:
            raise ValueError(
                f"the baseline is {self.baseline_m:g} m, expected {low:g} to {high:g} m: "
                "are the translations in metres?"
            )

    @property
    def R(self) -> Floats:
        """Rotation (3, 3) from the visible camera's frame to the infrared camera's."""
        return self.T_infrared_visible[:3, :3]

    @property
    def t(self) -> Floats:
        """Position (3,) of the visible camera in the infrared camera's frame [m]."""
        return self.T_infrared_visible[:3, 3]

    @property
    def baseline_m(self) -> float:
        """Distance between the two cameras [m]."""
        return float(np.hypot(np.hypot(*self.t[:2]), self.t[2]))  # no overflow

    @property
    def infrared_position_m(self) -> Floats:
        """Position (3,) of the infrared camera in the visible camera's frame [m]."""
        return -self.R.T @ self.t


@dataclass(frozen=True)
class Homography:
    """A rig without calibration: the pixel transform of one plane, visible to infrared."""

    visible_size: tuple[int, int]  # width, height [px]
    infrared_size: tuple[int, int]  # width, height [px]
    H_infrared_visible: Floats  # (3, 3) pixel (x, y, 1) in visible -> in infrared, up to scale
    frames: Cameras = field(default_factory=Cameras)  # camera profiles of their frames
    source: str = ""  # provenance, in words

    def __post_init__(self) -> None:
        H = self.H_infrared_visible
        if H.shape != (3, 3) or not np.isfinite(H).all():
            raise ValueError(
                f"H_infrared_visible must be 3x3 finite numbers, got {brief(H.tolist())}"
            )
        for size in (self.visible_size, self.infrared_size):
            check_size(size)
        largest = np.abs(H).max()
        unit = H / largest if largest > 0 else H
        if not abs(np.linalg.det(unit)) >= 1e-12 * np.linalg.norm(unit) ** 3 > 0:
            raise ValueError("H_infrared_visible flattens the frame to a line: it has no inverse")


def trim_coefficients(coefficients: Floats, model: Model) -> Floats:
    """
    Distortion coefficients without trailing zeros, as `Camera` takes them.

    Raises ValueError if a coefficient that `Camera` does not take is not zero.
    """
    count = coefficients.size
    if model != "radtan" or coefficients.ndim != 1 or count not in WRITTEN:
        return coefficients  # `Camera` says what it takes
    if count > 8 and coefficients[8:].any():
        raise ValueError(
            f"the distortion has {count} numbers, and thin prisms or a tilted sensor in "
            f"{brief(coefficients[8:].tolist())}: calibrate with 5 or 8"
        )
    kept = 8 if coefficients[5:8].any() else 5
    return np.resize(np.append(coefficients, np.zeros(8)), kept)


def check_size(size: tuple[int, int]) -> None:
    """Raise ValueError for a width and height [px] that no frame has."""
    width, height = size
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise ValueError(
            f"a frame of {brief(width)}x{brief(height)} pixels, expected 1 to {MAX_SIDE:,} a side "
            f"and at most {MAX_PIXELS:,} pixels"
        )


def _check_rotation(R: Floats) -> None:
    within = np.abs(R).max() < 2  # else the product may be infinite
    off = float(np.abs(R @ R.T - np.eye(3)).max()) if within else float(np.abs(R).max())
    if off > ROTATION_TOLERANCE:
        raise ValueError(
            f"the rotation in T_infrared_visible is not orthonormal (off by {off:.2g}): "
            "were its numbers rounded or mixed up?"
        )
    if np.linalg.det(R) < 0:
        raise ValueError(
            "the rotation in T_infrared_visible mirrors (determinant -1): is an axis flipped?"
        )
