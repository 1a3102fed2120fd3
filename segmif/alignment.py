"""The infrared frame brought into the visible camera's own pixels."""

from dataclasses import dataclass
from typing import TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.rig import Floats, Homography, Rig

Pixels = TypeVar("Pixels", NDArray[np.uint8], NDArray[np.uint16])

OUTSIDE = -2.0  # [px] so far out that no neighbour of a bilinear sample lies in the frame


@dataclass(frozen=True)
class Alignment:
    """Where each visible pixel lies in the infrared frame, in the form cv2.remap is fast on."""

    whole: NDArray[np.int16]  # (H, W, 2) infrared x, y [px]
    fraction: NDArray[np.uint16]  # (H, W) index of the bilinear weights
    seen: NDArray[np.bool_]  # (H, W) the infrared camera sees this visible pixel's point
    infrared_size: tuple[int, int]  # width, height [px]

    def apply(self, infrared: Pixels) -> Pixels:
        """
        Warp a raw infrared frame into the visible view (H, W), 0 where the camera does not see.

        Raises ValueError for a frame of another size than the rig's.
        """
        height, width = infrared.shape[:2]
        if (width, height) != self.infrared_size:
            raise ValueError(
                f"the infrared frame is {width}x{height}, the rig was calibrated at "
                f"{self.infrared_size[0]}x{self.infrared_size[1]}"
            )
        return cast(Pixels, cv2.remap(infrared, self.whole, self.fraction, cv2.INTER_LINEAR))


def align(rig: Rig | Homography, depth_m: float = np.inf) -> Alignment:
    """
    Prepare the warp of infrared into the raw visible view for a plane `depth_m` before the rig.

    The plane is parallel to the visible image, so every pixel's point is its ray times the depth.
    A homography has its own plane and ignores the depth. Raises ValueError for a depth <= 0.
    """
    if isinstance(rig, Homography):
        width, height = rig.visible_size
        x, y, w = rig.H_infrared_visible @ _homogeneous(width, height)
        safe = np.where(np.abs(w) < 1e-12, 1e-12, w)
        return _fixed_point(np.stack([x / safe, y / safe]), width, height, rig.infrared_size)
    if not depth_m > 0:
        raise ValueError(f"the depth is {depth_m} m, expected more than 0")
    width, height = rig.visible.width, rig.visible.height
    rays = rig.visible.rays(_homogeneous(width, height)[:2].T)
    # Scaled by 1 / depth, which no projection notices and which makes infinity an ordinary depth.
    points = rays @ rig.R.T + rig.t / depth_m
    pixels = np.full((len(points), 2), OUTSIDE)
    sees = rig.infrared.sees(points)
    if sees.any():
        pixels[sees] = rig.infrared.project(points[sees])
    infrared_size = (rig.infrared.width, rig.infrared.height)
    return _fixed_point(pixels.T, width, height, infrared_size)


def parallax_px(rig: Rig, plane_m: float, depth_m: float) -> float:
    """
    How far a thing at `depth_m` is misplaced when `plane_m` is aligned [px of the visible frame].

    |f B (1/Z - 1/Z0)| with B the part of the baseline across the visible camera's axis: the
    disparity of a fronto-parallel stereo pair at Z less that at Z0. Infinity is a depth.
    """
    across_m = float(np.hypot(*rig.infrared_position_m[:2]))
    return abs(rig.visible.fx * across_m * (1 / depth_m - 1 / plane_m))


def parallax_direction(rig: Rig | Homography) -> Floats | None:
    """
    Unit vector (2,) of the visible image along which a thing off the plane is misplaced.

    None for a homography, which does not know it.
    """
    if isinstance(rig, Homography):
        return None
    across = rig.infrared_position_m[:2]
    return across / max(float(np.linalg.norm(across)), np.finfo(float).tiny)


def check_sizes(rig: Rig | Homography, visible: tuple[int, int], infrared: tuple[int, int]) -> None:
    """Refuse frames of other sizes (width, height) than the rig's, with a sentence (ValueError)."""
    if isinstance(rig, Rig):
        expected = {
            "visible": (rig.visible.width, rig.visible.height),
            "infrared": (rig.infrared.width, rig.infrared.height),
        }
    else:
        expected = {"visible": rig.visible_size, "infrared": rig.infrared_size}
    for name, size in (("visible", visible), ("infrared", infrared)):
        if size != expected[name]:
            raise ValueError(
                f"the {name} frame is {size[0]}x{size[1]}, the rig was calibrated at "
                f"{expected[name][0]}x{expected[name][1]}"
            )


def _homogeneous(width: int, height: int) -> Floats:
    """Pixels as (3, H W): x, y, 1 row by row."""
    y, x = np.divmod(np.arange(width * height), width)
    return np.stack([x, y, np.ones_like(x)]).astype(np.float64)


def _fixed_point(pixels: Floats, width: int, height: int, size: tuple[int, int]) -> Alignment:
    x, y = pixels
    inside = (x >= 0) & (x <= size[0] - 1) & (y >= 0) & (y <= size[1] - 1)
    # Half a pixel of border is kept for the bilinear edge, all else is one place outside, so that
    # nothing overflows the 16-bit maps.
    near = (x > -1) & (x < size[0]) & (y > -1) & (y < size[1])
    x, y = (np.where(near, axis, OUTSIDE).astype(np.float32) for axis in (x, y))
    shape = (height, width)
    whole, fraction = cv2.convertMaps(x.reshape(shape), y.reshape(shape), cv2.CV_16SC2)
    return Alignment(
        cast(NDArray[np.int16], whole),
        cast(NDArray[np.uint16], fraction),
        inside.reshape(shape),
        size,
    )
