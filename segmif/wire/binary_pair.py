"""
The raw pair and the raw answer: a fixed header of 64 bytes, then the bytes themselves.

All numbers are little-endian and unsigned; docs/wire.md has both headers byte by byte, with
examples in Python and C. The same two forms travel over HTTP, WebSocket and shared memory.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from typing_extensions import Self

from segmif.wire.raw_frames import Frame, Layout

HEADER_BYTES = 64
VERSION = 1

PAIR = struct.Struct("<4sBBHBBHIIIIIIIIIQQ")
PAIR_MAGIC = b"SGMF"
SHUTTER = 1  # flag: the infrared camera says that its shutter is closed

ANSWER = struct.Struct("<4sBBHBBHIIIIIQQIIIB3x")
ANSWER_MAGIC = b"SGMR"
FLAGGED = 1  # flag: the pair has a fault, which the report names

MISSING, ENCODED = 0, 1
FORMATS = {2: "rgb8", 3: "bgr8", 4: "nv12", 5: "y8", 6: "y16"}
RGB8, Y8, Y16 = 2, 5, 6


class WireError(ValueError):
    """A raw pair is not as docs/wire.md has it."""


@dataclass(frozen=True)
class RawPair:
    """A raw pair taken apart: the frames there are, and what its header asks."""

    visible: Frame | None
    infrared: Frame | None
    ask: dict[str, Any]  # fields of `schemas.PairOptions`


def read_pair(header: bytes, payload: memoryview) -> RawPair:
    """Take a raw pair apart without copying; raises WireError."""
    if len(header) < HEADER_BYTES:
        raise WireError(f"a pair begins with {HEADER_BYTES} bytes of header, {len(header)} came")
    magic, version, flags, size, *fields = PAIR.unpack(header[:HEADER_BYTES])
    if (magic, version, size) != (PAIR_MAGIC, VERSION, HEADER_BYTES):
        raise WireError(
            f"the header begins with {magic!r}, version {version}, {size} bytes; expected "
            f"{PAIR_MAGIC!r}, {VERSION}, {HEADER_BYTES}"
        )
    visible_format, infrared_format, _, *sizes, deadline_ms, visible_ns, infrared_ns = fields
    visible_bytes, infrared_bytes = sizes[3], sizes[7]
    if visible_bytes + infrared_bytes != len(payload):
        raise WireError(
            f"the header announces {visible_bytes} and {infrared_bytes} bytes of frames, "
            f"{len(payload)} came"
        )
    visible = _frame("visible", visible_format, sizes[:3], payload[:visible_bytes])
    infrared = _frame("infrared", infrared_format, sizes[4:7], payload[visible_bytes:])
    stated = {
        "deadline_ms": deadline_ms,
        "visible_ns": visible_ns,
        "infrared_ns": infrared_ns,
        "shutter": bool(flags & SHUTTER),
    }
    ask: dict[str, Any] = {name: value for name, value in stated.items() if value}
    if not (visible and infrared):
        ask["sensors"] = "infrared" if infrared else "visible"
    return RawPair(visible, infrared, ask)


def pack_pair(
    visible: tuple[int, Sequence[int], bytes],
    infrared: tuple[int, Sequence[int], bytes],
    *,
    deadline_ms: int = 0,
    visible_ns: int = 0,
    infrared_ns: int = 0,
) -> bytes:
    """A raw pair from two frames, each (format, (width, height, stride), bytes)."""
    header = PAIR.pack(
        PAIR_MAGIC,
        VERSION,
        0,
        HEADER_BYTES,
        visible[0],
        infrared[0],
        0,
        *visible[1],
        len(visible[2]),
        *infrared[1],
        len(infrared[2]),
        deadline_ms,
        visible_ns,
        infrared_ns,
    )
    return b"".join((header, visible[2], infrared[2]))


def payload_bytes(header: bytes) -> int:
    """Bytes of frames that a raw pair's header announces; raises WireError for half a header."""
    if len(header) != HEADER_BYTES:
        raise WireError(f"a header has {HEADER_BYTES} bytes, {len(header)} came")
    fields = PAIR.unpack(header)
    return int(fields[10] + fields[14])


