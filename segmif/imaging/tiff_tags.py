"""Reading and writing of the tags in a TIFF's directories, of allowed types only."""

import struct
from collections.abc import Mapping
from enum import IntEnum

from segmif.imaging.image_header import ImageError

MAX_ENTRIES = 512  # of a directory
MAX_STRIPS = 65_536
MAX_COLOURS = 3 * 65_536  # numbers in a palette
MAX_VALUES = 16  # of any other tag
TYPES = {3: "H", 4: "I"}  # SHORT and LONG, TIFF 6.0 section 2
DAMAGED = "the TIFF cannot be decoded: "


class Tag(IntEnum):
    """Tags that describe the pixels (TIFF 6.0)."""

    SUBFILE = 254
    OLD_SUBFILE = 255
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    OFFSETS = 273
    ORIENTATION = 274
    SAMPLES = 277
    STRIP_ROWS = 278
    BYTE_COUNTS = 279
    LARGEST = 281
    PLANAR = 284
    PREDICTOR = 317
    PALETTE = 320
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILE_OFFSETS = 324
    TILE_COUNTS = 325
    EXTRA = 338
    FORMAT = 339


TILES = frozenset({Tag.TILE_WIDTH, Tag.TILE_HEIGHT, Tag.TILE_OFFSETS, Tag.TILE_COUNTS})
KNOWN = frozenset(Tag)
LONGEST: Mapping[int, int] = {
    Tag.OFFSETS: MAX_STRIPS,
    Tag.BYTE_COUNTS: MAX_STRIPS,
    Tag.PALETTE: MAX_COLOURS,
}
# Values of absent tags
DEFAULTS: Mapping[int, int] = {
    Tag.SUBFILE: 0,
    Tag.OLD_SUBFILE: 1,
    Tag.BITS: 1,
    Tag.COMPRESSION: 1,
    Tag.FILL_ORDER: 1,
    Tag.ORIENTATION: 1,
    Tag.SAMPLES: 1,
    Tag.STRIP_ROWS: 2**32 - 1,
    Tag.PLANAR: 1,
    Tag.PREDICTOR: 1,
    Tag.FORMAT: 1,
}

Tags = Mapping[int, tuple[int, ...]]


def read_directory(data: bytes, order: str, at: int) -> tuple[Tags, int]:
    """The known tags of a directory, and the place of the next directory's offset."""
    (entries,) = struct.unpack_from(order + "H", data, at)
    if entries > MAX_ENTRIES:
        raise ImageError("damaged", f"{DAMAGED}a directory of {entries:,} entries")
    tags: dict[int, tuple[int, ...]] = {}
    seen: set[int] = set()
    for entry in range(at + 2, at + 2 + 12 * entries, 12):
        (tag,) = struct.unpack_from(order + "H", data, entry)
        if tag in seen:
            raise ImageError("damaged", f"{DAMAGED}it states tag {tag} twice")
        seen.add(tag)
        if tag in KNOWN:
            tags[tag] = _values(data, order, entry)
    return tags, at + 2 + 12 * entries


def _values(data: bytes, order: str, entry: int) -> tuple[int, ...]:
    """The numbers of a tag, from its entry or from the place that it names."""
    tag, kind, count = struct.unpack_from(order + "HHI", data, entry)
    if kind not in TYPES or not 1 <= count <= LONGEST.get(tag, MAX_VALUES):
        raise ImageError(
            "damaged",
            f"{DAMAGED}tag {tag} has {count:,} values of type {kind}, expected 1 to "
            f"{LONGEST.get(tag, MAX_VALUES):,} of SHORT (3) or LONG (4)",
        )
    letters = f"{order}{count}{TYPES[kind]}"
    place = entry + 8
    if struct.calcsize(letters) > 4:
        (place,) = struct.unpack_from(order + "I", data, place)
    return struct.unpack_from(letters, data, place)


def one(tags: Tags, tag: int) -> int:
    """The value of a tag that has one, or its default."""
    values = tags.get(tag, (DEFAULTS.get(tag, 0),))
    if len(values) != 1:
        raise ImageError("damaged", f"{DAMAGED}tag {tag} has {len(values)} values, expected 1")
    return values[0]


def write_directory(order: str, tags: Tags) -> bytes:
    """The offset of a directory, and the directory with all values as LONG."""
    entries, values = [], b""
    place = 8 + 2 + 12 * len(tags) + 4
    for tag in sorted(tags):
        packed = struct.pack(f"{order}{len(tags[tag])}I", *tags[tag])
        here = packed if len(packed) == 4 else struct.pack(order + "I", place + len(values))
        values += packed if len(packed) > 4 else b""
        entries.append(struct.pack(order + "HHI", tag, 4, len(tags[tag])) + here)
    head = struct.pack(order + "IH", 8, len(entries))
    return b"".join((head, *entries, bytes(4), values))
