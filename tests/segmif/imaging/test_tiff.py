"""TIFF: what its tags mean is read right or refused in words, with tifffile as the oracle."""

import io
import struct
from collections import Counter
from collections.abc import Iterator
from itertools import product
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from segmif.imaging import codecs
from segmif.imaging.headers import ImageError, read_header

SHAPE = 21, 17
RANDOM = np.random.default_rng(7)
REMEDY = ("send", "save")  # a refusal says what to do


def written(
    pixels: NDArray[Any], order: Any, pages: str, orientation: int, **tags: Any
) -> bytes | None:
    """The pixels as tifffile writes them; None for tags that it holds to be impossible."""
    small = pixels[..., ::2, ::2] if tags.get("planarconfig") != "contig" else pixels[::2, ::2]
    turned = [(274, 3, 1, orientation, True)]
    file = io.BytesIO()
    try:
        with tifffile.TiffWriter(file, byteorder=order) as tiff:
            if pages == "thumbnail first":
                tiff.write(small, subfiletype=1, metadata=None, **tags)
            tiff.write(pixels, metadata=None, extratags=turned, **tags)
            if pages == "thumbnail last":
                tiff.write(small, subfiletype=1, metadata=None, **tags)
            if pages == "two":
                tiff.write(pixels, metadata=None, **tags)
    except ValueError:
        return None
    return file.getvalue()


def meaning(data: bytes) -> NDArray[Any] | None:
    """What tifffile makes of the one full-size page; None if there is not one that stands up."""
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        pages = [page for page in tiff.pages if isinstance(page, tifffile.TiffPage)]
        full = [page for page in pages if not page.subfiletype & 1]
        page = full[0]
        pixels = page.asarray()
        if len(full) > 1 or page.tags["Orientation"].value != 1 or pixels.dtype.kind != "u":
            return None
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            return np.asarray(np.iinfo(pixels.dtype).max - pixels)
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
            assert page.colormap is not None
            return np.moveaxis(page.colormap[:, pixels] >> 8, 0, -1).astype(np.uint8)
        return pixels


def files(photometric: str, samples: int, kind: str) -> Iterator[tuple[str, bytes]]:
    """Every way to write such pixels."""
    for order, packed, predictor, planar, rows in product(
        "<>", (None, "lzw", "zlib", "packbits"), (None, 2), ("contig", "separate"), (5, None)
    ):
        if (predictor and packed not in ("lzw", "zlib")) or (samples == 1 and planar == "separate"):
            continue
        shape = SHAPE if samples == 1 else (*SHAPE, samples)
        shape = shape if planar == "contig" else (samples, *SHAPE)
        pixels = (RANDOM.random(shape) * (255 if kind == "u1" else 30_000)).astype(kind)
        tags: dict[str, Any] = {
            "photometric": photometric,
            "compression": packed,
            "predictor": predictor,
        }
        tags |= {"rowsperstrip": rows} | ({"planarconfig": planar} if samples > 1 else {})
        if photometric == "palette":
            tags["colormap"] = RANDOM.integers(0, 65_535, (3, 256), np.uint16)
        for pages, turned in (
            *product(("one",), range(1, 9)),
            *product(("thumbnail first", "thumbnail last", "two"), (1,)),
        ):
            if (data := written(pixels, order, pages, turned, **tags)) is not None:
                yield f"{order} {packed} {predictor} {planar} {rows} {pages} {turned}", data


@pytest.mark.parametrize("photometric", ["miniswhite", "minisblack", "rgb", "palette"])
@pytest.mark.parametrize("samples", [1, 3, 4])
@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "i2", "f4", "f8"])
def test_every_combination_of_tags_is_read_right_or_refused_with_a_remedy(
    photometric: str, samples: int, kind: str
) -> None:
    outcomes = Counter[str]()
    for name, data in files(photometric, samples, kind):
        try:
            pixels = codecs.decode_header(read_header(data))
        except ImageError as error:
            assert any(word in str(error) for word in REMEDY), f"{name}: {error}"
            outcomes["refused"] += 1
            continue
        right = meaning(data)
        assert right is not None, f"{name}: read, though nobody could know how"
        if pixels.ndim == 3:
            order = [2, 1, 0, 3][: pixels.shape[2]]
            pixels = pixels[..., order] if pixels.shape[2] == 4 else pixels[..., ::-1]
        assert pixels.dtype == right.dtype, name
        np.testing.assert_array_equal(pixels, right, name)
        outcomes["read"] += 1
    plain = {"miniswhite": (1,), "minisblack": (1,), "rgb": (3, 4), "palette": (1,)}
    kinds = ("u1",) if photometric == "palette" else ("u1", "u2")
    readable = samples in plain[photometric] and kind in kinds
    assert (outcomes["read"] > 30) == readable, outcomes


def tiff(*entries: tuple[int, int, tuple[int, ...]], pixels: bytes = b"") -> bytes:
    """A little-endian TIFF of these (tag, type, values), in this order; the strip comes first."""
    values, listed = b"", b""
    start = 8 + len(pixels)
    place = start + 2 + 12 * len(entries) + 4
    for tag, kind, numbers in entries:
        packed = struct.pack(f"<{len(numbers)}{ {3: 'H', 4: 'I'}[kind] }", *numbers)
        where = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack("<I", place)
        listed += struct.pack("<HHI", tag, kind, len(numbers)) + where
        if len(packed) > 4:
            values, place = values + packed, place + len(packed)
    head = struct.pack("<4sI", b"II*\0", start) + pixels + struct.pack("<H", len(entries))
    return head + listed + bytes(4) + values


