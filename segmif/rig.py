"""
The two cameras of a rig, where they stand, and the file that says so.

Camera frames: x to the right, y down, z forward along the optical axis, in metres. Pixels: (x, y),
the centre of the top left pixel is (0, 0).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from segmif.images import write_bytes
from segmif.manifest import sha256

Floats = NDArray[np.float64]
Model = Literal["radtan", "fisheye"]

COEFFICIENTS: dict[Model, tuple[int, ...]] = {"radtan": (5, 8), "fisheye": (4,)}
BASELINE_M = (1e-3, 5.0)
FOCAL_RATIO = 2.0  # fx to fy: lenses stretched more than that are a mistake in the file
ROTATION_TOLERANCE = 1e-4  # what six written decimals leave, and far below any real mistake
POSITION_TOLERANCE = 1e-3  # of the baseline
MODEL_RADIUS = 1.1  # a lens polynomial is trusted this much beyond the corners of its own frame
# More than the default of five steps: strong distortion needs them towards the corners.
UNDISTORT = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-10)


@dataclass(frozen=True)
class Camera:
    """
    One camera: frame size, pinhole matrix and lens distortion.

    `radtan` has 5 (k1 k2 p1 p2 k3) or 8 (and k4 k5 k6) coefficients, `fisheye` 4 (k1..k4), in the
    order and with the formulas of OpenCV's calib3d and calib3d::fisheye.
    Raises ValueError with a sentence for what cannot be a camera.
    """

    width: int  # [px]
    height: int  # [px]
    K: Floats  # (3, 3) [px]
    distortion: Floats  # (5,), (8,) or (4,)
    model: Model = "radtan"

    def __post_init__(self) -> None:
        if self.width <= 0 or self.height <= 0:
            raise ValueError(f"a frame of {self.width}x{self.height} pixels is none")
        if self.model not in COEFFICIENTS:
            raise ValueError(f"the lens model is {self.model!r}, expected radtan or fisheye")
        self._check_numbers()
        self._check_matrix()

    def _check_numbers(self) -> None:
        if self.K.shape != (3, 3) or not np.isfinite(self.K).all():
            raise ValueError(f"K must be 3x3 finite numbers, got {self.K.tolist()}")
        counts = COEFFICIENTS[self.model]
        if self.distortion.shape not in [(count,) for count in counts]:
            raise ValueError(
                f"{self.model} takes {' or '.join(map(str, counts))} distortion coefficients, "
                f"got {self.distortion.size}"
            )
        if not np.isfinite(self.distortion).all():
            raise ValueError(f"the distortion is not finite: {self.distortion.tolist()}")

    def _check_matrix(self) -> None:
        fx, fy, cx, cy = self.fx, self.fy, self.K[0, 2], self.K[1, 2]
        if fx <= 0 or fy <= 0:
            raise ValueError(f"the focal lengths must be positive, got fx {fx:g} and fy {fy:g}")
        if not 1 / FOCAL_RATIO < fx / fy < FOCAL_RATIO:
            raise ValueError(f"fx {fx:g} and fy {fy:g} differ more than any lens makes them")
        if not (0 < cx < self.width and 0 < cy < self.height):
            raise ValueError(
                f"the principal point ({cx:g}, {cy:g}) lies outside the frame of "
                f"{self.width}x{self.height}: is this the calibration of another resolution?"
            )
        if not np.array_equal(self.K, [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]):
            raise ValueError(
                f"K must be [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], got {self.K.tolist()}"
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
        Which of the points (N, 3) lie in front, and within the field that the lens model describes.

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
    Raises ValueError with a sentence for what cannot be a rig.
    """

    visible: Camera
    infrared: Camera
    T_infrared_visible: Floats  # (4, 4) [m]
    baseline_std_m: float | None = None  # [m] one standard deviation
    source: str = ""  # what it was made from, in words

    def __post_init__(self) -> None:
        T = self.T_infrared_visible
        if T.shape != (4, 4) or not np.isfinite(T).all():
            raise ValueError(f"T_infrared_visible must be 4x4 finite numbers, got {T.tolist()}")
        if not np.array_equal(T[3], [0, 0, 0, 1]):
            raise ValueError(
                f"the last row of T_infrared_visible is {T[3].tolist()}, expected [0, 0, 0, 1]: "
                "is the matrix transposed?"
            )
        _check_rotation(self.R)
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
        """Place (3,) of the visible camera in the infrared camera's frame [m]."""
        return self.T_infrared_visible[:3, 3]

    @property
    def baseline_m(self) -> float:
        """Distance between the two cameras [m]."""
        return float(np.linalg.norm(self.t))

    @property
    def infrared_position_m(self) -> Floats:
        """Place (3,) of the infrared camera in the visible camera's frame [m]."""
        return -self.R.T @ self.t


@dataclass(frozen=True)
class Homography:
    """Instead of a rig, where no board was seen: one plane's pixels, visible to infrared."""

    visible_size: tuple[int, int]  # width, height [px]
    infrared_size: tuple[int, int]  # width, height [px]
    H_infrared_visible: Floats  # (3, 3) pixel (x, y, 1) in visible -> in infrared, up to scale

    def __post_init__(self) -> None:
        H = self.H_infrared_visible
        if H.shape != (3, 3) or not np.isfinite(H).all():
            raise ValueError(f"H_infrared_visible must be 3x3 finite numbers, got {H.tolist()}")
        if not min(*self.visible_size, *self.infrared_size) > 0:
            raise ValueError(f"frames of {self.visible_size} and {self.infrared_size} are none")
        if abs(np.linalg.det(H)) < 1e-12 * np.linalg.norm(H) ** 3:
            raise ValueError("H_infrared_visible flattens the frame to a line: it has no inverse")


