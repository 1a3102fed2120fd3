"""A live result as the bytes that the page shows: pictures as JPEG, numbers exact."""

import json
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmif.imaging import codecs
from segmif.sources.frame import SourceFrame

from ..schemas.live_state import RigState
from .live_result import LiveResult

FASTEST = 1  # level of zlib: masks shrink well at any
QUALITY = 85  # of JPEG
NEXT = "next"  # what a viewer sends when it is ready for another picture


@dataclass(frozen=True)
class MessagePart:
    """One picture or plane of a message."""

    header: dict[str, Any]
    data: bytes


def page_message(live: LiveResult, state: RigState, parts: Sequence[MessagePart]) -> bytes:
    """The length of a JSON header (4 bytes, little-endian), the header, and the parts it lists."""
    header = {
        "rig": live.rig,
        "sequence": live.sequence,
        "visible_ns": _text(live.visible),
        "infrared_ns": _text(live.infrared),
        "shape": live.result.prediction.labels.shape,
        "view": live.result.prepared.full_size,
        "report": live.report,
        "state": state.model_dump(mode="json"),
        "parts": [part.header | {"bytes": len(part.data)} for part in parts],
    }
    head = json.dumps(header).encode()
    return b"".join((struct.pack("<I", len(head)), head, *(part.data for part in parts)))


def requested_parts(text: str) -> frozenset[str]:
    """
    The parts that a viewer asks for: `next`, or `next` and their names.

    Raises ValueError for other words.
    """
    word, *names = text.split(" ")
    if word != NEXT or not ENCODERS.keys() >= set(names):
        raise ValueError(f"send the text {NEXT!r}, or {NEXT!r} and some of {', '.join(ENCODERS)}")
    return frozenset(names or ENCODERS)


def _text(frame: SourceFrame | None) -> str | None:
    """A stamp; it is beyond what a JSON number of a browser holds."""
    return str(frame.stamp_ns) if frame else None


def picture(name: str, pixels: NDArray[np.uint8]) -> MessagePart:
    """A picture (H, W, 3) RGB or (H, W) as JPEG."""
    return MessagePart({"name": name, "type": "image/jpeg"}, codecs.encode_jpeg(pixels, QUALITY))


def plane(name: str, pixels: codecs.Pixels) -> MessagePart:
    """Numbers (H, W) of 8 or 16 bit, little-endian, in the format of zlib."""
    little = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))
    header = {
        "name": name,
        "type": pixels.dtype.name,
        "encoding": "deflate",
        "shape": list(pixels.shape),
    }
    # Noise has no repeats to find; masks have runs.
    strategy = zlib.Z_DEFAULT_STRATEGY if name == "confidence" else zlib.Z_RLE
    packer = zlib.compressobj(FASTEST, strategy=strategy)
    return MessagePart(header, packer.compress(little.data) + packer.flush())


def _plane_of(name: str, pixels: codecs.Pixels | None) -> MessagePart | None:
    return None if pixels is None else plane(name, pixels)


# What a viewer may ask for, and what makes it of a result; None: this one has no such part.
ENCODERS: Mapping[str, Callable[[LiveResult], MessagePart | None]] = {
    "visible": lambda live: picture("visible", live.result.prepared.pair.visible),
    "infrared": lambda live: picture("infrared", live.result.prepared.pair.infrared),
    "fused": lambda live: picture("fused", live.result.prediction.fused),
    "mask": lambda live: plane("mask", live.result.prediction.labels),
    "confidence": lambda live: _plane_of("confidence", live.result.prediction.confidence),
    "counts": lambda live: _plane_of("counts", live.result.prepared.counts),
}