def grey(
    bits: int, pixels: bytes, width: int = 8, height: int = 4, *more: tuple[int, int, tuple[int]]
) -> bytes:
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: height}
    tags |= {279: len(pixels)}
    listed = [(tag, 4, (value,)) for tag, value in tags.items()]
    return tiff(*listed, *more, pixels=pixels)


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("width", [8, 7])
def test_packed_samples_are_the_counts_that_were_packed(bits: int, width: int) -> None:
    counts = RANDOM.integers(0, 2**bits, (4, width), np.uint16)
    rows = (np.unpackbits(row.astype(">u2").view(np.uint8)).reshape(-1, 16) for row in counts)
    packed = b"".join(np.packbits(row[:, 16 - bits :]).tobytes() for row in rows)
    data = grey(bits, packed, width)
    np.testing.assert_array_equal(codecs.decode_infrared(data), counts)
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(data)), counts)
    assert codecs.decode_visible_frame(data).bits == bits


def test_the_largest_sample_value_tells_the_significant_bits() -> None:
    counts = RANDOM.integers(0, 900, (4, 8), np.uint16)
    data = grey(16, counts.astype("<u2").tobytes(), 8, 4, (281, 3, (4095,)))
    frame = codecs.decode_visible_frame(data, bits=16)
    assert (frame.bits, frame.bits_from) == (12, "file")
    np.testing.assert_array_equal(frame.pixels[..., 0], counts >> 4)


PIXELS = bytes(32)


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (grey(8, PIXELS, 8, 4, (256, 4, (8_000,)), (257, 4, (8_000,))), "damaged", "256 twice"),
        (grey(8, PIXELS).replace(b"\0\1\4\0\1", b"\0\1\5\0\1"), "damaged", "type 5"),
        (grey(8, PIXELS).replace(b"\2\1\4\0\1", b"\2\1\4\0\2"), "depth", "for 1 samples"),
        (grey(8, PIXELS, 8, 5), "damaged", "32 bytes, its rows take 40"),
        (grey(8, PIXELS, 8, 4, (322, 4, (16,))), "unsupported_type", "strips"),
        (grey(8, PIXELS, 8, 4, (330, 4, (0,)), (330, 4, (0,))), "damaged", "330 twice"),
        (grey(8, PIXELS)[:-30], "damaged", "breaks off"),
        (b"II+\0" + bytes(40), "unsupported_type", "classic TIFF"),
        (b"MM\0+" + bytes(40), "unsupported_type", "classic TIFF"),
        (tiff((256, 4, (8,)), (257, 4, (8,))), "damaged", "grey or colour"),
    ],
)
def test_what_the_profile_leaves_out_is_refused(data: bytes, kind: str, words: str) -> None:
    with pytest.raises(ImageError, match=words) as raised:
        codecs.decode_infrared(data)
    assert raised.value.kind == kind


def test_strips_that_lie_upon_each_other_do_not_unfold() -> None:
    height = 60_000
    tags = {256: 60, 257: height, 258: 8, 259: 8, 262: 1, 277: 1, 278: 1}
    listed = [(tag, 4, (value,)) for tag, value in tags.items()]
    strips = ((273, 4, (8,) * height), (279, 4, (1_000,) * height))
    with pytest.raises(ImageError, match="strips reach beyond"):
        read_header(tiff(*listed, *strips, pixels=bytes(1_000)))


def test_the_decoder_is_given_nothing_that_was_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[bytes] = []
    usual = cv2.imdecode

    def watched(data: NDArray[np.uint8], flags: int) -> Any:
        given.append(data.tobytes())
        return usual(data, flags)

    monkeypatch.setattr("cv2.imdecode", watched)
    for data in (
        grey(8, PIXELS, 8, 4, (50_000, 4, (0xDEADBEEF,))) + b"DEADBEEF",
        codecs.encode_png(np.zeros((4, 8), np.uint8)) + b"DEADBEEF",
        codecs.encode_jpeg(np.zeros((4, 8), np.uint8)) + b"DEADBEEF",
        with_comment(codecs.encode_jpeg(np.zeros((4, 8), np.uint8)), b"DEADBEEF"),
    ):
        codecs.decode_infrared(data)
        assert b"DEADBEEF" in data or b"\xef\xbe\xad\xde" in data
        assert b"DEADBEEF" not in given[-1] and b"\xef\xbe\xad\xde" not in given[-1]


def with_comment(jpeg: bytes, words: bytes) -> bytes:
    return jpeg[:2] + b"\xff\xfe" + struct.pack(">H", len(words) + 2) + words + jpeg[2:]


def test_a_decoder_that_gives_something_else_than_the_header_states_is_not_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = codecs.encode_png(np.zeros((4, 8), np.uint8))
    for wrong in (
        np.zeros((8, 4), np.uint8), np.zeros((4, 8), np.uint16), np.zeros((4, 8, 3), np.uint8)
    ):  # fmt: skip
        monkeypatch.setattr("cv2.imdecode", lambda *_, wrong=wrong: wrong)
        with pytest.raises(ImageError, match="its header states") as raised:
            codecs.decode_infrared(data)
        assert raised.value.kind == "damaged"
