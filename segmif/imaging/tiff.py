"""The profile of TIFF: one full-size page of grey, RGB or palette pixels in strips."""

import struct
from dataclasses import dataclass

from segmif.imaging.image_header import Header, ImageError, check_ratio, check_size
from segmif.imaging.tiff_tags import (
    DAMAGED,
    DEFAULTS,
    TILES,
    Tag,
    Tags,
    one,
    read_directory,
    write_directory,
)

MAGICS = (b"II*\x00", b"MM\x00*")
BIG_MAGICS = (b"II+\x00", b"MM\x00+")
MAX_PAGES = 16

PLAIN, LZW, DEFLATE, PACKBITS, OLD_DEFLATE = 1, 5, 8, 32_773, 32_946
COMPRESSIONS = frozenset({PLAIN, LZW, DEFLATE, PACKBITS, OLD_DEFLATE})
WHITE_IS_0, BLACK_IS_0, RGB, INDEXED = 0, 1, 2, 3
SIGNED, FLOAT = 2, 3  # sample formats
PACKED_BITS = frozenset({10, 12, 14})


@dataclass(frozen=True)
class Page:
    """A page whose tags fit the profile."""

    order: str  # of bytes, as struct has it
    tags: Tags
    width: int  # [px]
    height: int  # [px]
    bits: int  # of a sample: 8, 10, 12, 14 or 16
    samples: int  # of a pixel: 1, 3 or 4
    photometric: int
    strip_rows: int

    @property
    def row_bytes(self) -> int:
        """Bytes of an unpacked row."""
        return (self.width * self.samples * self.bits + 7) // 8


def read(data: bytes, max_pixels: int) -> Header:
    """Check a TIFF by its directories; raises ImageError, or struct.error if it breaks off."""
    order = "<" if data.startswith(b"II") else ">"
    page = _checked_page(_full_size_page(data, order, max_pixels), order)
    strips = _strips(data, page)
    channels = {INDEXED: 3}.get(page.photometric, page.samples)
    return Header(
        *("tiff", page.width, page.height, channels, 8 if page.bits == 8 else 16),
        _rewritten(data, page, strips),
        _significant(page),
        16 - page.bits if page.bits in PACKED_BITS else 0,
        page.photometric == WHITE_IS_0,
    )


def _full_size_page(data: bytes, order: str, max_pixels: int) -> Tags:
    """The tags of the one page that is neither a thumbnail nor a mask."""
    (directory,) = struct.unpack_from(order + "I", data, 4)
    pages: list[Tags] = []
    for _ in range(MAX_PAGES):
        tags, following = read_directory(data, order, directory)
        if not _is_reduced(tags):
            if not tags.keys() >= {Tag.WIDTH, Tag.HEIGHT}:
                raise ImageError("damaged", "the TIFF's directory states no width and height")
            check_size("tiff", one(tags, Tag.WIDTH), one(tags, Tag.HEIGHT), max_pixels)
            _check_compression(tags)
            pages.append(tags)
        (directory,) = struct.unpack_from(order + "I", data, following)
        if directory == 0:
            break
    if directory or len(pages) != 1:
        many = "more than one page" if pages else "no full-size page"
        raise ImageError("unsupported_type", f"the TIFF has {many}; send one picture")
    return pages[0]


def _is_reduced(tags: Tags) -> bool:
    """Whether a page is a thumbnail or a mask of another one."""
    return bool(one(tags, Tag.SUBFILE) & 0b101) or one(tags, Tag.OLD_SUBFILE) == 2


def _check_compression(tags: Tags) -> None:
    compression = one(tags, Tag.COMPRESSION)
    if compression not in COMPRESSIONS:
        raise ImageError(
            "unsupported_type",
            f"the TIFF is packed by method {compression}; send it uncompressed, or as LZW, Deflate "
            "or PackBits",
        )


def _checked_page(tags: Tags, order: str) -> Page:
    """The page that its tags describe; raises ImageError outside the profile."""
    if tags.keys() & TILES:
        raise ImageError("unsupported_type", "the TIFF is tiled; send it in strips")
    samples, photometric = one(tags, Tag.SAMPLES), one(tags, Tag.PHOTOMETRIC)
    if Tag.PHOTOMETRIC not in tags:
        raise ImageError("damaged", f"{DAMAGED}it does not say whether it is grey or colour")
    bits = _sample_bits(tags, samples)
    _check_colour(samples, photometric, bits)
    _check_arrangement(tags, bits)
    height = one(tags, Tag.HEIGHT)
    rows = min(one(tags, Tag.STRIP_ROWS), height)
    return Page(order, tags, one(tags, Tag.WIDTH), height, bits, samples, photometric, rows)


def _sample_bits(tags: Tags, samples: int) -> int:
    """Bits of each sample, which must be unsigned."""
    bits = tags.get(Tag.BITS, (DEFAULTS[Tag.BITS],))
    formats = set(tags.get(Tag.FORMAT, (DEFAULTS[Tag.FORMAT],)))
    if FLOAT in formats:
        raise ImageError(
            "depth",
            f"the TIFF has floating-point pixels of {bits[0]} bits; send counts of 16 bits, such "
            "as temperatures in steps of 0.01 K",
        )
    if SIGNED in formats:
        raise ImageError("depth", "the TIFF has signed pixels; send them unsigned, offset by 32768")
    if len(bits) != samples or len(set(bits)) != 1 or formats != {1}:
        raise ImageError(
            "depth", f"the TIFF states {bits} bits for {samples} samples; send 8 or 16 for each"
        )
    if bits[0] not in {8, 16} | PACKED_BITS:
        raise ImageError("depth", f"the TIFF has pixels of {bits[0]} bits; send 8 or 16 bit")
    return bits[0]


