"""
Bytes or files to arrays and back: the only caller of an image codec.

Sizes are checked in the header before anything is decoded. Colour is RGB everywhere outside this
file. EXIF orientation is ignored on purpose: a sensor frame is what the sensor saw, and turning one
of two frames would break the pair.
"""

import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

MAX_PIXELS = 50_000_000
# Deflate, the best packer of the three formats' codecs, reaches 1032:1: what promises more lies.
MAX_RATIO = 1100

# OpenCV reads its limit once, when whoever is first imports it: the second line behind our header
# check.
os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MAX_PIXELS)
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # what is wrong is said in our exceptions
import cv2  # noqa: E402  the limits above must come first

from segmif import thermal  # noqa: E402
from segmif.depth import BitsFrom, significant_bits, to_8_bit  # noqa: E402
from segmif.files import write_bytes  # noqa: E402
from segmif.headers import PNG_MAGIC, Header, check_png, png_chunks, read_header  # noqa: E402
from segmif.headers import ImageError as ImageError  # noqa: E402

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

PNG_INDEXED = 3  # colour type in IHDR: one palette index a pixel
# One fixed filter and run lengths only: on street scenes half the time of level 1 with the filters
# that OpenCV tries, at about the same size (10 ms against 20 ms at 640x480).
FAST_PNG = [
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
]
LARGEST_SIDE = {".jpg": 65_500, ".webp": 16_383}  # in pixels, by format and encoder
GREY_TOLERANCE = 8 / 255  # of full scale: what JPEG chroma may add to a grey frame saved as colour


@dataclass(frozen=True)
class VisibleFrame:
    """A decoded colour frame, and how many bits of its samples were taken to be significant."""

    pixels: NDArray[np.uint8]  # (H, W, 3) RGB
    bits: int = 8  # 1 to 16
    bits_from: BitsFrom = "file"  # "guessed": from the frame's maximum, to be flagged


def decode_visible_frame(
    data: bytes, max_pixels: int = MAX_PIXELS, bits: int | None = None
) -> VisibleFrame:
    """
    Decode a colour frame; of deeper samples the upper eight significant bits, alpha is dropped.

    How many bits are significant is what the file states, else `bits` (8 to 16), else the least
    of 8, 10, 12, 14 and 16 that holds the frame's maximum.
    Raises ImageError: not an image, damaged, more than `max_pixels`, not 3 or 4 channels, or a
    maximum that `bits` cannot hold.
    """
    pixels, header = _decode(data, max_pixels)
    if pixels.ndim != 3:
        raise ImageError(
            "channels",
            "the visible frame has 1 channel, expected 3 (RGB); perhaps the two files are swapped",
        )
    colour = pixels[..., :3]
    if colour.dtype == np.uint8:
        rgb = cast(NDArray[np.uint8], cv2.cvtColor(colour, cv2.COLOR_BGR2RGB))
        return VisibleFrame(rgb)
    deep = cast(NDArray[np.uint16], colour)
    found, bits_from = significant_bits(deep, header.significant_bits, bits)
    return VisibleFrame(
        cast(NDArray[np.uint8], cv2.cvtColor(to_8_bit(deep, found), cv2.COLOR_BGR2RGB)),
        found,
        bits_from,
    )


def decode_visible(
    data: bytes, max_pixels: int = MAX_PIXELS, bits: int | None = None
) -> NDArray[np.uint8]:
    """Decode a colour frame (H, W, 3) uint8 RGB as `decode_visible_frame` does."""
    return decode_visible_frame(data, max_pixels, bits).pixels


def decode_infrared(data: bytes, max_pixels: int = MAX_PIXELS) -> Pixels:
    """
    Decode a thermal frame (H, W), white hot: uint8 levels, or uint16 counts without any loss.

    A grey frame that was saved as colour is taken as grey. Raises ImageError as `decode_visible`,
    and for a frame in (pseudo-)colours: those cannot be turned back into temperatures.
    """
    pixels, _ = _decode(data, max_pixels)
    if pixels.ndim == 2:
        return pixels
    if _colour_spread(pixels) > GREY_TOLERANCE:
        raise ImageError(
            "channels",
            "the infrared frame has 3 different channels, expected 1 (white hot); send it without "
            "false colours, and check that the two files are not swapped",
        )
    return cast(Pixels, np.ascontiguousarray(pixels[..., 1]))


def read_visible(path: Path) -> NDArray[np.uint8]:
    """Read a colour frame (H, W, 3) uint8 RGB; raises ImageError with the path, or OSError."""
    try:
        return decode_visible(path.read_bytes())
    except ImageError as error:
        raise ImageError(error.kind, f"{path}: {error}") from error


def read_infrared(path: Path) -> NDArray[np.uint8]:
    """Read a thermal frame (H, W) uint8; 16-bit counts go through `thermal.percentile_window`."""
    try:
        pixels = decode_infrared(path.read_bytes())
    except ImageError as error:
        raise ImageError(error.kind, f"{path}: {error}") from error
    return infrared_levels(pixels)[0]


