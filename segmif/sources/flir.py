"""
FLIR recordings: radiometric JPEG, and SEQ with its frames one after another.

Both hold FFF blocks: a header of 64 bytes, an index of records, and records by type. A record of
raw data has a header of 32 bytes, then counts as samples or as PNG. Facts: ExifTool's documentation
of FLIR tags, and the files of four cameras.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from segmif.files import check_regular
from segmif.imaging.codecs import decode_header, decode_visible
from segmif.imaging.headers import read_header
from segmif.imaging.image_header import MAX_PIXELS, ImageError
from segmif.sources.base import SourceBase
from segmif.sources.frame import Part, SourceError, SourceFrame
from segmif.sources.options import SourceOptions
from segmif.sources.stamps import RisingStamps

MAGIC = b"FFF\0"
HEADER, ENTRY, PICTURE_HEADER = 64, 32, 32
RAW, EMBEDDED, BASIC = 1, 14, 32  # types of records
VERSIONS = range(100, 200)  # of the block; they show its byte order
MAX_RECORDS = 100
TIME_AT = 900  # in the record BASIC: seconds since 1970, then milliseconds
MAX_BLOCK = 4 * MAX_PIXELS
JPEG_APP1, JPEG_SCAN = 0xE1, 0xDA


@dataclass(frozen=True)
class Record:
    """An entry of a block's index."""

    kind: int
    offset: int  # [bytes] from the block's start
    length: int


@dataclass(frozen=True)
class Block:
    """An FFF block and its index."""

    data: memoryview
    order: str  # of its index: < or >
    records: tuple[Record, ...]

    @property
    def end(self) -> int:
        """Bytes from its start to the end of its last record."""
        return max((each.offset + each.length for each in self.records), default=HEADER)

    def content(self, kind: int) -> memoryview | None:
        """The bytes of the first record of a type."""
        for each in self.records:
            if each.kind == kind and each.length:
                return self.data[each.offset : each.offset + each.length]
        return None


def block_at(data: memoryview) -> Block:
    """The block at the start of `data`; raises ImageError if it is damaged or cut off."""
    order, index_at, count = _index_of(data)
    records = _records(data[index_at : index_at + count * ENTRY], order)
    block = Block(data, order, records)
    if len(data) < max(block.end, index_at + count * ENTRY):
        raise ImageError("damaged", "the FFF block is cut off: a record ends behind its end")
    return block


def _index_of(head: memoryview) -> tuple[str, int, int]:
    """Byte order, place and number of the entries of a block's index."""
    if len(head) < HEADER or head[:4] != MAGIC:
        raise ImageError("damaged", "no FFF block of FLIR is there")
    for order in "<>":
        version, index_at, count = struct.unpack_from(f"{order}3I", head, 20)
        if version in VERSIONS and count <= MAX_RECORDS and index_at <= MAX_BLOCK:
            return order, index_at, count
    raise ImageError("damaged", "the FFF block has no known version, or too many records")


def _records(index: memoryview, order: str) -> tuple[Record, ...]:
    found = []
    for at in range(0, len(index) - ENTRY + 1, ENTRY):
        kind = struct.unpack_from(f"{order}H", index, at)[0]
        offset, length = struct.unpack_from(f"{order}2I", index, at + 12)
        found += [Record(kind, offset, length)] if kind else []
    return tuple(found)


def _read_block(file: BinaryIO, at: int) -> Block:
    """The block that begins at byte `at` of a file; raises ImageError."""
    order, index_at, count = _index_of(_read(file, at, HEADER))
    index = _read(file, at + index_at, count * ENTRY)
    end = Block(index, order, _records(index, order)).end
    if end > MAX_BLOCK:
        raise ImageError("too_large", f"the FFF block has {end:,} bytes, at most {MAX_BLOCK:,}")
    return block_at(_read(file, at, max(end, index_at + count * ENTRY)))


def _read(file: BinaryIO, at: int, length: int) -> memoryview:
    file.seek(at)
    return memoryview(file.read(length))