def _check_rotation(R: Floats) -> None:
    off = float(np.abs(R @ R.T - np.eye(3)).max())
    if off > ROTATION_TOLERANCE:
        raise ValueError(
            f"the rotation in T_infrared_visible is not orthonormal (off by {off:.2g}): "
            "were its numbers rounded or mixed up?"
        )
    if np.linalg.det(R) < 0:
        raise ValueError(
            "the rotation in T_infrared_visible mirrors (determinant -1): is an axis flipped?"
        )


def read_rig(path: Path) -> Rig | Homography:
    """Read rig.yaml; raises OSError, or ValueError with the path and what is wrong with it."""
    try:
        document = yaml.safe_load(path.read_text("utf-8"))
        if not isinstance(document, dict):
            raise ValueError("not a rig file: expected `format: segmif-rig 1`")
        if document.get("format") == "segmif-homography 1":
            return _homography(document)
        if document.get("format") != "segmif-rig 1":
            raise ValueError(f"the format is {document.get('format')!r}, expected `segmif-rig 1`")
        return _rig(document)
    except KeyError as error:
        raise ValueError(f"{path}: {error} is missing") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def fingerprint(path: Path) -> str:
    """The first 12 hexadecimal digits of a rig file's SHA-256, as the service reports it."""
    return sha256(path)[:12]


def write_rig(path: Path, rig: Rig | Homography) -> None:
    """Write rig.yaml whole or not at all; numbers are exact."""
    text = _rig_text(rig) if isinstance(rig, Rig) else _homography_text(rig)
    write_bytes(path, text.encode())


def camera_from(document: dict[str, object]) -> Camera:
    """A camera from the fields of rig.yaml; raises KeyError, TypeError or ValueError."""
    return Camera(
        _whole(document["width"], "width"),
        _whole(document["height"], "height"),
        numbers(document["K"], "K"),
        numbers(document["distortion"], "distortion"),
        cast(Model, document["model"]),
    )


def numbers(value: object, name: str) -> Floats:
    """A list (of lists) from a file as an array; raises ValueError that calls it `name`."""
    try:
        return np.array(value, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be rows of numbers, got {value}") from None


def _whole(value: object, name: str) -> int:
    if not isinstance(value, int):
        raise ValueError(f"{name} must be a whole number of pixels, got {value!r}")
    return value


def _rig(document: dict[str, object]) -> Rig:
    cameras = []
    for name in ("visible", "infrared"):
        try:
            cameras.append(camera_from(cast(dict[str, object], document[name])))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"the {name} camera: {error}") from None
    std = document.get("baseline_std_m")
    T = numbers(document["T_infrared_visible"], "T_infrared_visible")
    source = str(document.get("source") or "")
    rig = Rig(cameras[0], cameras[1], T, None if std is None else float(cast(float, std)), source)
    if "infrared_position_m" in document:
        _check_position(rig, numbers(document["infrared_position_m"], "infrared_position_m"))
    return rig


def _check_position(rig: Rig, stated: Floats) -> None:
    # A transposed rotation is a rotation too: only a second statement of the same fact shows it.
    off = float(np.abs(rig.infrared_position_m - stated).max()) if stated.shape == (3,) else np.nan
    if not off <= POSITION_TOLERANCE * rig.baseline_m:
        raise ValueError(
            f"T_infrared_visible puts the infrared camera at {rig.infrared_position_m.round(4)} m, "
            f"infrared_position_m says {stated.tolist()}: is the rotation transposed, or the "
            "direction turned round?"
        )


def _homography(document: dict[str, object]) -> Homography:
    sizes = [numbers(document[name], name) for name in ("visible_size", "infrared_size")]
    if any(size.shape != (2,) or (size % 1).any() for size in sizes):
        raise ValueError("visible_size and infrared_size must be [width, height] in pixels")
    (a, b), (c, d) = (size.astype(int).tolist() for size in sizes)
    H = numbers(document["H_infrared_visible"], "H_infrared_visible")
    return Homography((a, b), (c, d), H)


def _rig_text(rig: Rig) -> str:
    std = "null" if rig.baseline_std_m is None else repr(float(rig.baseline_std_m))
    return f"""\
format: segmif-rig 1
source: {yaml.safe_dump(rig.source, default_style='"', width=10**6).strip()}
# Frames: x right, y down, z forward, metres. Pixels: centre of the top left one is (0, 0).
visible:
{_camera_text(rig.visible)}
infrared:
{_camera_text(rig.infrared)}
# x_infrared = T_infrared_visible @ x_visible: a point in the visible camera's frame goes to the
# infrared camera's frame, metres.
T_infrared_visible:
{_rows(rig.T_infrared_visible, 2)}
# The same once more, as a check: where the infrared camera stands in the visible camera's frame.
infrared_position_m: {rig.infrared_position_m.tolist()}
baseline_m: {rig.baseline_m!r}
baseline_std_m: {std}
"""


def _camera_text(camera: Camera) -> str:
    return f"""\
  width: {camera.width}  # px
  height: {camera.height}  # px
  model: {camera.model}
  K:  # px
{_rows(camera.K, 4)}
  distortion: {camera.distortion.tolist()}"""


def _homography_text(homography: Homography) -> str:
    return f"""\
format: segmif-homography 1
visible_size: {list(homography.visible_size)}  # width, height, px
infrared_size: {list(homography.infrared_size)}  # width, height, px
# (x, y, 1)_infrared ~ H_infrared_visible @ (x, y, 1)_visible, pixels.
H_infrared_visible:
{_rows(homography.H_infrared_visible, 2)}
"""


def _rows(matrix: Floats, indent: int) -> str:
    return "\n".join(f"{' ' * indent}- {row}" for row in matrix.tolist())
