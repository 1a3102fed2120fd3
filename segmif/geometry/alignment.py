"""Alignment: the infrared frame warped into the visible view."""

from dataclasses import dataclass
from typing import TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.geometry.rig import Floats, Homography, Rig

Pixels = TypeVar("Pixels", bound=NDArray[np.uint8] | NDArray[np.uint16])

PIECE = 1 << 18  # visible pixels computed at a time
MIN_SHARE, MIN_PX = 0.001, 4  # of the visible view; of the infrared frame, along either side
OUTSIDE = -2.0  # [px] so far out that no neighbour of a bilinear sample lies in the frame
NO_FRACTION = np.empty((0, 0), np.uint16)


@dataclass(frozen=True)
class Alignment:
    """Infrared position of each visible pixel, in the fixed-point form of cv2.remap."""

    whole: NDArray[np.int16]  # (H, W, 2) infrared x, y [px]
    fraction: NDArray[np.uint16]  # (H, W) index of the bilinear weights
    seen: NDArray[np.bool_]  # (H, W) the infrared camera sees this visible pixel's point
    infrared_size: tuple[int, int]  # width, height [px]

    def apply(self, infrared: Pixels, *, nearest: bool = False) -> Pixels:
        """
        Warp a raw infrared frame into the visible view (H, W); pixels that it does not see are 0.

        Bilinear, or the `nearest` pixel. Raises ValueError for a frame of another size than the
        rig's.
        """
        height, width = infrared.shape[:2]
        if (width, height) != self.infrared_size:
            raise ValueError(
                f"the infrared frame is {width}x{height}, the rig was calibrated at "
                f"{self.infrared_size[0]}x{self.infrared_size[1]}"
            )
        if nearest:
            return cast(
                Pixels, cv2.remap(infrared, self._rounded(), NO_FRACTION, cv2.INTER_NEAREST)
            )
        return cast(Pixels, cv2.remap(infrared, self.whole, self.fraction, cv2.INTER_LINEAR))

    def _rounded(self) -> NDArray[np.int16]:
        """Whole positions (H, W, 2) [px]; with `whole` alone, cv2.remap would round down."""
        steps = cv2.INTER_TAB_SIZE
        right, down = self.fraction % steps, self.fraction // steps
        return self.whole + (np.dstack([right, down]) * 2 >= steps)


def align(rig: Rig | Homography, depth_m: float = np.inf) -> Alignment:
    """
    Prepare the warp of infrared into the raw visible view for a plane at `depth_m` [m].

    The plane is parallel to the visible image, so every pixel's point is its ray times the depth.
    A homography has its own plane and ignores the depth. Raises ValueError for a depth <= 0, and
    for a warp that shows nothing.
    """
    if isinstance(rig, Homography):
        width, height = rig.visible_size
        infrared_size = rig.infrared_size
    elif not depth_m > 0:
        raise ValueError(f"the depth is {depth_m} m, expected more than 0")
    else:
        width, height = rig.visible.width, rig.visible.height
        infrared_size = rig.infrared.width, rig.infrared.height
    maps = np.empty((2, height * width), np.float32)
    seen = np.empty(height * width, np.bool_)
    for start in range(0, height * width, PIECE):  # a large frame at once would take gigabytes
        piece = slice(start, min(start + PIECE, height * width))
        y, x = np.divmod(np.arange(piece.start, piece.stop, dtype=np.float64), width)
        with np.errstate(all="ignore"):  # what is not finite is not seen
            maps[:, piece], seen[piece] = _sampling_maps(
                _infrared_pixels(rig, depth_m, x, y), infrared_size
            )
    _check_shows(maps, seen, rig, depth_m)
    across, down = (axis.reshape(height, width) for axis in maps)
    whole, fraction = cv2.convertMaps(across, down, cv2.CV_16SC2)
    return Alignment(
        cast(NDArray[np.int16], whole),
        cast(NDArray[np.uint16], fraction),
        seen.reshape(height, width),
        infrared_size,
    )


