"""
Decoding and encoding of images: the only caller of image codecs.

The header is checked before anything is decoded. Colour is RGB everywhere outside this file. EXIF
orientation is ignored on purpose: rotating one of two frames would break the pair.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.files import read_frame, write_bytes
from segmif.imaging import png
from segmif.imaging.bit_depth import BitsFrom, levels
from segmif.imaging.headers import Header, read_header
from segmif.imaging.headers import ImageError as ImageError
from segmif.imaging.image_header import MAX_PIXELS as MAX_PIXELS
from segmif.imaging.image_header import naming_the_file
from segmif.imaging.monochrome import monochrome
from segmif.imaging.sensor_format import cropped, infrared_picture
from segmif.thermal import gain_control
from segmif.thermal.camera_profile import CameraProfile
from segmif.thermal.invalid_counts import Validity, find_invalid, find_invalid_levels

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
Plane = TypeVar("Plane", bound=Pixels)

# One fixed filter and run lengths only. On street scenes of 640x480 this takes 10 ms instead of
# 20 ms for level 1 with OpenCV's choice of filters, at about the same size.
FAST_PNG = [
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
]
LARGEST_SIDE = {".jpg": 65_500, ".webp": 16_383}  # in pixels, by format and encoder


@dataclass(frozen=True)
class VisibleFrame:
    """A decoded colour frame, and how many bits of its samples were taken to be significant."""

    pixels: NDArray[np.uint8]  # (H, W, 3) RGB
    bits: int = 8  # 1 to 16
    bits_from: BitsFrom = "file"  # "guessed": from the frame's maximum, which is flagged
    depth: int = 8  # bits of a sample in the file: 8 or 16
    grey: bool = False  # the file has one channel


def decode_visible_frame(
    data: bytes, max_pixels: int = MAX_PIXELS, bits: int | None = None
) -> VisibleFrame:
    """
    Decode a colour frame; of deeper samples the upper eight significant bits, alpha is dropped.

    The number of significant bits comes from the file, else from `bits` (8 to 16). Else it is the
    smallest of 8, 10, 12, 14 and 16 that holds the frame's maximum.
    A grey frame becomes RGB with three equal channels.
    Raises ImageError as `read_header`, or for a maximum that `bits` cannot hold.
    """
    return visible_of(read_header(data, max_pixels), bits)


def visible_of(header: Header, bits: int | None = None) -> VisibleFrame:
    """Decode the colour frame of a checked header, as `decode_visible_frame`."""
    pixels = decode_header(header)
    colour = pixels if pixels.ndim == 2 else pixels[..., :3]  # alpha does not count for the bits
    samples, bits, bits_from = levels(colour, header.significant_bits, bits)
    grey = samples.ndim == 2
    rgb = cv2.cvtColor(samples, cv2.COLOR_GRAY2RGB if grey else cv2.COLOR_BGR2RGB)
    return VisibleFrame(cast(NDArray[np.uint8], rgb), bits, bits_from, header.depth, grey)


def decode_visible(
    data: bytes, max_pixels: int = MAX_PIXELS, bits: int | None = None
) -> NDArray[np.uint8]:
    """Decode a colour frame (H, W, 3) uint8 RGB as `decode_visible_frame` does."""
    return decode_visible_frame(data, max_pixels, bits).pixels


def decode_infrared(data: bytes, max_pixels: int = MAX_PIXELS) -> Pixels:
    """
    Decode a thermal frame (H, W), white hot: uint8 levels, or uint16 counts without any loss.

    A grey frame that was saved as colour is taken as grey, see `monochrome`. Raises ImageError as
    `decode_visible_frame`, and for a frame in (pseudo-)colours.
    """
    return infrared_of(read_header(data, max_pixels))


def infrared_of(header: Header) -> Pixels:
    """Decode the thermal frame of a checked header, as `decode_infrared`."""
    pixels = decode_header(header)
    return pixels if pixels.ndim == 2 else monochrome(pixels)


def read_visible(
    path: Path,
    profile: CameraProfile = CameraProfile(),  # noqa: B008  frozen
) -> NDArray[np.uint8]:
    """Read a colour picture (H, W, 3) uint8 RGB; raises ImageError with the path, or OSError."""
    with naming_the_file(path):
        return cropped(decode_visible(read_frame(path), bits=profile.bits), profile.crop)


def read_infrared(
    path: Path,
    profile: CameraProfile = CameraProfile(),  # noqa: B008  frozen
) -> NDArray[np.uint8]:
    """Read a thermal frame (H, W) uint8; counts become levels as without a stream."""
    return infrared_levels(read_counts(path, profile), profile=profile).pixels


def read_counts(
    path: Path,
    profile: CameraProfile = CameraProfile(),  # noqa: B008  frozen
) -> Pixels:
    """Read the picture of a thermal frame (H, W) as the sensor wrote it; raises as others here."""
    with naming_the_file(path):
        return infrared_picture(decode_infrared(read_frame(path)), profile)


def read_rgba(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """
    Read a pair in one file, as MFNet is published: visible (H, W, 3) RGB, infrared (H, W) = alpha.

    Raises ImageError with the path, also for a file without 4 channels of 8 bit; or OSError.
    """
    with naming_the_file(path):
        pixels = decode_header(read_header(read_frame(path), MAX_PIXELS))
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if channels != 4 or pixels.dtype != np.uint8:
        raise ImageError(
            "channels",
            f"{path} has {channels} channels of {pixels.dtype}; expected 4 of 8 bit, infrared "
            "being the last",
        )
    rgba = cast(NDArray[np.uint8], cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA))
    return np.ascontiguousarray(rgba[..., :3]), np.ascontiguousarray(rgba[..., 3])


def infrared_levels(
    pixels: Pixels,
    rule: gain_control.GainRule = gain_control.GainRule(),  # noqa: B008  frozen
    last: gain_control.GainState | None = None,
    profile: CameraProfile = CameraProfile(),  # noqa: B008  frozen
    validity: Validity | None = None,
) -> gain_control.Levels:
    """Bring a decoded thermal frame (H, W) to 8 bit; `validity` as `validity_of`, if known."""
    if pixels.dtype == np.uint8:
        return gain_control.show_levels(cast("NDArray[np.uint8]", pixels), profile, validity)
    return gain_control.apply_gain(
        cast("NDArray[np.uint16]", pixels), rule, last, profile, validity
    )


def validity_of(pixels: Pixels, profile: CameraProfile) -> Validity:
    """Which pixels of a decoded thermal frame (H, W) are measurements."""
    if pixels.dtype == np.uint8:
        return find_invalid_levels(cast("NDArray[np.uint8]", pixels), profile)
    return find_invalid(cast("NDArray[np.uint16]", pixels), profile)


def read_labels(path: Path) -> NDArray[np.uint8]:
    """Read class ids (H, W) uint8 from a grey or an indexed PNG: the index, never its colour."""
    with naming_the_file(path):
        return decode_labels(read_frame(path))


def decode_labels(data: bytes, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode class ids (H, W) uint8 of a grey or an indexed PNG: the index, never its colour."""
    header = read_header(data, max_pixels, as_indices=True)
    pixels = decode_header(header)
    if pixels.ndim != 2 or pixels.dtype != np.uint8:
        found = f"{pixels.dtype} {pixels.shape}"
        raise ImageError("channels", f"a label image is 8-bit (H, W), this is {found}")
    # The decoder stretches narrow indices over 0..255; dividing gives the index back.
    largest = 2**header.index_bits - 1
    return cast(NDArray[np.uint8], pixels // (255 // largest) if header.index_bits else pixels)


def encode_png(array: Pixels, compression: int = 1) -> bytes:
    """Encode (H, W) or RGB (H, W, 3), uint8 or uint16; `compression` 1 (fast) to 9 (small)."""
    parameters = [cv2.IMWRITE_PNG_COMPRESSION, compression]
    return _encode(".png", array, parameters + (FAST_PNG if compression == 1 else []))


def encode_jpeg(array: NDArray[np.uint8], quality: int = 92) -> bytes:
    """Encode (H, W) or RGB (H, W, 3) uint8; `quality` 1 to 100; ImageError beyond 65,500 a side."""
    return _encode(".jpg", array, [cv2.IMWRITE_JPEG_QUALITY, quality])


def encode_webp(array: NDArray[np.uint8], quality: int = 90) -> bytes:
    """Encode as JPEG does, smaller and slower; ImageError beyond 16,383 pixels a side."""
    return _encode(".webp", array, [cv2.IMWRITE_WEBP_QUALITY, quality])


def encode_indexed_png(
    labels: NDArray[np.uint8], palette: Sequence[tuple[int, int, int]], compression: int = 1
) -> bytes:
    """
    Encode class ids (H, W) as an 8-bit indexed PNG: pixel value = id, colour = `palette[id]`.

    Ids beyond the palette (the ignore id 255) are shown black. Format: PNG, section 11.
    """
    height, width = labels.shape
    rows = np.zeros((height, width + 1), np.uint8)  # column 0 is the filter type: none
    rows[:, 1:] = labels
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette)] = palette
    return png.MAGIC + b"".join(
        (
            png.chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, png.INDEXED, 0, 0, 0)),
            png.chunk(b"PLTE", colours.tobytes()),
            png.chunk(b"IDAT", zlib.compress(rows.tobytes(), compression)),
            png.chunk(b"IEND", b""),
        )
    )


