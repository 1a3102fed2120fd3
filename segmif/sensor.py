"""From what a camera sends to its picture: rows of telemetry, the order of bytes."""

from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from segmif.camera import CameraProfile, Crop
from segmif.image_header import ImageError

Infrared = NDArray[np.uint8] | NDArray[np.uint16]
Frame = TypeVar("Frame", bound=NDArray[Any])

# (width, height) of the thermal sensors in use, in pixels.
SENSORS = (
    *((80, 60), (80, 80), (120, 90), (160, 120), (206, 156), (240, 180), (256, 192), (320, 240)),
    *((320, 256), (336, 256), (348, 288), (382, 288), (384, 288), (400, 300), (464, 348)),
    *((480, 360), (512, 384), (512, 512), (640, 480), (640, 512), (800, 600), (1024, 768)),
    *((1024, 1024), (1280, 720), (1280, 960), (1280, 1024), (1920, 1080), (1920, 1536)),
)
STACKED = (256, 384)  # the picture of 256x192 and, below it, its temperatures
TELEMETRY_ROWS = 8  # at most, above or below the picture
ROUGHNESS = 0.03  # 1 less the correlation of neighbours, from which on a frame is suspected
SMOOTHER = 2.5  # times: so much smoother are counts with their bytes in the right order
EVERY = 4  # rows looked at
CLIPPED = (12.5, 87.5)  # percentiles of the counts that are compared


def infrared_picture(pixels: Infrared, profile: CameraProfile) -> Infrared:
    """
    The picture in an infrared frame (H, W): bytes in order, without what is to be cut.

    Raises ImageError for a crop that leaves nothing, and for counts whose bytes seem swapped.
    """
    if pixels.dtype == np.uint16:
        counts = cast(NDArray[np.uint16], pixels)
        if profile.byte_order == "swapped":
            pixels = counts.byteswap()
        elif profile.byte_order is None and seems_swapped(counts):
            raise ImageError(
                "byte_order",
                "the two bytes of each count seem to have changed places: neighbours differ as "
                "noise does, and are smooth with the bytes swapped; write the counts in the "
                "format's byte order, or state infrared_byte_order=swapped (native if this is "
                "right)",
            )
    return cropped(pixels, profile.crop)


def cropped(pixels: Frame, crop: Crop | None) -> Frame:
    """The picture within a frame (H, W, ...); raises ImageError if nothing is left."""
    if crop is None:
        return pixels
    try:
        return cast(Frame, np.ascontiguousarray(crop.apply(pixels)))
    except ValueError as error:
        raise ImageError("crop", str(error)) from error


def has_telemetry(shape: tuple[int, ...]) -> bool:
    """Whether a frame (H, W) has the size of a known sensor and some rows more."""
    height, width = shape[:2]
    if (width, height) in SENSORS:
        return False
    return (width, height) == STACKED or any(
        width == known and rows < height <= rows + TELEMETRY_ROWS
        for known, rows in (*SENSORS, STACKED)
    )


def seems_swapped(counts: NDArray[np.uint16]) -> bool:
    """Whether counts (H, W) become far smoother with their two bytes swapped."""
    rows = counts[::EVERY]
    if rows.shape[1] < 2:
        return False
    rough = _roughness(rows)
    return rough > ROUGHNESS and rough > SMOOTHER * _roughness(rows.byteswap())


def _roughness(rows: NDArray[np.uint16]) -> float:
    """1 less the correlation of a pixel with the next one in its row: 0 is smooth, 1 is noise."""
    # Unclipped, a hundredth of dead pixels would tell more than all others.
    values = rows.clip(*np.percentile(rows[:, ::EVERY], CLIPPED)).astype(np.float32)
    variance = float(values.var())
    return float(np.square(np.diff(values, axis=1)).mean()) / (2 * variance) if variance else 0.0
