"""The profile of JPEG: baseline or progressive, 8 bit, a bounded number of scans."""

import re
import struct

from segmif.imaging.image_header import Header, ImageError, check_ratio, check_size

MAGIC = b"\xff\xd8\xff"
MAX_SEGMENTS = 1_024  # a colour profile or EXIF data may take 255 of them
MAX_SCANS = 64  # an encoder writes about ten; each costs a pass over all pixels

# ITU-T T.81 table B.1
SOF0, SOF1, SOF2, DHT, DAC, EOI, SOS, DQT, DNL, DRI = (
    *(0xC0, 0xC1, 0xC2, 0xC4, 0xCC),
    *(0xD9, 0xDA, 0xDB, 0xDC, 0xDD),
)
JFIF, ADOBE, COMMENT = 0xE0, 0xEE, 0xFE  # APP0 and APP14 define the colour coding
FRAMES = frozenset(range(0xC0, 0xD0)) - {DHT, 0xC8, DAC}
HUFFMAN = frozenset({SOF0, SOF1, SOF2})
# What the decoder needs; other APPn and comments never reach it.
NEEDED = frozenset({*HUFFMAN, DHT, DQT, DRI, SOS, JFIF, ADOBE})
PASSED_OVER = frozenset({*range(0xE1, 0xF0), COMMENT}) - {ADOBE}
# The end of packed pixels: 0xFF before what is no stuffing, fill byte or RSTn.
NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
FILL = re.compile(rb"\xff{1,1024}")
PIECE = 2**18  # [bytes] searched at a time, so that other threads run in between
Frame = tuple[int, int, int]  # width, height, components
DAMAGED = "the JPEG cannot be decoded: "


def read(data: bytes, max_pixels: int) -> Header:
    """Check a JPEG by its markers; raises ImageError, or struct.error if it breaks off."""
    view, at, scans = memoryview(data), 2, 0
    kept, frame = [view[:2]], None
    for _ in range(MAX_SEGMENTS):
        start = at
        marker, at = _marker(data, at)
        if marker == EOI:
            return _checked_header(frame, scans, b"".join((*kept, view[start:at])))
        if marker in FRAMES:
            frame = _frame(marker, data, at, max_pixels, again=frame is not None)
        elif marker not in NEEDED | PASSED_OVER:
            raise ImageError("damaged", f"{DAMAGED}it has a marker 0x{marker:02X}")
        if marker == SOS:
            scans += 1
            _check_scans(frame, scans)
        end = _segment_end(data, at, has_pixels=marker == SOS)
        if marker in NEEDED:
            kept.append(view[start:end])
        at = end
    raise ImageError(
        "unsupported_type", f"the JPEG has more than {MAX_SEGMENTS:,} segments; save it anew"
    )


def _marker(data: bytes, at: int) -> tuple[int, int]:
    """The code of the next marker, and the offset behind it."""
    fill = FILL.match(data, at)
    if not fill:
        words = "a marker is missing" if at < len(data) else "it breaks off before its end"
        raise ImageError("damaged", DAMAGED + words)
    (marker,) = struct.unpack_from("B", data, fill.end())
    return marker, fill.end() + 1


def _segment_end(data: bytes, at: int, has_pixels: bool) -> int:
    """The end offset of a segment and of the packed pixels behind it."""
    length: int = struct.unpack_from(">H", data, at)[0]
    end = at + length
    if length >= 2 and end <= len(data) and not has_pixels:
        return end
    if length >= 2 and has_pixels:
        for start in range(end, len(data), PIECE):
            if found := NEXT_MARKER.search(data, start, start + PIECE + 1):
                return found.start()
    raise ImageError("damaged", DAMAGED + "it breaks off before its end")


def _frame(marker: int, data: bytes, at: int, max_pixels: int, *, again: bool) -> Frame:
    """Width, height and components by the segment that starts a frame."""
    length, precision, height, width = struct.unpack_from(">HBHH", data, at)
    check_size("jpeg", width, height, max_pixels)
    if marker not in HUFFMAN:
        raise ImageError(
            "unsupported_type",
            f"the JPEG is coded by method 0x{marker:02X} (lossless, arithmetic or hierarchical); "
            "send a baseline or progressive one",
        )
    if precision != 8:
        raise ImageError(
            "depth", f"the JPEG has {precision} bits a sample, expected 8; send a 16-bit PNG"
        )
    (components,) = struct.unpack_from("B", data, at + 7)
    if again:
        raise ImageError("damaged", DAMAGED + "it states its size twice")
    if components not in (1, 3, 4) or length != 8 + 3 * components:
        raise ImageError(
            "channels", f"the JPEG has {components} components, expected 1, 3 or 4; save it as RGB"
        )
    return width, height, components


def _check_scans(frame: Frame | None, scans: int) -> None:
    if not frame:
        raise ImageError("damaged", "the JPEG states no size before its picture data")
    if scans > MAX_SCANS:
        raise ImageError(
            "unsupported_type",
            f"the JPEG has more than {MAX_SCANS} scans; save it anew, baseline or progressive",
        )


def _checked_header(frame: Frame | None, scans: int, decodable: bytes) -> Header:
    """The header of a JPEG after all its markers were read."""
    _check_scans(frame, scans)
    if not frame or not scans:
        raise ImageError("damaged", DAMAGED + "it has no picture data")
    width, height, components = frame
    check_ratio("jpeg", width, height, width * height, len(decodable))
    return Header("jpeg", width, height, 1 if components == 1 else 3, 8, decodable)