def counts_of(block: Block) -> NDArray[np.uint16]:
    """The counts (H, W) of a block, bit for bit; raises ImageError."""
    raw = block.content(RAW)
    if raw is None or len(raw) <= PICTURE_HEADER:
        raise ImageError("damaged", "the FFF block has no raw counts")
    # The header's first number is 2, which tells the byte order of its samples.
    order = "<" if struct.unpack_from("<H", raw)[0] == 2 else ">"
    width, height = struct.unpack_from(f"{order}2H", raw, 2)
    samples = raw[PICTURE_HEADER:]
    if bytes(samples[:4]) == b"\x89PNG":
        return _png_counts(samples, width, height)
    if not width or not height or len(samples) < 2 * width * height:
        raise ImageError(
            "damaged", f"{len(samples):,} bytes of counts for {width}x{height}: it is cut off"
        )
    stored = np.frombuffer(samples, f"{order}u2", width * height)
    return stored.reshape(height, width).astype(np.uint16)


def _png_counts(samples: memoryview, width: int, height: int) -> NDArray[np.uint16]:
    counts = decode_header(read_header(bytes(samples), MAX_PIXELS))
    if counts.dtype != np.uint16 or counts.shape != (height, width):
        raise ImageError(
            "depth",
            f"the counts of the FLIR file are {counts.dtype} {counts.shape}, expected uint16 "
            f"{(height, width)}",
        )
    # FLIR writes the samples of its PNG in the order of the processor, PNG is big endian.
    return np.asarray(counts, np.uint16).byteswap()


def time_of(block: Block) -> int | None:
    """When the frame of a block was taken [ns since 1970], if the block states it."""
    basic = block.content(BASIC)
    if basic is None or len(basic) < TIME_AT + 8:
        return None
    seconds, thousandths = struct.unpack_from("<2I", basic, TIME_AT)
    return seconds * 10**9 + (thousandths & 0xFFFF) * 10**6 if seconds else None


def block_of_jpeg(data: bytes) -> Block | None:
    """The block that a radiometric JPEG carries in its APP1 segments; None: it has none."""
    pieces = [
        body[8:]  # FLIR, a version, the number of the piece and of the last one
        for marker, body in _segments(data)
        if marker == JPEG_APP1 and body[:5] == b"FLIR\0"
    ]
    return block_at(memoryview(b"".join(pieces))) if pieces else None


def visible_of_jpeg(data: bytes, block: Block | None) -> NDArray[np.uint8]:
    """
    The colour frame of a JPEG: the visible picture that a radiometric one carries, else itself.

    Raises ImageError.
    """
    if block is None:
        return decode_visible(data)
    picture = block.content(EMBEDDED)
    if picture is None or len(picture) <= PICTURE_HEADER:
        raise ImageError(
            "channels", "the radiometric JPEG carries no visible picture: its camera saved none"
        )
    return decode_visible(bytes(picture[PICTURE_HEADER:]))


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and body of the segments of a JPEG up to its first scan."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != JPEG_SCAN:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if length < 2:
            return
        yield data[at + 1], data[at + 4 : at + 2 + length]
        at += 2 + length


class SeqSource(SourceBase):
    """The frames of a FLIR SEQ file; infrared alone."""

    def __init__(self, path: Path, address: str, part: Part, options: SourceOptions) -> None:
        super().__init__(address)
        if part == "visible":
            raise SourceError(f"{address}: a SEQ file holds infrared alone, visible was asked for")
        self._path, self._options = path, options

    def frames(self) -> Iterator[SourceFrame]:
        """Give the frames of the file, one block after another; raises SourceError."""
        check_regular(self._path)
        size = self._path.stat().st_size
        stamps = RisingStamps(self._options.period_ns)
        at = number = 0
        with self._path.open("rb") as file:
            while at < size and not self.closed.is_set():
                try:
                    block = _read_block(file, at)
                    counts = counts_of(block)
                except ImageError as error:
                    self.damaged += 1
                    if not number:
                        raise SourceError(f"{self.address}: {error}") from None
                    return  # cut off
                stamp_ns = stamps.next(time_of(block))
                assert stamp_ns is not None  # none is late without a limit
                yield SourceFrame(counts, stamp_ns, "source", str(number))
                at, number = at + block.end, number + 1
        self.check_given(number)
