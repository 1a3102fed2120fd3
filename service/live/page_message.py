"""A live result as the bytes that the page shows: pictures as JPEG, numbers exact."""

import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmif.imaging import codecs

from ..pipeline.result import describe
from ..schemas.live_state import RigState
from .live_result import LiveResult

FASTEST = 1  # level of zlib: masks shrink well at any
QUALITY = 85  # of JPEG


@dataclass(frozen=True)
class Part:
    """One picture or plane of a message."""

    header: dict[str, Any]
    data: bytes


def page_message(live: LiveResult, state: RigState) -> bytes:
    """The length of a JSON header (4 bytes, little-endian), the header, and the parts it lists."""
    prediction, pair = live.result.prediction, live.result.prepared.pair
    parts = [
        picture("visible", pair.visible),
        picture("infrared", pair.infrared),
        picture("fused", prediction.fused),
        plane("mask", prediction.labels),
    ]
    for name, numbers in (
        ("confidence", prediction.confidence),
        ("counts", live.result.prepared.counts),
    ):
        if numbers is not None:
            parts.append(plane(name, numbers))
    header = {
        "rig": live.rig,
        "sequence": live.sequence,
        "visible_ns": str(live.visible.stamp_ns),  # beyond what a JSON number of a browser holds
        "infrared_ns": str(live.infrared.stamp_ns),
        "report": describe(live.result).model_dump(mode="json"),
        "state": state.model_dump(mode="json"),
        "parts": [part.header | {"bytes": len(part.data)} for part in parts],
    }
    head = json.dumps(header).encode()
    return b"".join((struct.pack("<I", len(head)), head, *(part.data for part in parts)))


def picture(name: str, pixels: NDArray[np.uint8]) -> Part:
    """A picture (H, W, 3) RGB or (H, W) as JPEG."""
    return Part({"name": name, "type": "image/jpeg"}, codecs.encode_jpeg(pixels, QUALITY))


def plane(name: str, pixels: codecs.Pixels) -> Part:
    """Numbers (H, W) of 8 or 16 bit, little-endian, in the format of zlib."""
    little = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))
    header = {
        "name": name,
        "type": pixels.dtype.name,
        "encoding": "deflate",
        "shape": list(pixels.shape),
    }
    return Part(header, zlib.compress(little.data, FASTEST))
