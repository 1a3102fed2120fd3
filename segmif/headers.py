"""What an image file says of itself, read before a decoder allocates memory for it."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Format = Literal["png", "jpeg", "tiff"]
Kind = Literal["empty", "unsupported_type", "damaged", "too_large", "channels", "depth"]

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC = b"\xff\xd8\xff"
TIFF_MAGICS = (b"II*\x00", b"MM\x00*")

TIFF_WIDTH, TIFF_HEIGHT, TIFF_COMPRESSION = 256, 257, 259
TIFF_STRIP_ROWS, TIFF_TILE_WIDTH = 278, 322
TIFF_ALL_ROWS = 2**32 - 1  # as the rows of a strip: one strip holds the image
TIFF_TAGS = (TIFF_WIDTH, TIFF_HEIGHT, TIFF_COMPRESSION, TIFF_STRIP_ROWS, TIFF_TILE_WIDTH)
# None, LZW, Deflate (two numbers), PackBits: what cameras write. The decoder knows a dozen more.
TIFF_COMPRESSIONS = frozenset({1, 5, 8, 32_773, 32_946})
TIFF_INTEGERS = {1: "B", 3: "H", 4: "I"}  # TIFF 6.0 section 2: BYTE, SHORT, LONG

# ITU-T T.81 table B.1: every C0..CF starts a frame except DHT (C4), JPG (C8) and DAC (CC).
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})  # TEM, RSTn, SOI
JPEG_NO_MORE_HEADER = frozenset({0xD9, 0xDA})  # EOI, SOS


class ImageError(ValueError):
    """Bytes or pixels that cannot be used as a frame: a sentence, and `kind` for programs."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind: Kind = kind


@dataclass(frozen=True)
class Header:
    """Format and size of an encoded image; both sides are positive."""

    format: Format
    width: int  # [px]
    height: int  # [px]
    significant_bits: int | None = None  # of a sample, if the file states them


def read_header(data: bytes) -> Header:
    """
    Tell format and size of a JPEG, PNG or TIFF from its header alone.

    Raises ImageError: `empty`, `unsupported_type`, or `damaged` where the header breaks off or
    states a size of zero.
    """
    if not data:
        raise ImageError("empty", "the image has 0 bytes")
    format = detect_format(data)
    try:
        width, height = SIZE_READERS[format](data)
        significant = _png_significant(data) if format == "png" else None
    except struct.error:
        raise ImageError("damaged", f"the {format.upper()} breaks off within its header") from None
    if width == 0 or height == 0:
        raise ImageError(
            "damaged", f"the {format.upper()} header states a size of {width}x{height}"
        )
    return Header(format, width, height, significant)


def detect_format(data: bytes) -> Format:
    """Recognise the format by its magic bytes, never by a file name or a stated type."""
    if data.startswith(PNG_MAGIC):
        return "png"
    if data.startswith(JPEG_MAGIC):
        return "jpeg"
    if data.startswith(TIFF_MAGICS):
        return "tiff"
    raise ImageError(
        "unsupported_type",
        f"the {len(data)} bytes are not an image of a known type; send JPEG, PNG or TIFF",
    )


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Walk over the (type, content) of a PNG's chunks; raises struct.error where it breaks off."""
    at = len(PNG_MAGIC)
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, data[at + 8 : at + 8 + length]
        at += 12 + length


def _png_size(data: bytes) -> tuple[int, int]:
    kind, width, height = struct.unpack_from(">4sII", data, 12)
    if kind != b"IHDR":
        raise ImageError("damaged", "the PNG does not start with its IHDR chunk")
    return width, height


def _png_significant(data: bytes) -> int | None:
    for kind, content in png_chunks(data):
        if kind == b"sBIT":
            return max(content[:3], default=None)
        if kind in (b"IDAT", b"IEND"):
            break
    return None


def check_png(data: bytes) -> None:
    """
    Refuse a PNG whose chunks reach beyond its end, or that is more than one picture (ImageError).

    OpenCV allocates a chunk by its stated length: a kilobyte that claimed four gigabytes got them.
    """
    at, kinds = len(PNG_MAGIC), [b""]
    while kinds[-1] != b"IEND" and at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        kinds.append(kind)
        at += 12 + length
    if at > len(data) or kinds[-1] != b"IEND" or kinds.count(b"IHDR") > 1:
        raise ImageError("damaged", "the PNG cannot be decoded: its chunks do not fit together")
    if b"acTL" in kinds:
        raise ImageError("unsupported_type", "the PNG is an animation; send one picture")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    at = 2
    while True:
        fill, marker = struct.unpack_from("BB", data, at)
        if fill != 0xFF or marker in JPEG_NO_MORE_HEADER:
            raise ImageError("damaged", "the JPEG states no size before its picture data")
        if marker == 0xFF:  # a fill byte before the marker
            at += 1
        elif marker in JPEG_WITHOUT_LENGTH:
            at += 2
        elif marker in JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]


def _tiff_size(data: bytes) -> tuple[int, int]:
    order = "<" if data.startswith(b"II") else ">"
    (directory,) = struct.unpack_from(order + "I", data, 4)
    (entries,) = struct.unpack_from(order + "H", data, directory)
    sizes: dict[int, int] = {}
    for entry in range(entries):
        at = directory + 2 + 12 * entry
        tag, kind = struct.unpack_from(order + "HH", data, at)
        if tag in TIFF_TAGS and kind in TIFF_INTEGERS:
            (sizes[tag],) = struct.unpack_from(order + TIFF_INTEGERS[kind], data, at + 8)
    compression = sizes.get(TIFF_COMPRESSION, 1)
    if compression not in TIFF_COMPRESSIONS:
        raise ImageError(
            "unsupported_type",
            f"the TIFF is packed by method {compression}; send it uncompressed, or as LZW, Deflate "
            "or PackBits",
        )
    if TIFF_TILE_WIDTH in sizes:
        raise ImageError("unsupported_type", "the TIFF is tiled; send it in strips")
    if not sizes.keys() >= {TIFF_WIDTH, TIFF_HEIGHT}:
        raise ImageError("damaged", "the TIFF's first directory states no width and height")
    # The decoder allocates a strip by its stated rows, without asking the image's height.
    if sizes[TIFF_HEIGHT] < sizes.get(TIFF_STRIP_ROWS, 0) < TIFF_ALL_ROWS:
        raise ImageError(
            "damaged",
            f"the TIFF states strips of {sizes[TIFF_STRIP_ROWS]} rows, it has {sizes[TIFF_HEIGHT]}",
        )
    return sizes[TIFF_WIDTH], sizes[TIFF_HEIGHT]


SIZE_READERS = {"png": _png_size, "jpeg": _jpeg_size, "tiff": _tiff_size}