def read_rgba(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """
    Read a pair in one file, as MFNet is published: visible (H, W, 3) RGB, infrared (H, W) = alpha.

    Raises ImageError with the path, also for a file without 4 channels of 8 bit; or OSError.
    """
    try:
        pixels, _ = _decode(path.read_bytes(), MAX_PIXELS)
    except ImageError as error:
        raise ImageError(error.kind, f"{path}: {error}") from error
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
    rule: thermal.GainRule = thermal.GainRule(),  # noqa: B008  frozen
    last: thermal.Window | None = None,
) -> tuple[NDArray[np.uint8], thermal.Window | None]:
    """Bring a decoded thermal frame to 8 bit, and say through which window (None: it was 8 bit)."""
    if pixels.dtype == np.uint8:
        return cast(NDArray[np.uint8], pixels), None
    counts = cast(NDArray[np.uint16], pixels)
    return thermal.apply_gain(counts, rule, last)


def read_labels(path: Path) -> NDArray[np.uint8]:
    """Read class ids (H, W) uint8 from a grey or an indexed PNG: the index, never its colour."""
    try:
        data = path.read_bytes()
        read_header(data)
        depth = _indexed_depth(data)
        pixels, _ = _decode(_as_grey(data) if depth else data, MAX_PIXELS)
    except ImageError as error:
        raise ImageError(error.kind, f"{path}: {error}") from error
    if pixels.ndim != 2 or pixels.dtype != np.uint8:
        found = f"{pixels.dtype} {pixels.shape}"
        raise ImageError("channels", f"{path}: a label image is 8-bit (H, W), this is {found}")
    # The decoder stretches narrow greys over 0..255; dividing gives the index back.
    return cast(NDArray[np.uint8], pixels // (255 // (2**depth - 1)) if depth else pixels)


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
    return PNG_MAGIC + b"".join(
        (
            _png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, PNG_INDEXED, 0, 0, 0)),
            _png_chunk(b"PLTE", colours.tobytes()),
            _png_chunk(b"IDAT", zlib.compress(rows.tobytes(), compression)),
            _png_chunk(b"IEND", b""),
        )
    )


def write_png(path: Path, array: Pixels, compression: int = 6) -> None:
    """Write (H, W) or RGB (H, W, 3) as PNG, whole or not at all."""
    write_bytes(path, encode_png(array, compression))


def resize(
    array: NDArray[np.uint8], height: int, width: int, *, nearest: bool = False
) -> NDArray[np.uint8]:
    """Resize (H, W) or (H, W, C): area average down, bilinear up, or `nearest` for class ids."""
    if array.shape[:2] == (height, width):
        return array
    shrinks = height * width < array.shape[0] * array.shape[1]
    smooth = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    method = cv2.INTER_NEAREST_EXACT if nearest else smooth
    return cast(NDArray[np.uint8], cv2.resize(array, (width, height), interpolation=method))


def _decode(data: bytes, max_pixels: int) -> tuple[Pixels, Header]:
    header = read_header(data)
    if header.width * header.height > max_pixels:
        raise ImageError(
            "too_large",
            f"the image is {header.width}x{header.height}, at most {max_pixels:,} pixels are taken",
        )
    if header.width * header.height > MAX_RATIO * len(data):
        raise ImageError(
            "damaged",
            f"the {header.format.upper()} cannot be decoded: it states {header.width}x"
            f"{header.height} pixels, which its {len(data)} bytes cannot hold",
        )
    if header.format == "png":
        check_png(data)
    try:
        # "Unchanged" also means: bit depth kept, EXIF orientation not applied.
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:  # the image is not to blame
            raise MemoryError(str(error)) from error
        pixels = None
    if pixels is None:
        raise ImageError("damaged", f"the {header.format.upper()} cannot be decoded: it is damaged")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ImageError("depth", f"the image has {pixels.dtype} pixels, expected 8 or 16 bit")
    return cast(Pixels, pixels), header


def _colour_spread(pixels: Pixels) -> float:
    """Largest difference between channels, as a share of full scale."""
    blue, green, red = (pixels[..., channel] for channel in range(3))
    spread = max(int(cv2.absdiff(green, other).max()) for other in (blue, red))
    return spread / int(np.iinfo(pixels.dtype).max)


def _encode(suffix: str, array: Pixels, parameters: list[int]) -> bytes:
    height, width = array.shape[:2]
    largest = LARGEST_SIDE.get(suffix, max(height, width))
    if max(height, width) > largest:
        kind = suffix.removeprefix(".")
        words = f"a {kind} has at most {largest:,} pixels a side, the picture is {width}x{height}"
        raise ImageError("too_large", words)
    pixels = cv2.cvtColor(array, cv2.COLOR_RGB2BGR) if array.ndim == 3 else array
    done, encoded = cv2.imencode(suffix, pixels, parameters)
    if not done:  # which is how OpenCV says that an encoder had no memory
        raise MemoryError(f"no memory to encode {array.dtype} {array.shape} as {suffix}")
    return encoded.tobytes()


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def _indexed_depth(data: bytes) -> int:
    """Bits a palette index has, 0 for anything but an indexed PNG."""
    if not data.startswith(PNG_MAGIC) or len(data) < 26 or data[25] != PNG_INDEXED:
        return 0
    return data[24]


def _as_grey(data: bytes) -> bytes:
    """Declare the indices of a PNG grey levels, because OpenCV would give the palette's colours."""
    kept = [PNG_MAGIC]
    try:
        for kind, content in png_chunks(data):
            if kind == b"IHDR":
                kept.append(_png_chunk(kind, content[:9] + b"\0" + content[10:]))
            elif kind not in (b"PLTE", b"tRNS"):
                kept.append(_png_chunk(kind, content))
    except struct.error:
        raise ImageError("damaged", "the PNG breaks off within a chunk") from None
    return b"".join(kept)
