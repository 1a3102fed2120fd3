"""Frames through the codec: what comes in whole, what is refused and in which words."""

import struct
import time
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from segmif.files import write_bytes
from segmif.imaging import codecs
from segmif.imaging.codecs import ImageError
from segmif.imaging.headers import PNG_MAGIC, png_chunks

HEIGHT, WIDTH = 37, 53


@pytest.fixture
def colours() -> NDArray[np.uint8]:
    """A colour frame whose channels all differ, smooth enough for JPEG."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([3 * x, 4 * y, 2 * x + y], axis=-1).astype(np.uint8)


@pytest.fixture
def counts() -> NDArray[np.uint16]:
    """Thermal counts that use the low byte as well as the high one."""
    return (np.arange(HEIGHT * WIDTH, dtype=np.uint16) * 31).reshape(HEIGHT, WIDTH)


def tiff(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    stored = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    return cv2.imencode(".tiff", np.ascontiguousarray(stored))[1].tobytes()


def chunk(kind: bytes, content: bytes) -> bytes:
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def png_header(width: int, height: int, depth: int = 8, colour_type: int = 2) -> bytes:
    return PNG_MAGIC + chunk(b"IHDR", struct.pack(">IIBB3x", width, height, depth, colour_type))


def refusal(data: bytes) -> ImageError:
    with pytest.raises(ImageError) as raised:
        codecs.decode_visible(data)
    return raised.value


def test_visible_comes_back_in_rgb_from_every_format(colours: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(codecs.decode_visible(codecs.encode_png(colours)), colours)
    np.testing.assert_array_equal(codecs.decode_visible(tiff(colours)), colours)
    jpeg = codecs.decode_visible(codecs.encode_jpeg(colours, quality=100))
    assert np.abs(jpeg.astype(int) - colours).mean() < 2


def test_visible_drops_alpha_and_the_lower_eight_of_16_bit(colours: NDArray[np.uint8]) -> None:
    with_alpha = np.dstack([colours[..., ::-1], np.full((HEIGHT, WIDTH), 7, np.uint8)])
    data = cv2.imencode(".png", with_alpha)[1].tobytes()
    np.testing.assert_array_equal(codecs.decode_visible(data), colours)
    deep = colours.astype(np.uint16) * np.uint16(256) + np.uint16(200)
    np.testing.assert_array_equal(codecs.decode_visible(codecs.encode_png(deep)), colours)


def test_16_bit_infrared_keeps_every_count(counts: NDArray[np.uint16]) -> None:
    for data in (codecs.encode_png(counts), tiff(counts)):
        decoded = codecs.decode_infrared(data)
        assert decoded.dtype == np.uint16
        np.testing.assert_array_equal(decoded, counts)


def test_infrared_saved_as_colour_is_grey_but_pseudo_colour_is_refused(
    colours: NDArray[np.uint8],
) -> None:
    grey = colours[..., 0]
    for data in (codecs.encode_png(np.dstack([grey] * 3)), codecs.encode_png(grey)):
        np.testing.assert_array_equal(codecs.decode_infrared(data), grey)
    with pytest.raises(ImageError, match="3 different channels, expected 1") as raised:
        codecs.decode_infrared(codecs.encode_png(colours))
    assert raised.value.kind == "channels"


def test_a_grey_visible_frame_is_taken_as_grey_and_noted(
    colours: NDArray[np.uint8], tmp_path: Path
) -> None:
    grey = np.ascontiguousarray(colours[..., 0])
    frame = codecs.decode_visible_frame(codecs.encode_png(grey))
    np.testing.assert_array_equal(frame.pixels, np.dstack([grey] * 3))
    assert frame.grey
    assert not codecs.decode_visible_frame(codecs.encode_png(colours)).grey
    with pytest.raises(ImageError, match="not swapped"):
        codecs.decode_infrared(codecs.encode_png(colours))


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (b"", "empty", "0 bytes"),
        (b"GIF89a" + bytes(40), "unsupported_type", "send JPEG, PNG or TIFF"),
        (png_header(0, 480), "damaged", "0x480"),
        (png_header(640, 480)[:18], "damaged", "breaks off"),
        (png_header(640, 480), "damaged", "cannot be decoded"),
        (b"\xff\xd8\xff\xda\x00\x08", "damaged", "no size before"),
        (b"\xff\xd8\xff\xe0\xff\xff", "damaged", "breaks off"),
        (b"II*\x00\xff\xff\xff\xff", "damaged", "breaks off"),
        (b"MM\x00*\x00\x00\x00\x08\x00\x00", "damaged", "no width and height"),
    ],
)
def test_what_is_not_a_whole_image_is_refused_in_words(data: bytes, kind: str, words: str) -> None:
    error = refusal(data)
    assert error.kind == kind
    assert words in str(error)


def test_half_a_file_is_damaged_not_half_grey(colours: NDArray[np.uint8]) -> None:
    for data in (codecs.encode_png(colours), codecs.encode_jpeg(colours), tiff(colours)):
        assert refusal(data[: len(data) * 3 // 4]).kind == "damaged"


@pytest.mark.parametrize(
    "data",
    [
        png_header(20_000, 20_000),
        b"\xff\xd8\xff\xe0\x00\x04\x00\x00\xff\xff\xc0\x00\x11\x08"
        + struct.pack(">HH", 2**14, 2**14),
        b"MM\x00*\x00\x00\x00\x08\x00\x02"
        + struct.pack(">HHIHxx", 256, 3, 1, 20_000)
        + struct.pack(">HHII", 257, 4, 1, 20_000),
    ],
    ids=["png", "jpeg", "tiff"],
)
def test_huge_sizes_are_refused_from_the_header_alone(data: bytes) -> None:
    tracemalloc.start()
    start = time.perf_counter()
    error = refusal(data)
    seconds = time.perf_counter() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert error.kind == "too_large"
    assert "at most 50,000,000 pixels" in str(error)
    assert seconds < 0.05
    assert peak < 100_000


def test_exif_orientation_does_not_turn_a_sensor_frame(colours: NDArray[np.uint8]) -> None:
    directory = b"II*\x00\x08\x00\x00\x00" + struct.pack("<HHHIHxxI", 1, 0x112, 3, 1, 6, 0)
    exif = b"Exif\0\0" + directory
    jpeg = codecs.encode_jpeg(colours)
    turned = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    obeying = cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR)
    assert obeying is not None
    assert obeying.shape == (WIDTH, HEIGHT, 3)
    assert codecs.decode_visible(turned).shape == (HEIGHT, WIDTH, 3)


def test_mask_is_an_indexed_png_that_reads_back_as_ids(tmp_path: Path) -> None:
    labels = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) % 9
    palette = tuple((10 * id, 20 * id, 5 * id) for id in range(9))
    data = codecs.encode_indexed_png(labels, palette)
    header = dict(png_chunks(data))[b"IHDR"]
    assert (header[8], header[9]) == (8, 3)
    shown = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(shown, np.array(palette, np.uint8)[labels])
    write_bytes(tmp_path / "mask.png", data)
    np.testing.assert_array_equal(codecs.read_labels(tmp_path / "mask.png"), labels)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_labels_of_narrow_indices_keep_their_ids(tmp_path: Path, depth: int) -> None:
    ids = np.array([[0, 1, 1, 0, 1, 0, 0, 1]], np.uint8) * (2**depth - 1)
    bits = np.unpackbits(ids[..., None], axis=-1)[..., 8 - depth :]
    row = b"\0" + np.packbits(bits.reshape(-1)).tobytes()
    parts = (b"PLTE", bytes(3 * 2**depth)), (b"IDAT", zlib.compress(row)), (b"IEND", b"")
    data = png_header(8, 1, depth, 3) + b"".join(chunk(*part) for part in parts)
    (tmp_path / "labels.png").write_bytes(data)
    np.testing.assert_array_equal(codecs.read_labels(tmp_path / "labels.png"), ids)


def test_reading_names_the_file_at_fault(tmp_path: Path, colours: NDArray[np.uint8]) -> None:
    codecs.write_png(tmp_path / "frame.png", colours)
    np.testing.assert_array_equal(codecs.read_visible(tmp_path / "frame.png"), colours)
    for read in (codecs.read_infrared, codecs.read_labels):
        with pytest.raises(ImageError, match=r"frame\.png"):
            read(tmp_path / "frame.png")


def test_a_failed_write_leaves_neither_half_a_file_nor_its_trace(tmp_path: Path) -> None:
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(OSError, match=r"taken\.png"):
        write_bytes(tmp_path / "taken.png", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["taken.png"]


def test_resized_labels_stay_ids() -> None:
    labels = np.tile(np.array([0, 7], np.uint8), (8, 4))
    assert set(np.unique(codecs.resize(labels, 5, 5, nearest=True))) <= {0, 7}
    assert codecs.resize(np.zeros((8, 8, 3), np.uint8), 4, 6).shape == (4, 6, 3)


def deep_png(samples: NDArray[Any], significant: int | None = None) -> bytes:
    """A 16-bit RGB PNG, with an sBIT chunk if bits are stated."""
    data = codecs.encode_png(samples.astype(np.uint16))
    said = chunk(b"sBIT", bytes([significant] * 3)) if significant else b""
    return data[:33] + said + data[33:]


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_visible_of_more_than_8_bit_keeps_its_colour(colours: NDArray[np.uint8], bits: int) -> None:
    largest = np.uint16(2**bits - 1)
    samples = (colours.astype(np.uint16) << (bits - 8)) | np.uint16(1)
    samples[0, 0] = largest
    right = (samples >> (bits - 8)).astype(np.uint8)
    moved = (samples << np.uint16(16 - bits)) | (samples >> np.uint16(max(2 * bits - 16, 0)))
    for data, stated, bits_from in (
        (deep_png(samples, bits), None, "file"),
        (deep_png(samples), bits, "stated"),
        (deep_png(samples), None, "file" if bits == 16 else "guessed"),
        (deep_png(samples << np.uint16(16 - bits), bits), None, "file"),
        (deep_png(moved, bits), None, "file"),
    ):
        frame = codecs.decode_visible_frame(data, bits=stated)
        np.testing.assert_array_equal(frame.pixels, right)
        assert frame.bits_from == bits_from


def test_an_opaque_alpha_tells_nothing_of_the_bits(colours: NDArray[np.uint8]) -> None:
    samples = colours.astype(np.uint16)[..., ::-1] << np.uint16(4)
    opaque = np.full((HEIGHT, WIDTH), 65_535, np.uint16)
    data = cv2.imencode(".png", np.dstack([samples, opaque]))[1].tobytes()
    stated = data[:33] + chunk(b"sBIT", bytes([12, 12, 12, 16])) + data[33:]
    for file, bits_from in ((data, "guessed"), (stated, "file")):
        frame = codecs.decode_visible_frame(file)
        assert (frame.bits, frame.bits_from) == (12, bits_from)
        np.testing.assert_array_equal(frame.pixels, colours)


def test_visible_brighter_than_the_stated_bits_is_refused(colours: NDArray[np.uint8]) -> None:
    data = deep_png(colours.astype(np.uint16) << np.uint16(6))
    with pytest.raises(ImageError, match="which 12 bits cannot hold") as raised:
        codecs.decode_visible(data, bits=12)
    assert raised.value.kind == "depth"
