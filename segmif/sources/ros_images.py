"""Messages of sensor_msgs as frames: Image, CompressedImage, and what their header states."""

from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.imaging.codecs import Pixels
from segmif.imaging.monochrome import monochrome
from segmif.sources.frame import Part
from segmif.sources.images import image_pixels

IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")

# Name of an encoding to its type and to the order of red, green and blue in it (none for grey).
ENCODINGS: dict[str, tuple[str, int, tuple[int, ...]]] = {
    "rgb8": ("u1", 3, (0, 1, 2)),
    "bgr8": ("u1", 3, (2, 1, 0)),
    "rgba8": ("u1", 4, (0, 1, 2)),
    "bgra8": ("u1", 4, (2, 1, 0)),
    "mono8": ("u1", 1, ()),
    "8UC1": ("u1", 1, ()),
    "mono16": ("u2", 1, ()),
    "16UC1": ("u2", 1, ()),
}
# Two bytes a pixel, BT.601 in the limited range, as ROS converts them.
YUV = {
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUYV,
    "yuyv": cv2.COLOR_YUV2RGB_YUYV,
}


@dataclass(frozen=True)
class Header:
    """What the header of a message states."""

    stamp_ns: int  # 0: the driver has no clock
    frame_id: str  # of the camera in the robot's tree of frames; may be empty


def header_of(message: Any) -> Header:
    """The header of a message."""
    stamp = message.header.stamp
    return Header(int(stamp.sec * 10**9 + stamp.nanosec), str(message.header.frame_id))


def stamp_of_message(message: Any, recorded_ns: int) -> int:
    """The stamp of a message's header [ns]; a driver without a clock leaves 0: as recorded."""
    return header_of(message).stamp_ns or recorded_ns


def pixels_of(message: Any, kind: str, part: Part) -> Pixels:
    """
    The frame of a message of type `kind`: visible (H, W, 3) RGB, infrared (H, W) of 8 or 16 bit.

    Raises ValueError for another type or encoding, ImageError for a damaged compressed image.
    """
    if kind.endswith("/CompressedImage"):
        return image_pixels(bytes(message.data), part)[0]
    if not kind.endswith("/Image"):
        raise ValueError(f"messages of {kind}, expected sensor_msgs Image or CompressedImage")
    pixels = frame_of(message)
    if part == "infrared":
        return monochrome(pixels) if pixels.ndim == 3 else pixels
    if pixels.dtype != np.uint8:
        raise ValueError(f"frames are {message.encoding}, expected colour of 8 bit for visible")
    levels = cast(NDArray[np.uint8], pixels)
    return levels if levels.ndim == 3 else np.repeat(levels[..., None], 3, axis=2)


def frame_of(message: Any) -> Pixels:
    """A sensor_msgs/Image as (H, W, 3) RGB or (H, W), 8 or 16 bit; raises ValueError."""
    if message.encoding in YUV:
        pairs = _rows(message, 2, np.dtype("u1"))
        return np.asarray(cv2.cvtColor(pairs, YUV[message.encoding]), np.uint8)
    if message.encoding not in ENCODINGS:
        known = ", ".join([*ENCODINGS, *YUV])
        raise ValueError(f"frames are encoded as {message.encoding}, expected one of {known}")
    kind, channels, order = ENCODINGS[message.encoding]
    dtype = np.dtype(kind).newbyteorder(">" if message.is_bigendian else "<")
    frame = _rows(message, channels, dtype)
    chosen = frame[..., list(order)] if order else frame[..., 0]
    return np.ascontiguousarray(chosen.astype(dtype.newbyteorder("=")))


def _rows(message: Any, channels: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The samples (H, W, channels) of a message; raises ValueError if its sizes disagree."""
    height, width, step = message.height, message.width, message.step
    needed = width * channels * dtype.itemsize
    if not needed or step < needed or len(message.data) < height * step:
        raise ValueError(
            f"an image of {width}x{height} states rows of {step} bytes and has "
            f"{len(message.data):,} bytes, expected rows of at least {needed}"
        )
    # A row may be padded: `step` is its true length in bytes.
    rows = np.frombuffer(bytes(message.data), np.uint8, height * step).reshape(height, step)
    used = np.ascontiguousarray(rows[:, :needed]).view(dtype)
    return used.reshape(height, width, channels)
