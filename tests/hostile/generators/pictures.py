"""Image files with structure that misleads: what each is, through which reader, what is right."""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import tifffile
from numpy.typing import NDArray

from segmif.imaging.codecs import encode_jpeg, encode_png
from tests.hostile.generators import encoders
from tests.hostile.generators.encoders import SHORT, Png, Tiff

Door = Literal["visible", "infrared", "labels"]
Array = NDArray[Any]


@dataclass(frozen=True)
class Made:
    """Bytes of a file, and the pixels that it means if it can mean any."""

    data: bytes
    pixels: Array | None = None
    unsure: int = 0  # pixels that nobody can know


@dataclass(frozen=True)
class Picture:
    """A named file: it gives its pixels, or it is refused with one of `kinds`."""

    name: str
    door: Door
    make: Callable[[], Made]
    kinds: tuple[str, ...] = ()  # none: it must be accepted
    memory_mib: int = 32  # beyond what the process had before


y, x = np.mgrid[:48, :64]
GREY = (2 * x + y + 30).astype(np.uint8)
COUNTS = (29_000 + 6 * GREY.astype(int)).astype(np.uint16)
COLOUR = np.dstack([GREY, GREY[::-1], 255 - GREY]).astype(np.uint8)
DEEP = COLOUR.astype(np.uint16) * 257
LABELS = ((x // 8 + y // 8) % 4).astype(np.uint8)

REFUSED = ("unsupported_type", "damaged", "depth", "channels", "too_large")
UNSUPPORTED, DAMAGED = ("unsupported_type",), ("damaged",)


def written(pixels: Array, meant: Array | None = None, **words: Any) -> Callable[[], Made]:
    """What tifffile writes of pixels."""

    def make() -> Made:
        file = io.BytesIO()
        tifffile.imwrite(file, pixels, **words)
        return Made(file.getvalue(), pixels if meant is None else meant)

    return make


def turned(orientation: int) -> Callable[[], Made]:
    """A frame that its reader should turn, by the tag; a sensor's frame stays as it is."""
    return written(COUNTS, extratags=[(274, SHORT, 1, orientation, True)])


def tiff(pixels: Array, **words: Any) -> Callable[[], Made]:
    """What our own writer makes of pixels: the tags may lie."""
    return lambda: Made(Tiff(pixels, **words).to_bytes(), pixels)


def png(meant: Array | None = None, **words: Any) -> Callable[[], Made]:
    """What our own writer makes of PNG's fields."""
    return lambda: Made(Png(**words).to_bytes(), meant)


def pages(*sizes: int) -> Callable[[], Made]:
    """A TIFF of several pages, each a part of the counts; the largest is meant."""

    def make() -> Made:
        file = io.BytesIO()
        with tifffile.TiffWriter(file) as writer:
            for size in sizes:
                writer.write(COUNTS[:size, :size], subfiletype=int(size < max(sizes)))
        return Made(file.getvalue(), COUNTS[: max(sizes), : max(sizes)])

    return make


def deflated(shape: tuple[int, ...], dtype: str) -> Callable[[], Made]:
    """A TIFF of zeros that is small on disk and large in memory."""

    def make() -> Made:
        zeros = np.zeros(shape, dtype)
        packed = encoders.zlib_zeros(zeros.nbytes)
        changes = {encoders.COMPRESSION: (encoders.COMPRESSION, SHORT, [8])}
        return Made(Tiff(zeros, changes, strip=packed).to_bytes())

    return make


def twice(tag: int, first: int, second: int) -> Callable[[], Made]:
    """One tag with two values: the first is judged, the second decoded, or the other way round."""
    changes: dict[int, encoders.Entry | None] = {tag: (tag, SHORT, [first])}
    return tiff(COUNTS, changes=changes, more=((tag, SHORT, [second]),))


def scans(count: int, side: int) -> Callable[[], Made]:
    """A progressive JPEG with far more scans than any camera writes."""
    flat = np.full((side, side), 90, np.uint8)
    return lambda: Made(encoders.jpeg_of_many_scans(flat, count))


def segments(marker: int, count: int, size: int) -> Callable[[], Made]:
    """A JPEG with many segments in front of its picture."""
    segment = bytes([0xFF, marker]) + struct.pack(">H", size) + bytes(size - 2)
    return lambda: Made(encoders.jpeg_with(GREY, segment * count))


def crosshair() -> Made:
    """A white-hot frame saved in colour, with one coloured pixel that a camera drew."""
    grey = np.dstack([GREY] * 3)
    grey[24, 32] = (255, 0, 0)
    return Made(encode_png(grey), GREY, unsure=1)


def texts(count: int, size: int) -> tuple[tuple[bytes, bytes], ...]:
    """Chunks of compressed text, each of so many bytes when unpacked."""
    return ((b"zTXt", b"Comment\0\0" + encoders.zlib_zeros(size)),) * count


def stated(tag: int, *values: int, kind: int = SHORT) -> dict[int, encoders.Entry | None]:
    """One tag with other values."""
    return {tag: (tag, kind, list(values))}


TIFF = [
    Picture("tiff_min_is_white", "infrared", written(COUNTS, 65_535 - COUNTS,
            photometric="miniswhite")),
    Picture("tiff_min_is_white_8_bit", "infrared", written(GREY, 255 - GREY,
            photometric="miniswhite")),
    *(Picture(f"tiff_orientation_{turn}", "infrared", turned(turn), UNSUPPORTED)
      for turn in range(2, 9)),
    Picture("tiff_planar_rgb_16_bit", "visible", written(DEEP.transpose(2, 0, 1), COLOUR,
            photometric="rgb", planarconfig="separate"), UNSUPPORTED),
    Picture("tiff_thumbnail_first", "infrared", pages(16, 48)),
    Picture("tiff_thumbnail_last", "infrared", pages(48, 16)),
    Picture("tiff_two_pages_of_one_size", "infrared", pages(48, 48), UNSUPPORTED),
    Picture("tiff_directory_of_itself", "infrared", tiff(COUNTS, next_directory=-1), REFUSED),
    Picture("tiff_big", "infrared", written(COUNTS, bigtiff=True), UNSUPPORTED),
    Picture("tiff_float_kelvin", "infrared", written((COUNTS / 100).astype(np.float32)),
            ("depth", "unsupported_type")),
    Picture("tiff_signed_counts", "infrared", written(COUNTS.astype(np.int16)),
            ("depth", "unsupported_type")),
    Picture("tiff_32_bit_counts", "infrared", written(COUNTS.astype(np.uint32)),
            ("depth", "unsupported_type")),
    Picture("tiff_float32_of_49_megapixels", "infrared", deflated((7000, 7000), "f4"), REFUSED),
    Picture("tiff_float64_of_49_megapixels", "infrared", deflated((7000, 7000), "f8"), REFUSED),
    Picture("tiff_width_twice", "infrared", twice(encoders.WIDTH, 64, 4096), DAMAGED),
    Picture("tiff_width_twice_the_other_way", "infrared", twice(encoders.WIDTH, 4096, 64), DAMAGED),
    Picture("tiff_height_twice", "infrared", twice(encoders.HEIGHT, 48, 4096), DAMAGED),
    Picture("tiff_bits_twice", "infrared", twice(encoders.BITS, 16, 8), DAMAGED),
    Picture("tiff_rows_of_a_strip_twice", "infrared", twice(encoders.ROWS, 48, 60_000), DAMAGED),
    Picture("tiff_width_as_a_double", "infrared",
            tiff(COUNTS, changes={encoders.WIDTH: (encoders.WIDTH, 12, [64])}), DAMAGED),
    Picture("tiff_width_as_a_64_bit_number", "infrared",
            tiff(COUNTS, changes={encoders.WIDTH: (encoders.WIDTH, 16, [64])}), DAMAGED),
    Picture("tiff_width_of_two_values", "infrared",
            tiff(COUNTS, changes=stated(encoders.WIDTH, 64, 4096)), DAMAGED),
    Picture("tiff_width_of_zero", "infrared", tiff(COUNTS, changes=stated(encoders.WIDTH, 0)),
            DAMAGED),
    Picture("tiff_strip_outside_the_file", "infrared", tiff(COUNTS,
            changes=stated(encoders.OFFSETS, 2**31, kind=encoders.LONG)), DAMAGED),
    Picture("tiff_of_65_samples", "infrared", tiff(COUNTS, changes=stated(encoders.SAMPLES, 65)),
            REFUSED),
    Picture("tiff_12_bit_stated_8", "infrared", tiff(COUNTS, changes=stated(encoders.BITS, 8)),
            REFUSED),
    Picture("tiff_jpeg_inside", "infrared", tiff(COUNTS, changes=stated(encoders.COMPRESSION, 7)),
            UNSUPPORTED),
    Picture("tiff_fax_inside", "infrared", tiff(COUNTS, changes=stated(encoders.COMPRESSION, 4)),
            UNSUPPORTED),
    Picture("tiff_tiled", "infrared", written(COUNTS, tile=(16, 16)), UNSUPPORTED),
    Picture("tiff_big_endian_counts", "infrared", tiff(COUNTS, order=">")),
    Picture("tiff_counts", "infrared", tiff(COUNTS)),
    Picture("tiff_lzw_predictor", "infrared", written(COUNTS, compression="deflate",
            predictor=True)),
]  # fmt: skip
JPEG = [
    Picture("jpeg_20000_scans", "infrared", scans(20_000, 1024), DAMAGED + UNSUPPORTED),
    Picture("jpeg_500_scans_of_12_megapixels", "infrared", scans(500, 3500),
            DAMAGED + UNSUPPORTED),
    Picture("jpeg_50000_empty_segments", "infrared", segments(0xFE, 50_000, 2),
            DAMAGED + UNSUPPORTED),
    Picture("jpeg_3_mb_of_profile", "infrared", segments(0xE2, 50, 65_535)),
    Picture("jpeg_progressive", "visible", lambda: Made(
            b"".join(encoders.jpeg_scans(COLOUR[..., ::-1])))),
    Picture("jpeg_two_sizes", "visible", lambda: Made(encode_jpeg(COLOUR).replace(
            b"\xff\xc0", b"\xff\xc0\x00\x0b\x08\x40\x00\x40\x00\x01\x01\x11\x00\xff\xc0", 1)),
            ("damaged", "too_large")),
    Picture("jpeg_12_bit", "visible", lambda: Made(encode_jpeg(COLOUR).replace(
            b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c", 1)), REFUSED),
    Picture("jpeg_lossless", "visible", lambda: Made(encode_jpeg(COLOUR).replace(
            b"\xff\xc0", b"\xff\xc3", 1)), REFUSED),
    Picture("jpeg_arithmetic_of_no_scan", "visible", lambda: Made(encode_jpeg(COLOUR).replace(
            b"\xff\xc0", b"\xff\xc9", 1)), REFUSED),
    Picture("png_crosshair", "infrared", crosshair),
]  # fmt: skip
PNG = [
    Picture("png_2_bit_palette_mask", "labels", lambda: Made(
            encoders.png_of(LABELS, 2, 3), LABELS)),
    Picture("png_2_bit_palette_of_one_colour", "labels", lambda: Made(
            encoders.png_of(np.ones((1024, 1280), np.uint8), 2, 3),
            np.ones((1024, 1280), np.uint8))),
    Picture("png_1_bit_of_one_colour", "infrared", lambda: Made(
            encoders.png_of(np.ones((1024, 1280), np.uint8), 1),
            np.full((1024, 1280), 255, np.uint8))),
    Picture("png_4_bit_grey", "infrared", lambda: Made(
            encoders.png_of(GREY // 16, 4), GREY // 16 * 17)),
    Picture("png_of_4_gigabytes", "infrared", png(width=65_535, height=65_535, rows=b""),
            ("too_large", "damaged")),
    Picture("png_49_megapixels_of_48_bits", "visible", png(width=7000, height=7000, depth=16,
            colour=2, rows=bytes(1000)), DAMAGED),
    Picture("png_text_of_a_gigabyte", "infrared", lambda: Made(Png(64, 48, before=texts(
            10, 100 << 20)).to_bytes(), np.zeros((48, 64), np.uint8))),
    Picture("png_100000_chunks", "infrared", png(width=64, height=48,
            before=((b"tEXt", b"a\0b"),) * 100_000), REFUSED),
    Picture("png_two_heads", "infrared", png(width=64, height=48, before=(
            (b"IHDR", struct.pack(">IIBBBBB", 4096, 4096, 8, 0, 0, 0, 0)),)), DAMAGED),
    Picture("png_without_end", "infrared", png(width=64, height=48, end=False), DAMAGED),
    Picture("png_animation", "infrared", png(width=64, height=48,
            before=((b"acTL", struct.pack(">II", 2, 0)),)), UNSUPPORTED),
    Picture("png_palette_of_nothing", "visible", png(width=64, height=48, colour=3), REFUSED),
    Picture("png_depth_of_3", "infrared", png(width=64, height=48, depth=3), REFUSED),
    Picture("png_chunk_of_4_gigabytes", "infrared", lambda: Made(
            Png(64, 48).to_bytes()[:33] + encoders.chunk(b"tEXt", b"x", 2**32 - 1)), DAMAGED),
]  # fmt: skip
PICTURES = [*TIFF, *JPEG, *PNG]
