"""A live result as the bytes that the page shows: pictures as JPEG, numbers exact."""

import json
import struct
import zlib
from collections.abc import Callable
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


Both = Callable[[Callable[[], "Parts"], Callable[[], "Parts"]], tuple["Parts", "Parts"]]


@dataclass(frozen=True)
class Part:
    """One picture or plane of a message."""

    header: dict[str, Any]
    data: bytes


def page_message(live: LiveResult, state: RigState, both: Both) -> bytes:
    """
    The length of a JSON header (4 bytes, little-endian), the header, and the parts it lists.

    `both` calls two functions, perhaps side by side.
    """
    prediction, pair = live.result.prediction, live.result.prepared.pair
    # Counts are half of the work: a second core takes them.
    pictures, numbers = both(
        lambda: [
            picture("visible", pair.visible),
            picture("infrared", pair.infrared),
            picture("fused", prediction.fused),
        ],
        lambda: [
            plane("mask", prediction.labels),
            *_planes("confidence", prediction.confidence),
            *_planes("counts", live.result.prepared.counts),
        ],
    )
    parts = [*pictures, *numbers]
    header = {
        "rig": live.rig,
        "sequence": live.sequence,
        "visible_ns": _text(live.visible),
        "infrared_ns": _text(live.infrared),
        "report": live.report,
        "state": state.model_dump(mode="json"),
        "parts": [part.header | {"bytes": len(part.data)} for part in parts],
    }
    head = json.dumps(header).encode()
    return b"".join((struct.pack("<I", len(head)), head, *(part.data for part in parts)))


Parts = list[Part]


def _planes(name: str, pixels: codecs.Pixels | None) -> Parts:
    return [] if pixels is None else [plane(name, pixels)]


def _text(frame: SourceFrame | None) -> str | None:
    """A stamp; it is beyond what a JSON number of a browser holds."""
    return str(frame.stamp_ns) if frame else None


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
    # Noise has no repeats to find; masks have runs.
    strategy = zlib.Z_DEFAULT_STRATEGY if name == "confidence" else zlib.Z_RLE
    packer = zlib.compressobj(FASTEST, strategy=strategy)
    return Part(header, packer.compress(little.data) + packer.flush())
