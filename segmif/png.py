"""
PNG: the profile that is read (one picture, its chunks in order, nothing that is not needed), and a
fast way to write one.
"""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from segmif.both import Both, in_turn
from segmif.image_header import Header, ImageError, check_ratio, check_size

MAGIC = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 16_384  # encoders write IDAT chunks of 8 KiB and more
GREY, RGB, INDEXED, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6  # colour types in IHDR
# By colour type: the depths that PNG allows, samples a pixel, and channels that the decoder gives.
COLOUR_TYPES: dict[int, tuple[tuple[int, ...], int, int]] = {
    GREY: ((1, 2, 4, 8, 16), 1, 1),
    RGB: ((8, 16), 3, 3),
    INDEXED: ((1, 2, 4, 8), 1, 3),
    GREY_ALPHA: ((8, 16), 2, 4),
    RGBA: ((8, 16), 4, 4),
}
UP = 2  # filter: less the pixel above
ZLIB_HEADER = b"\x78\x01"  # RFC 1950: deflate with a window of 32 KiB, fast
FRAME = 12  # [bytes] of a chunk around its content
ANCILLARY = 0x20  # bit of the first letter of a chunk's type
DAMAGED = "the PNG cannot be decoded: "


def read(data: bytes, max_pixels: int, as_indices: bool = False) -> Header:
    """
    Judge a PNG by its chunks; raises ImageError, or struct.error if it breaks off.

    Text, colour profiles, transparency by colour and all other ancillary chunks are left out of
    what is decoded. `as_indices` has the indices of an indexed PNG decoded as grey levels.
    """
    _, first, _ = struct.unpack_from(">I4sI", data, len(MAGIC))
    if first != b"IHDR":
        raise ImageError("damaged", "the PNG does not start with its IHDR chunk")
    width, height, depth, colour_type, *methods = struct.unpack_from(">IIBBBBB", data, 16)
    check_size("png", width, height, max_pixels)
    depths, samples, channels = COLOUR_TYPES.get(colour_type, ((), 0, 0))
    if depth not in depths or methods[:2] != [0, 0] or methods[2] > 1:
        raise ImageError(
            "damaged",
            f"{DAMAGED}colour type {colour_type} with {depth} bits, methods {methods} is none",
        )
    try:
        kept, packed, significant = _needed(data, colour_type, depth)
    except struct.error:
        raise ImageError(
            "damaged", DAMAGED + "its chunks do not fit together, it breaks off"
        ) from None
    row = (width * samples * depth + 7) // 8 + 1  # [bytes], the first of them tells the filter
    check_ratio("png", width, height, row * height, packed)
    index_bits = 0
    if as_indices and colour_type == INDEXED:
        kept, channels, index_bits = _as_grey(kept), 1, depth
    return Header(
        *("png", width, height, channels, 16 if depth == 16 else 8),
        b"".join((MAGIC, *kept)),
        significant,
        index_bits=index_bits,
    )


def _needed(data: bytes, colour_type: int, depth: int) -> tuple[list[memoryview], int, int | None]:
    """The chunks that a decoder needs, the bytes in their IDATs, and the significant bits."""
    kept: list[memoryview] = []
    packed, significant = 0, None
    stated = 1 if colour_type in (GREY, GREY_ALPHA) else 3  # bytes of sBIT, without those of alpha
    last, seen = b"", set[bytes]()
    for kind, whole in _walk(data):
        length = len(whole) - FRAME
        if kind == b"acTL":
            raise ImageError("unsupported_type", "the PNG is an animation; send one picture")
        if kind == b"sBIT" and 0 < max(whole[8:-4][:stated], default=0) <= depth:
            significant = max(whole[8:-4][:stated])
        if not kind[0] & ANCILLARY:
            _check_place(kind, length, last, seen)
            kept.append(whole)
            packed += length if kind == b"IDAT" else 0
        last = kind
        seen.add(kind)
    if last != b"IEND" or not packed or (colour_type == INDEXED) > (b"PLTE" in seen):
        raise ImageError("damaged", DAMAGED + "its chunks do not fit together")
    return kept, packed, significant