def parts_bytes(header: bytes) -> int:
    """Bytes of pixels that an answer's header announces between itself and the report."""
    fields = ANSWER.unpack(header[:HEADER_BYTES])
    picture, labels, confidence = fields[9], fields[10], fields[16]
    return int(picture + labels + confidence)


def _frame(part: str, format: int, sizes: list[int], data: memoryview) -> Frame | None:
    if format == MISSING and not len(data):
        return None
    if format == ENCODED:
        return Frame(data)
    if format not in FORMATS:
        raise WireError(f"{part} has the format {format}, expected one of 0 to {max(FORMATS)}")
    return Frame(data, Layout(FORMATS[format], *sizes))  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class RawAnswer:
    """What a raw answer holds."""

    status: int = 200  # as HTTP's; beyond 299 the report is a problem
    flagged: bool = False
    width: int = 0
    height: int = 0
    picture_format: int = MISSING  # ENCODED or RGB8
    picture: bytes | memoryview = b""
    labels_format: int = MISSING  # ENCODED (indexed PNG) or Y8: a class id a pixel
    labels: bytes | memoryview = b""
    confidence_format: int = MISSING  # ENCODED (grey PNG) or Y8: 255 times the probability
    confidence: bytes | memoryview = b""
    report: bytes = b""  # JSON
    sequence: int = 0  # of the pair in its WebSocket, from 0
    visible_ns: int = 0  # as the pair stated it
    dropped: int = 0  # pairs of this WebSocket that newer ones replaced, so far
    failed: int = 0  # pairs of this WebSocket that were answered by a problem, so far

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Take a raw answer apart; raises ValueError for what is none."""
        if len(data) < HEADER_BYTES or data[:5] != ANSWER_MAGIC + bytes([VERSION]):
            raise ValueError(f"{len(data)} bytes that begin with {data[:5]!r} are no raw answer")
        _, _, flags, _, picture_format, labels_format, status, width, height, *rest = ANSWER.unpack(
            data[:HEADER_BYTES]
        )
        *lengths, sequence, visible_ns, dropped, failed, confidence_bytes, confidence_format = rest
        lengths.insert(2, confidence_bytes)
        if len(data) != HEADER_BYTES + sum(lengths):
            raise ValueError(f"a raw answer of {len(data)} bytes says that it has {sum(lengths)}")
        ends = list(accumulate(lengths, initial=HEADER_BYTES))
        picture, labels, confidence, report = (data[a:b] for a, b in pairwise(ends))
        return cls(
            status=status,
            flagged=bool(flags & FLAGGED),
            width=width,
            height=height,
            picture_format=picture_format,
            picture=picture,
            labels_format=labels_format,
            labels=labels,
            confidence_format=confidence_format,
            confidence=confidence,
            report=report,
            sequence=sequence,
            visible_ns=visible_ns,
            dropped=dropped,
            failed=failed,
        )

    def head(self) -> bytes:
        """The header."""
        return ANSWER.pack(
            ANSWER_MAGIC,
            VERSION,
            FLAGGED * self.flagged,
            HEADER_BYTES,
            self.picture_format,
            self.labels_format,
            self.status,
            self.width,
            self.height,
            len(self.picture),
            len(self.labels),
            len(self.report),
            self.sequence,
            self.visible_ns,
            self.dropped,
            self.failed,
            len(self.confidence),
            self.confidence_format,
        )

    @property
    def size(self) -> int:
        """Bytes of its pictures."""
        return sum(map(len, self.parts))

    def to_bytes(self) -> bytes:
        """Header and parts in one piece."""
        return b"".join(self.pieces)

    @property
    def pieces(self) -> tuple[bytes | memoryview, ...]:
        """Header, pictures and report."""
        return self.head(), *self.parts, self.report

    @property
    def parts(self) -> tuple[bytes | memoryview, ...]:
        """What stands between header and report."""
        return self.picture, self.labels, self.confidence