def _check_colour(samples: int, photometric: int, bits: int) -> None:
    fits = {
        WHITE_IS_0: samples == 1,
        BLACK_IS_0: samples == 1,
        RGB: samples in (3, 4) and bits not in PACKED_BITS,
        INDEXED: samples == 1 and bits == 8,
    }
    if not fits.get(photometric, False):
        raise ImageError(
            "channels",
            f"the TIFF has {samples} samples of {bits} bits with photometric interpretation "
            f"{photometric}; send grey, or RGB of 8 or 16 bit",
        )


def _check_arrangement(tags: Tags, bits: int) -> None:
    orientation, packed = one(tags, Tag.ORIENTATION), one(tags, Tag.COMPRESSION)
    if orientation != 1:
        raise ImageError(
            "unsupported_type",
            f"the TIFF is turned or mirrored (orientation {orientation}), which would break the "
            "pair; save it as the sensor saw it, with orientation 1",
        )
    if one(tags, Tag.PLANAR) != 1 and one(tags, Tag.SAMPLES) > 1:
        raise ImageError(
            "unsupported_type", "the TIFF has its colours in planes; save it with them interleaved"
        )
    predictors = (1, 2) if bits in (8, 16) and packed not in (PLAIN, PACKBITS) else (1,)
    if one(tags, Tag.FILL_ORDER) != 1 or one(tags, Tag.PREDICTOR) not in predictors:
        raise ImageError(
            "unsupported_type",
            f"the TIFF has predictor {one(tags, Tag.PREDICTOR)} or a fill order that is not read; "
            "save it without",
        )


def _strips(data: bytes, page: Page) -> list[memoryview]:
    """The packed strips, top to bottom; raises ImageError if they cannot hold the page."""
    offsets, counts = page.tags.get(Tag.OFFSETS, ()), page.tags.get(Tag.BYTE_COUNTS, ())
    expected = -(-page.height // page.strip_rows) if page.strip_rows else 0
    if not expected or not len(offsets) == len(counts) == expected:
        raise ImageError(
            "damaged",
            f"{DAMAGED}{len(offsets)} strips with {len(counts)} lengths, expected {expected} of "
            f"{page.strip_rows} rows",
        )
    ends = [offset + count for offset, count in zip(offsets, counts, strict=True)]
    if max(ends) > len(data) or min(counts) == 0 or sum(counts) > len(data):
        raise ImageError("damaged", f"{DAMAGED}its strips reach beyond its {len(data):,} bytes")
    view = memoryview(data)
    strips = [view[start:end] for start, end in zip(offsets, ends, strict=True)]
    for place, strip in enumerate(strips):
        rows = min(page.strip_rows, page.height - place * page.strip_rows)
        _check_strip(page, rows * page.row_bytes, len(strip))
    return strips


def _check_strip(page: Page, unpacked: int, packed: int) -> None:
    check_ratio("tiff", page.width, page.height, unpacked, packed)
    # The last strip may be as long as the others, and a strip may end in padding.
    longest = (min(page.strip_rows, page.height) + 1) * page.row_bytes
    if one(page.tags, Tag.COMPRESSION) == PLAIN and not unpacked <= packed <= longest:
        raise ImageError(
            "damaged",
            f"{DAMAGED}a strip has {packed:,} bytes, its rows take {unpacked:,}: are the stated "
            f"{page.bits} bits those of its samples?",
        )


def _significant(page: Page) -> int | None:
    """Bits that a sample uses, if the file says so."""
    if page.bits in PACKED_BITS:
        return page.bits
    largest = max(page.tags.get(Tag.LARGEST, (0,))[:3])  # the fourth may be alpha
    return min(largest.bit_length(), page.bits) or None


def _rewritten(data: bytes, page: Page, strips: list[memoryview]) -> bytes:
    """The page as a TIFF with the checked tags only."""
    tags: dict[int, tuple[int, ...]] = {
        Tag.WIDTH: (page.width,),
        Tag.HEIGHT: (page.height,),
        Tag.BITS: (page.bits,) * page.samples,
        Tag.PHOTOMETRIC: (page.photometric or BLACK_IS_0,),  # the caller inverts it
        Tag.SAMPLES: (page.samples,),
        Tag.STRIP_ROWS: (page.strip_rows,),
        Tag.OFFSETS: (0,) * len(strips),
        Tag.BYTE_COUNTS: tuple(map(len, strips)),
    }
    if page.samples == 4:
        tags[Tag.EXTRA] = (0,)  # unspecified: the decoder does not change it
    as_they_are = {Tag.COMPRESSION, Tag.PREDICTOR, Tag.PALETTE} & page.tags.keys()
    tags.update((tag, page.tags[tag]) for tag in as_they_are)
    pixels = 8 + 2 + 12 * len(tags) + 4 + sum(4 * len(v) for v in tags.values() if len(v) > 1)
    starts = [pixels]
    for strip in strips[:-1]:
        starts.append(starts[-1] + len(strip))
    tags[Tag.OFFSETS] = tuple(starts)
    return b"".join((data[:4], write_directory(page.order, tags), *strips))
