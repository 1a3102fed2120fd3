"""The profile of PNG: one picture, chunks in order, critical chunks only."""

import struct
import zlib
from collections.abc import Iterator

from segmif.imaging.image_header import Header, ImageError, check_ratio, check_size

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
FRAME = 12  # [bytes] of a chunk around its content
ANCILLARY = 0x20  # bit of the first letter of a chunk's type
DAMAGED = "the PNG cannot be decoded: "


def read(data: bytes, max_pixels: int, as_indices: bool = False) -> Header:
    """
    Check a PNG by its chunks; raises ImageError, or struct.error if it breaks off.

    Ancillary chunks such as text, colour profiles and transparency are not decoded. With
    `as_indices` the indices of an indexed PNG are decoded as grey levels.
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
    row = (width * samples * depth + 7) // 8 + 1  # [bytes], the first is the filter type
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
    """Raise ImageError for a critical chunk in a wrong place or of a wrong length."""
    fits = {
        b"IHDR": not seen and length == 13,
        b"PLTE": not {b"PLTE", b"IDAT"} & seen and 3 <= length <= 768 and length % 3 == 0,
        b"IDAT": last == b"IDAT" or b"IDAT" not in seen,
        b"IEND": length == 0,
    }
    if not fits.get(kind, False):
        raise ImageError("damaged", DAMAGED + "its chunks do not fit together")


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The (type, content) of a PNG's chunks; raises as `_walk`."""
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


def _as_grey(kept: list[memoryview]) -> list[memoryview]:
    """Declare palette indices as grey levels, since the decoder would return palette colours."""
    header = bytes(kept[0][4:-4])
    if zlib.crc32(header).to_bytes(4, "big") != bytes(kept[0][-4:]):
        raise ImageError("damaged", DAMAGED + "the checksum of its header is wrong")
    grey = chunk(header[:4], header[4:13] + bytes([GREY]) + header[14:])
    return [memoryview(grey), *(whole for whole in kept[1:] if bytes(whole[4:8]) != b"PLTE")]
