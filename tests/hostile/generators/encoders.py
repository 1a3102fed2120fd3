"""Writers of image files that no encoder would write: every field can be stated wrongly."""

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
SHORT, LONG = 3, 4  # TIFF 6.0 section 2
TYPES = {1: "B", 2: "B", SHORT: "H", LONG: "I", 5: "Q", 12: "d", 16: "Q"}
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, OFFSETS = 256, 257, 258, 259, 262, 273
SAMPLES, ROWS, COUNTS, FORMAT = 277, 278, 279, 339
SOS, EOI = b"\xff\xda", b"\xff\xd9"


def chunk(kind: bytes, content: bytes, length: int | None = None) -> bytes:
    """A PNG chunk, which may state another length than it has."""
    stated = len(content) if length is None else length
    return (
        struct.pack(">I", stated) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    )


def zlib_zeros(size: int) -> bytes:
    """So many zeros as zlib packs them, without packing them all."""
    block, packer = bytes(1 << 20), zlib.compressobj(9)
    head = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)  # the same for every block
    blocks, rest = divmod(size, len(block))
    tail = packer.compress(bytes(rest)) + packer.flush(zlib.Z_FINISH)
    adler32 = (size % 65_521) << 16 | 1
    return head + packed * (blocks - 1) + tail[:-4] + struct.pack(">I", adler32)


@dataclass(frozen=True)
class Png:
    """A PNG before it is written: IHDR, chunks before IDAT, filtered rows, chunks after them."""

    width: int
    height: int
    depth: int = 8
    colour: int = 0  # 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA
    interlace: int = 0
    before: tuple[tuple[bytes, bytes], ...] = ()
    rows: bytes | None = None  # None: zeros
    after: tuple[tuple[bytes, bytes], ...] = ()
    end: bool = True

    @property
    def row_bytes(self) -> int:
        """Bytes of a row with its filter type."""
        channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(self.colour, 1)
        return 1 + (self.width * channels * self.depth + 7) // 8

    def to_bytes(self) -> bytes:
        """Write it."""
        head = (self.width, self.height, self.depth, self.colour, 0, 0, self.interlace)
        rows = bytes(self.row_bytes * self.height) if self.rows is None else self.rows
        parts = [(b"IHDR", struct.pack(">IIBBBBB", *head)), *self.before]
        parts += [(b"IDAT", zlib.compress(rows, 9)), *self.after, *([(b"IEND", b"")] * self.end)]
        return PNG_MAGIC + b"".join(chunk(kind, content) for kind, content in parts)


def png_of(pixels: NDArray[np.uint8], depth: int, colour: int = 0) -> bytes:
    """Pack one-channel pixels into a PNG of 1, 2, 4 or 8 bits; a palette is grey, black first."""
    height, width = pixels.shape
    bits = np.unpackbits(pixels[..., None], axis=2)[..., 8 - depth :].reshape(height, -1)
    rows = np.pad(np.packbits(bits, axis=1), ((0, 0), (1, 0)))
    palette = (b"PLTE", bytes(np.repeat(np.linspace(0, 255, 2**depth).astype(np.uint8), 3)))
    before = (palette,) if colour == 3 else ()
    return Png(width, height, depth, colour, before=before, rows=rows.tobytes()).to_bytes()


Entry = tuple[int, int, Sequence[int]]  # tag, type, values


@dataclass(frozen=True)
class Tiff:
    """A TIFF of one strip before it is written; `changes` replace tags, `more` are written too."""

    pixels: NDArray[np.generic]  # (H, W) or (H, W, C)
    changes: Mapping[int, Entry | None] = field(default_factory=dict)
    more: tuple[Entry, ...] = ()
    order: Literal["<", ">"] = "<"
    strip: bytes | None = None  # what lies in the strip, if not the pixels
    next_directory: int | None = None  # None: none; -1: this one again

    def entries(self, offset: int, size: int) -> list[Entry]:
        """The tags, sorted, with the strip at `offset`."""
        height, width = self.pixels.shape[:2]
        channels = 1 if self.pixels.ndim == 2 else self.pixels.shape[2]
        kind = {"u": 1, "i": 2, "f": 3}[self.pixels.dtype.kind]
        bits = 8 * self.pixels.dtype.itemsize
        stated: dict[int, Entry | None] = {
            WIDTH: (WIDTH, SHORT, [width]),
            HEIGHT: (HEIGHT, SHORT, [height]),
            BITS: (BITS, SHORT, [bits] * channels),
            COMPRESSION: (COMPRESSION, SHORT, [1]),
            PHOTOMETRIC: (PHOTOMETRIC, SHORT, [1 if channels == 1 else 2]),
            OFFSETS: (OFFSETS, LONG, [offset]),
            SAMPLES: (SAMPLES, SHORT, [channels]),
            ROWS: (ROWS, SHORT, [height]),
            COUNTS: (COUNTS, LONG, [size]),
            FORMAT: (FORMAT, SHORT, [kind] * channels),
        }
        kept = [entry for entry in (stated | dict(self.changes)).values() if entry]
        return sorted([*kept, *self.more], key=lambda entry: entry[0])

    def to_bytes(self) -> bytes:
        """Write it: head, strip, values that need room, directory."""
        strip = self.strip
        if strip is None:
            strip = self.pixels.astype(self.pixels.dtype.newbyteorder(self.order)).tobytes()
        strip += b"\0" * (len(strip) % 2)
        body = b""
        directory = b""
        at = 8 + len(strip)
        entries = self.entries(8, len(strip))
        for tag, kind, values in entries:
            packed = struct.pack(f"{self.order}{len(values)}{TYPES.get(kind, 'I')}", *values)
            if len(packed) > 4:
                packed, body = struct.pack(self.order + "I", at + len(body)), body + packed
            head = struct.pack(self.order + "HHI", tag, kind, len(values))
            directory += head + packed.ljust(4, b"\0")
        place = at + len(body)
        following = {None: 0, -1: place}.get(self.next_directory, self.next_directory or 0)
        magic = (b"II*\0" if self.order == "<" else b"MM\0*") + struct.pack(self.order + "I", place)
        count = struct.pack(self.order + "H", len(entries))
        return magic + strip + body + count + directory + struct.pack(self.order + "I", following)


def jpeg_scans(pixels: NDArray[np.uint8]) -> list[bytes]:
    """A progressive JPEG in pieces: head, each scan, end."""
    flags = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    data = cv2.imencode(".jpg", pixels, flags)[1].tobytes()
    head, *scans = data.removesuffix(EOI).split(SOS)
    # A scan's Huffman tables stand before it, at the end of the piece that comes first.
    return [head, *(SOS + scan for scan in scans), EOI]


def jpeg_of_many_scans(pixels: NDArray[np.uint8], scans: int) -> bytes:
    """The last scan of a progressive JPEG so often that it has `scans`."""
    pieces = jpeg_scans(pixels)
    return b"".join([*pieces[:-1], pieces[-2] * (scans - len(pieces) + 2), pieces[-1]])


def jpeg_with(pixels: NDArray[np.uint8], segments: bytes) -> bytes:
    """A JPEG with more segments behind its SOI."""
    data = cv2.imencode(".jpg", pixels)[1].tobytes()
    return data[:2] + segments + data[2:]
