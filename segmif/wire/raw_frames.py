"""Frames as a camera driver has them: rows of pixels with a stride, nothing encoded."""

from dataclasses import dataclass
from typing import Literal, cast, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.imaging.codecs import Pixels
from segmif.imaging.headers import ImageError

VisibleFormat = Literal["rgb8", "bgr8", "nv12", "y8"]
InfraredFormat = Literal["y8", "y16"]

BYTES_A_PIXEL = {"rgb8": 3, "bgr8": 3, "nv12": 1, "y8": 1, "y16": 2}  # in a row


@dataclass(frozen=True)
class Layout:
    """How pixels lie in memory: `stride` bytes from row to row, no gap before the first."""

    format: VisibleFormat | InfraredFormat
    width: int  # [px]
    height: int  # [px]
    stride: int = 0  # [bytes]; 0: rows without gaps

    @property
    def row_bytes(self) -> int:
        """Bytes of a row that are pixels."""
        return self.width * BYTES_A_PIXEL[self.format]

    @property
    def rows(self) -> int:
        """Rows in memory: NV12 has half as many again, for its colour."""
        return self.height * 3 // 2 if self.format == "nv12" else self.height


@dataclass(frozen=True)
class Frame:
    """A frame as it came: a JPEG, PNG or TIFF file, or raw pixels where there is a layout."""

    data: bytes | memoryview
    layout: Layout | None = None


def raw_visible(frame: Frame, max_pixels: int) -> NDArray[np.uint8]:
    """Colour (H, W, 3) RGB of raw pixels, of grey ones with equal channels; raises ImageError."""
    layout = _checked(frame, get_args(VisibleFormat), max_pixels)
    rows = _rows(frame, layout)
    if layout.format == "nv12":
        return cast(NDArray[np.uint8], cv2.cvtColor(rows, cv2.COLOR_YUV2RGB_NV12))
    if layout.format == "y8":
        return cast(NDArray[np.uint8], cv2.cvtColor(rows, cv2.COLOR_GRAY2RGB))
    pixels = rows.reshape(layout.height, layout.width, 3)
    if layout.format == "bgr8":
        return cast(NDArray[np.uint8], cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
    return pixels


def raw_infrared(frame: Frame, max_pixels: int) -> Pixels:
    """Levels (H, W) uint8, or counts (H, W) uint16 from little-endian pairs of bytes."""
    layout = _checked(frame, get_args(InfraredFormat), max_pixels)
    rows = _rows(frame, layout)
    return rows if layout.format == "y8" else rows.view("<u2").astype(np.uint16, copy=False)


def _checked(frame: Frame, formats: tuple[str, ...], max_pixels: int) -> Layout:
    layout = frame.layout
    assert layout  # the caller's reason to come here
    if layout.format not in formats:
        raise ImageError(
            "unsupported_type", f"raw pixels are {layout.format}, expected {' or '.join(formats)}"
        )
    if layout.width * layout.height > max_pixels:
        raise ImageError(
            "too_large",
            f"the image is {layout.width}x{layout.height}, at most {max_pixels:,} pixels are taken",
        )
    cut = layout.stride and layout.stride < layout.row_bytes
    if layout.width < 1 or layout.height < 1 or cut:
        raise ImageError(
            "damaged",
            f"raw pixels of {layout.width}x{layout.height} in rows of {layout.stride} bytes: "
            f"a row takes {layout.row_bytes}",
        )
    if layout.format == "nv12" and (layout.width % 2 or layout.height % 2):
        raise ImageError("damaged", "NV12 has one colour for 2x2 pixels: both sides must be even")
    return layout


def _rows(frame: Frame, layout: Layout) -> NDArray[np.uint8]:
    """Rows (rows, row_bytes) without their gaps; a view where there are none."""
    stride = layout.stride or layout.row_bytes
    # The last row need not be padded.
    needed = stride * (layout.rows - 1) + layout.row_bytes
    data = np.frombuffer(frame.data, np.uint8)
    if not needed <= data.size <= stride * layout.rows:
        raise ImageError(
            "damaged",
            f"{data.size} bytes of raw pixels, expected {needed} to {stride * layout.rows} for "
            f"{layout.width}x{layout.height} {layout.format} in rows of {stride}",
        )
    if stride == layout.row_bytes:
        return data.reshape(layout.rows, layout.row_bytes)
    strided = np.lib.stride_tricks.as_strided(data, (layout.rows, layout.row_bytes), (stride, 1))
    return np.ascontiguousarray(strided)