def _check_place(kind: bytes, length: int, last: bytes, seen: set[bytes]) -> None:
    """Raise ImageError for a critical chunk that cannot stand there, or be of that length."""
    fits = {
        b"IHDR": not seen and length == 13,
        b"PLTE": not {b"PLTE", b"IDAT"} & seen and 3 <= length <= 768 and length % 3 == 0,
        b"IDAT": last == b"IDAT" or b"IDAT" not in seen,
        b"IEND": length == 0,
    }
    if not fits.get(kind, False):
        raise ImageError("damaged", DAMAGED + "its chunks do not fit together")


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Walk over the (type, content) of a PNG's chunks; raises as `_walk`."""
    for kind, whole in _walk(data):
        yield kind, bytes(whole[8:-4])


def _walk(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """
    Chunks up to IEND, whole: with length, type and checksum.

    Raises ImageError if they are too many, struct.error if one reaches beyond the end.
    """
    at, view = len(MAGIC), memoryview(data)
    for _ in range(MAX_CHUNKS):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + FRAME + length
        if end > len(data):
            raise struct.error
        yield kind, view[at:end]
        if kind == b"IEND":
            return
        at = end
    raise ImageError("unsupported_type", f"the PNG has more than {MAX_CHUNKS:,} chunks")


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk with its length and checksum."""
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def encode(pixels: NDArray[np.uint8] | NDArray[np.uint16], both: Both = in_turn) -> bytes:
    """
    Encode grey (H, W) or RGB (H, W, 3) with one filter and run lengths, each half by one of `both`.

    On street scenes that takes half the time of level 1 with all filters, at about the same size.
    """
    height, width = pixels.shape[:2]
    samples = pixels.astype(pixels.dtype.newbyteorder(">"), "C", copy=False)
    rows, middle = _filtered(samples.reshape(height, -1).view(np.uint8)), height // 2
    top, bottom = both(
        lambda: _deflated(rows[:middle], zlib.Z_SYNC_FLUSH),  # ends on a byte: the next may follow
        lambda: _deflated(rows[middle:], zlib.Z_FINISH),
    )
    kind = 8 * pixels.itemsize, GREY if pixels.ndim == 2 else RGB
    packed = ZLIB_HEADER, top, bottom, struct.pack(">I", zlib.adler32(rows.data))
    return MAGIC + b"".join(
        (
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, *kind, 0, 0, 0)),
            chunk(b"IDAT", b"".join(packed)),
            chunk(b"IEND", b""),
        )
    )


def _filtered(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Rows (H, N) less the row above each, behind the byte (H, 1 + N) that says so."""
    rows = np.empty((packed.shape[0], 1 + packed.shape[1]), np.uint8)
    rows[:, 0], rows[0, 1:] = UP, packed[0]
    np.subtract(packed[1:], packed[:-1], out=rows[1:, 1:])
    return rows


def _deflated(rows: NDArray[np.uint8], end: int) -> bytes:
    """Rows as a part of a deflate stream (RFC 1951), which `end` flushes or finishes."""
    stream = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS, strategy=zlib.Z_RLE)
    return stream.compress(rows.data) + stream.flush(end)


def _as_grey(kept: list[memoryview]) -> list[memoryview]:
    """Declare palette indices grey levels, because the decoder would give the palette's colours."""
    header = bytes(kept[0][4:-4])
    if zlib.crc32(header).to_bytes(4, "big") != bytes(kept[0][-4:]):
        raise ImageError("damaged", DAMAGED + "the checksum of its header is wrong")
    grey = chunk(header[:4], header[4:13] + bytes([GREY]) + header[14:])
    return [memoryview(grey), *(whole for whole in kept[1:] if bytes(whole[4:8]) != b"PLTE")]
