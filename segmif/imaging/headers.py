"""
Image headers, checked before a decoder sees the file.

Each format has a strict profile (docs/files.md). The decoder gets a copy that holds only what the
profile allows.
"""

import struct

from segmif.imaging import jpeg, png, tiff
from segmif.imaging.image_header import MAX_PIXELS as MAX_PIXELS
from segmif.imaging.image_header import Format as Format
from segmif.imaging.image_header import Header as Header
from segmif.imaging.image_header import ImageError as ImageError
from segmif.imaging.image_header import Kind as Kind

PNG_MAGIC, png_chunks = png.MAGIC, png.chunks


def read_header(data: bytes, max_pixels: int = MAX_PIXELS, as_indices: bool = False) -> Header:
    """
    Check the header of a JPEG, PNG or TIFF; `as_indices` takes an indexed PNG as its indices.

    Raises ImageError: `empty`, `unsupported_type` for features outside the profile, `depth`,
    `channels`, `too_large` for more than `max_pixels`, or `damaged`.
    """
    if not data:
        raise ImageError("empty", "the image has 0 bytes")
    format = detect_format(data)
    try:
        if format == "png":
            return png.read(data, max_pixels, as_indices)
        if format == "jpeg":
            return jpeg.read(data, max_pixels)
        return tiff.read(data, max_pixels)
    except struct.error:
        raise ImageError("damaged", f"the {format.upper()} breaks off within its header") from None


def detect_format(data: bytes) -> Format:
    """Recognise the format by its magic bytes, never by a file name or a stated type."""
    if data.startswith(png.MAGIC):
        return "png"
    if data.startswith(jpeg.MAGIC):
        return "jpeg"
    if data.startswith(tiff.MAGICS):
        return "tiff"
    if data.startswith(tiff.BIG_MAGICS):
        raise ImageError("unsupported_type", "the file is a BigTIFF; save it as a classic TIFF")
    raise ImageError(
        "unsupported_type",
        f"the {len(data)} bytes are not an image of a known type; send JPEG, PNG or TIFF",
    )
