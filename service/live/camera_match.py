"""Whether the cameras that sources state, such as by CameraInfo, are those of the rig file."""

import logging
from dataclasses import replace

import numpy as np

from segmif.geometry.cameras import Camera, Homography, Rig
from segmif.sources.frame import Part, SourceFrame
from segmif.thermal.camera_profile import Cameras, Crop

GRID = 16  # pixels along a side that are compared
# Of the frame's width: 3 px of 640, about what pairs are off in data sets that count as aligned.
LARGEST_SHARE = 0.005

logger = logging.getLogger(__name__)


class CameraMatch:
    """Compares the intrinsics that come with frames with those of a rig file."""

    def __init__(self, rig: Rig | Homography | None) -> None:
        """A homography, or no rig, has nothing to compare with."""
        self._rig = rig if isinstance(rig, Rig) else None
        # The camera stated last, its crop, and whether it differs.
        self._last: dict[Part, tuple[Camera, Crop | None, bool]] = {}

    def flags(
        self, visible: SourceFrame | None, infrared: SourceFrame | None, cameras: Cameras
    ) -> tuple[str, ...]:
        """
        `visible_calibration` or `infrared_calibration` for a frame of another camera.

        `cameras`: their profiles. A source states its camera before the crop, a rig file after it.
        """
        if self._rig is None:
            return ()
        own = self._rig
        sides: tuple[tuple[Part, Camera, SourceFrame | None, Crop | None], ...] = (
            ("visible", own.visible, visible, cameras.visible.crop),
            ("infrared", own.infrared, infrared, cameras.infrared.crop),
        )
        return tuple(
            f"{part}_calibration"
            for part, camera, frame, crop in sides
            if frame and frame.camera and self._differs(part, camera, frame.camera, crop)
        )

    def _differs(self, part: Part, own: Camera, stated: Camera, crop: Crop | None) -> bool:
        """Whether a stated camera differs from our own; logged once for each that does."""
        last = self._last.get(part)
        if last and last[0] is stated and last[1] == crop:
            return last[2]
        cropped = _cropped(stated, crop)
        off_px = difference_px(own, cropped)
        differs = off_px > LARGEST_SHARE * own.width
        self._last[part] = stated, crop, differs
        if differs:
            logger.warning("%s", _message(part, own, cropped, off_px))
        return differs


def difference_px(first: Camera, second: Camera) -> float:
    """How far apart [px] two cameras see the same rays, median over the frame; inf: other sizes."""
    if (first.width, first.height) != (second.width, second.height):
        return float("inf")
    x, y = (np.linspace(0, side - 1, GRID) for side in (first.width, first.height))
    pixels = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    with np.errstate(all="ignore"):  # what is no number counts as different
        off = np.hypot(*(second.project(first.rays(pixels)) - pixels).T)
    return float(np.median(np.nan_to_num(off, nan=np.inf)))


def _cropped(camera: Camera, crop: Crop | None) -> Camera:
    """The camera of cropped frames."""
    if crop is None:
        return camera
    K = camera.K.copy()
    K[:2, 2] -= crop.left, crop.top
    width, height = camera.width - crop.left - crop.right, camera.height - crop.top - crop.bottom
    try:
        return replace(camera, width=width, height=height, K=K)
    except ValueError:  # the crop was made for other frames
        return camera


def _message(part: Part, own: Camera, stated: Camera, off_px: float) -> str:
    sizes = f"{own.width}x{own.height} and {stated.width}x{stated.height}"
    focal = f"focal lengths {own.fx:.1f} and {stated.fx:.1f} px"
    return (
        f"{part}: the rig file and the camera_info of the source are not of one camera: {sizes}, "
        f"{focal}, {off_px:.1f} px apart at the median; calibrate again, or mend the one that is "
        "wrong"
    )
