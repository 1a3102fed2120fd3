"""From a camera's raw frame to its picture: telemetry rows and byte order."""

from typing import Any, TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.imaging.image_header import ImageError
from segmif.thermal.camera_profile import CameraProfile, Crop

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
MAX_SAMPLES = 80_000  # [px]
HALF = 2**15  # [counts] of the range
CHANCE = 1 / 64  # that a far pair is a carry; 1/256 for low bytes that are evenly spread
DOUBT = 20.0  # exp(-20), the chance of so many carries (Chernoff) in a frame that is right


def infrared_picture(pixels: Infrared, profile: CameraProfile) -> Infrared:
    """
    The picture in an infrared frame (H, W): bytes in native order, cropped.

    Raises ImageError for a crop that leaves nothing, and for counts whose bytes seem swapped.
    """
    if pixels.dtype == np.uint16:
        counts = cast(NDArray[np.uint16], pixels)
        if profile.byte_order == "swapped":
            pixels = counts.byteswap()
        elif profile.byte_order is None and seems_swapped(counts):
            raise ImageError(
                "byte_order",
                "the two bytes of each count seem to have changed places: neighbours jump by "
                "half the range, and by little with the bytes swapped; write the counts in the "
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
    """Whether a frame (H, W) has the size of a known sensor plus some rows."""
    height, width = shape[:2]
    if (width, height) in SENSORS:
        return False
    return (width, height) == STACKED or any(
        width == known and rows < height <= rows + TELEMETRY_ROWS
        for known, rows in (*SENSORS, STACKED)
    )


def seems_swapped(counts: NDArray[np.uint16]) -> bool:
    """
    Whether the two bytes of counts (H, W) have changed places beyond doubt.

    The evidence is carries: neighbours with high bytes more than half the range apart, whose low
    bytes differ by one. Swapped, such neighbours are close. In the right order they occur only by
    chance. Swapped counts that cross no multiple of 256 have none, but show the same picture.
    """
    rows = counts[:: max(counts.size // MAX_SAMPLES, 1)]
    low, high, *_ = cv2.minMaxLoc(rows)
    if high - low <= HALF or rows.shape[1] < 2:
        return False
    far = np.asarray(cv2.absdiff(rows[:, :-1], rows[:, 1:])) > HALF
    pairs = np.stack([rows[:, :-1][far], rows[:, 1:][far]])
    pairs = pairs[:, ((pairs > 0) & (pairs < 2**16 - 1)).all(axis=0)]  # these are often no counts
    pairs.sort(axis=0)
    # Pairs of the same high bytes are one observation: a frame of two levels shows nothing.
    alike = (pairs[1] & 0xFF00) | (pairs[0] >> 8)
    carry = (pairs[0] & 0xFF) == (pairs[1] & 0xFF) + 1
    seen, carries = np.bincount(alike), np.bincount(alike, carry)
    found = int(np.count_nonzero(2 * carries > seen))
    by_chance = np.count_nonzero(seen) * CHANCE
    if found <= by_chance:
        return False
    return bool(found * np.log(found / by_chance) - found + by_chance > DOUBT)