def _infrared_pixels(rig: Rig | Homography, depth_m: float, x: Floats, y: Floats) -> Floats:
    """Infrared pixels (2, N) of visible ones (N,), (N,); `OUTSIDE` for unseen ones."""
    if isinstance(rig, Homography):
        x, y, w = rig.H_infrared_visible @ np.stack([x, y, np.ones_like(x)])
        return np.where(_facing(rig) * w > 0, np.stack([x / w, y / w]), OUTSIDE)
    rays = rig.visible.rays(np.stack([x, y], axis=1))
    # Scaled by 1 / depth: the projection is the same, and depth may be infinite.
    points = rays @ rig.R.T + rig.t / depth_m
    pixels = np.full((len(points), 2), OUTSIDE)
    sees = rig.infrared.sees(points)
    if sees.any():
        pixels[sees] = rig.infrared.project(points[sees])
    return pixels.T


def _facing(rig: Homography) -> float:
    """
    The sign of a homography's third coordinate before its plane's horizon; beyond it, the plane
    is behind a camera, and a pixel there would show what lies in front, mirrored.
    """
    right, bottom = (side - 1 for side in rig.visible_size)
    corners = np.array([[0, right, 0, right], [0, 0, bottom, bottom], [1, 1, 1, 1]])
    w = rig.H_infrared_visible[2] @ corners
    if (w > 0).all() or (w < 0).all():
        return float(np.sign(w[0]))
    H = rig.H_infrared_visible
    return float(np.sign(np.linalg.det(H / np.abs(H).max())))  # where it does not mirror


def _sampling_maps(pixels: Floats, size: tuple[int, int]) -> tuple[Floats, NDArray[np.bool_]]:
    """Positions (2, N) to sample an infrared frame, and a mask (N,) of those inside it."""
    x, y = pixels
    inside = (x >= 0) & (x <= size[0] - 1) & (y >= 0) & (y <= size[1] - 1)
    # One pixel of border stays for the bilinear edge. All else becomes one position outside: the
    # 16-bit maps must not overflow.
    near = (x > -1) & (x < size[0]) & (y > -1) & (y < size[1])
    return np.where(near, pixels, OUTSIDE), inside


def _check_shows(
    maps: NDArray[np.float32], seen: NDArray[np.bool_], rig: Rig | Homography, depth_m: float
) -> None:
    """Raise ValueError for a warp that uses next to nothing of either frame."""
    share = float(seen.mean())
    spans = [float(np.ptp(axis[seen])) + 1 for axis in maps] if share else [0.0, 0.0]
    if share >= MIN_SHARE and min(spans) >= MIN_PX:
        return
    at_depth = "" if isinstance(rig, Homography) else f" at a depth of {depth_m:g} m"
    raise ValueError(
        f"the rig brings no picture into the visible view{at_depth}: infrared covers {share:.2%} "
        f"of it, from {spans[0]:.0f}x{spans[1]:.0f} infrared pixels; expected {MIN_SHARE:.1%} or "
        f"more from {MIN_PX}x{MIN_PX} or more: check the depth, and that the rig file is of "
        "these cameras"
    )


def parallax_px(rig: Rig, plane_m: float, depth_m: float) -> float:
    """
    Misalignment [px of the visible frame] of a point at `depth_m` if `plane_m` is aligned.

    |f B (1/Z - 1/Z0)|: the difference of the disparities at Z and Z0. B is the part of the
    baseline across the visible camera's axis. Depths may be infinite.
    """
    across_m = float(np.hypot(*rig.infrared_position_m[:2]))
    return abs(rig.visible.fx * across_m * (1 / depth_m - 1 / plane_m))


def parallax_direction(rig: Rig | Homography) -> Floats | None:
    """
    Unit vector (2,) in the visible frame along which points off the plane are misaligned.

    None for a homography.
    """
    if isinstance(rig, Homography):
        return None
    across = rig.infrared_position_m[:2]
    return across / max(float(np.linalg.norm(across)), np.finfo(float).tiny)


def check_sizes(rig: Rig | Homography, visible: tuple[int, int], infrared: tuple[int, int]) -> None:
    """Raise ValueError for frames of other sizes (width, height) [px] than the rig's."""
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