def write_png(path: Path, array: Pixels, compression: int = 6) -> None:
    """Write (H, W) or RGB (H, W, 3) as PNG, whole or not at all; on the disk by `synced_at_end`."""
    write_bytes(path, encode_png(array, compression), wait_for_disk=False)


def resize(array: Plane, height: int, width: int, *, nearest: bool = False) -> Plane:
    """
    Resize (H, W) or (H, W, C): area average down, bilinear up, or `nearest` for ids and counts.
    """
    if array.shape[:2] == (height, width):
        return array
    shrinks = height * width < array.shape[0] * array.shape[1]
    smooth = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    method = cv2.INTER_NEAREST_EXACT if nearest else smooth
    return cast(Plane, cv2.resize(array, (width, height), interpolation=method))


def decode_header(header: Header) -> Pixels:
    """
    Decode the image of a checked header: (H, W) or BGR(A) (H, W, C), uint8 or uint16, white hot.

    Raises ImageError if it is damaged or the decoder gives anything but what the header states.
    """
    format = header.format.upper()
    try:
        # "Unchanged" also means: bit depth kept, EXIF orientation not applied.
        pixels = cv2.imdecode(np.frombuffer(header.decodable, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:  # not a fault of the image
            raise MemoryError(str(error)) from error
        pixels = None
    if pixels is None:
        raise ImageError("damaged", f"the {format} cannot be decoded: it is damaged")
    if pixels.shape != header.shape or pixels.dtype != f"uint{header.depth}":
        raise ImageError(
            "damaged",
            f"the {format} cannot be decoded: it gives {pixels.dtype} {pixels.shape}, its header "
            f"states uint{header.depth} {header.shape}",
        )
    given = cast(Pixels, pixels)
    if header.unused_bits:
        given = cast(Pixels, given >> header.unused_bits)
    if header.inverted:
        given = cast(Pixels, given ^ header.largest)  # all of its bits are ones
    return given


def _encode(suffix: str, array: Pixels, parameters: list[int]) -> bytes:
    height, width = array.shape[:2]
    largest = LARGEST_SIDE.get(suffix, max(height, width))
    if max(height, width) > largest:
        kind = suffix.removeprefix(".")
        words = f"a {kind} has at most {largest:,} pixels a side, the picture is {width}x{height}"
        raise ImageError("too_large", words)
    pixels = cv2.cvtColor(array, cv2.COLOR_RGB2BGR) if array.ndim == 3 else array
    done, encoded = cv2.imencode(suffix, pixels, parameters)
    if not done:  # OpenCV's sign of an encoder without memory
        raise MemoryError(f"no memory to encode {array.dtype} {array.shape} as {suffix}")
    return encoded.tobytes()
