"""PNG and JPEG: what is judged before a decoder sees it, at what depth and within what bounds."""

import io
import re
import struct
import time
import zlib
from collections.abc import Callable
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from segmif.imaging import codecs
from segmif.imaging.headers import PNG_MAGIC, ImageError, png_chunks, read_header
from segmif.imaging.png import chunk

SHAPE = 64, 96
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]
GREY = (X + 2 * Y).astype(np.uint8)


def saved(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png(
    width: int, height: int, depth: int, colour_type: int, *parts: tuple[bytes, bytes]
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), *parts, (b"IEND", b""))
    return PNG_MAGIC + b"".join(chunk(*part) for part in chunks)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("ids", ["one", "all"])
def test_label_files_as_pillow_writes_them_keep_their_ids(
    tmp_path: Path, bits: int, ids: str
) -> None:
    labels = np.zeros((480, 640), np.uint8)
    if ids == "all":
        labels[:] = np.arange(640) % 2**bits
    image = Image.fromarray(labels, "P")
    image.putpalette([level % 256 for level in range(3 * 2**bits)])
    (tmp_path / "mask.png").write_bytes(saved(image, bits=bits))
    assert (tmp_path / "mask.png").read_bytes()[24] == bits
    np.testing.assert_array_equal(codecs.read_labels(tmp_path / "mask.png"), labels)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_one_level_over_a_large_grey_frame_is_no_bomb(depth: int) -> None:
    row = b"\0" + bytes(4_000 * depth // 8)
    data = png(4_000, 3_000, depth, 0, (b"IDAT", zlib.compress(row * 3_000, 9)))
    decoded = codecs.decode_infrared(data)
    assert decoded.shape == (3_000, 4_000)
    assert not decoded.any()
    with pytest.raises(ImageError, match="cannot hold"):
        read_header(png(4_000, 3_000, depth, 0, (b"IDAT", zlib.compress(row))))


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("LA", 4), ("RGB", 3), ("RGBA", 4)])
@pytest.mark.parametrize("interlaced", [False, True])
def test_every_kind_of_png_is_what_its_header_states(
    mode: str, channels: int, interlaced: bool
) -> None:
    image = Image.fromarray(np.dstack([GREY, GREY[::-1], GREY[:, ::-1]])).convert(mode)
    data = saved(image)
    if interlaced:  # by hand, of one pixel: all passes but the first are empty
        data = saved(image.crop((0, 0, 1, 1)))
        start = data.index(b"IHDR")
        header = data[start + 4 : start + 16] + b"\1"
        data = data[: start - 4] + chunk(b"IHDR", header) + data[start + 21 :]
    header_ = read_header(data)
    assert header_.channels == channels
    assert codecs.decode_header(header_).shape == header_.shape


def test_what_a_png_says_beside_its_picture_is_never_unpacked() -> None:
    bomb = b"name\0\0" + zlib.compress(bytes(2**26), 9)
    data = codecs.encode_png(GREY)
    beside = chunk(b"iCCP", bomb) + chunk(b"zTXt", bomb) + chunk(b"tEXt", b"a\0b") * 200
    data = data[:33] + beside + data[33:]
    header = read_header(data)
    assert [kind for kind, _ in png_chunks(bytes(header.decodable))] == [b"IHDR", b"IDAT", b"IEND"]
    np.testing.assert_array_equal(codecs.decode_infrared(data), GREY)


IDAT = (b"IDAT", zlib.compress(bytes(9 * 8)))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (png(8, 8, 8, 3, IDAT), "do not fit"),  # no palette
        (png(8, 8, 8, 3, (b"PLTE", bytes(7)), IDAT), "do not fit"),
        (png(8, 8, 8, 3, IDAT, (b"PLTE", bytes(6))), "do not fit"),
        (png(8, 8, 8, 0, IDAT, (b"tEXt", b""), IDAT), "do not fit"),
        (png(8, 8, 8, 0, (b"ABCD", b""), IDAT), "do not fit"),
        (png(8, 8, 8, 0), "do not fit"),
        (png(8, 8, 7, 0, IDAT), "7 bits"),
        (png(8, 8, 8, 5, IDAT), "colour type 5"),
        (png(8, 8, 4, 2, IDAT), "4 bits"),
        (png(8, 8, 8, 0, *[(b"tEXt", b"")] * 20_000, IDAT), "16,384 chunks"),
        (png(8, 8, 8, 0, (b"acTL", bytes(8)), IDAT), "animation"),
    ],
)
def test_a_png_outside_the_profile_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        read_header(data)


def jpeg(progressive: bool = False) -> bytes:
    return cv2.imencode(".jpg", GREY, [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)])[1].tobytes()


def with_scans(count: int) -> bytes:
    """A progressive JPEG with its last scan that many times more."""
    data = jpeg(progressive=True)[:-2]
    return data + data[data.rfind(b"\xff\xda") :] * count + b"\xff\xd9"


def frame_of(marker: int, precision: int = 8) -> bytes:
    """A JPEG whose frame is of another kind."""
    data = jpeg()
    start = data.index(b"\xff\xc0")
    return data[: start + 1] + bytes([marker]) + data[start + 2 : start + 4] + bytes(
        [precision]
    ) + data[start + 5 :]  # fmt: skip


def longest_segments() -> bytes:
    return jpeg()[:2] + b"\xff\xfe\0\2" * 2_000 + jpeg()[2:]


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda: with_scans(20_000), "unsupported_type", "64 scans; save it anew"),
        (lambda: frame_of(0xC3), "unsupported_type", "lossless"),
        (lambda: frame_of(0xC9), "unsupported_type", "arithmetic"),
        (lambda: frame_of(0xC5), "unsupported_type", "hierarchical"),
        (lambda: frame_of(0xC1, 12), "depth", "12 bits a sample"),
        (longest_segments, "unsupported_type", "1,024 segments"),
        (lambda: jpeg()[:2] + jpeg()[20:400], "damaged", "cannot be decoded"),
        (lambda: jpeg()[:-2], "damaged", "breaks off"),
        (lambda: jpeg()[:-2] + b"\xff" * 30_000_000, "damaged", "breaks off"),
        (lambda: jpeg()[:-2] + b"\xff\0" * 15_000_000, "damaged", "breaks off"),
        (lambda: jpeg()[:20] + b"\xff" * 30_000_000, "damaged", "0xFF"),
        (lambda: jpeg()[:2] + b"\xff\xcc\0\4\0\0" + jpeg()[2:], "damaged", "0xCC"),
        (lambda: jpeg()[:2] + b"\xff\xfe\0\0" + jpeg()[2:], "damaged", "breaks off"),
        (lambda: jpeg()[:-2] + jpeg()[20:], "damaged", "twice"),
    ],
)
def test_a_jpeg_outside_the_profile_is_refused_at_once(
    make: Callable[[], bytes], kind: str, words: str
) -> None:
    data = make()
    start = time.process_time()
    with pytest.raises(ImageError, match=words) as raised:
        read_header(data)
    assert time.process_time() - start < 5  # a decoder took twenty seconds for the first
    assert raised.value.kind == kind


def test_jpeg_in_all_its_usual_kinds_is_read() -> None:
    colours = Image.fromarray(np.dstack([GREY, GREY[::-1], GREY[:, ::-1]]))
    for mode, progressive, quality in product(("L", "RGB", "CMYK"), (False, True), (30, 95)):
        data = saved(colours.convert(mode), "JPEG", progressive=progressive, quality=quality)
        frame = codecs.decode_visible_frame(data)
        assert frame.pixels.shape == (*SHAPE, 3)
        assert frame.grey == (mode == "L")
    assert codecs.decode_infrared(with_scans(3)).shape == SHAPE
    restarts = cv2.imencode(".jpg", GREY, [cv2.IMWRITE_JPEG_RST_INTERVAL, 2])[1].tobytes()
    assert re.search(rb"\xff[\xd0-\xd7]", restarts)
    assert codecs.decode_infrared(restarts).shape == SHAPE
    multi = codecs.encode_jpeg(GREY) + codecs.encode_jpeg(GREY[:8])  # as MPO has them
    assert codecs.decode_infrared(multi).shape == SHAPE


def hot(mark: str) -> NDArray[np.uint8]:
    """A white-hot frame saved in colour, with a red mark in it."""
    frame = np.dstack([GREY // 2] * 3)
    if mark == "pixel":
        frame[30, 40] = (255, 0, 0)
    if mark == "cross-hair":
        frame[30, 30:51] = frame[20:41, 40] = (255, 0, 0)
    return frame


@pytest.mark.parametrize("mark", ["none", "pixel", "cross-hair"])
def test_a_coloured_mark_does_not_make_false_colours(mark: str) -> None:
    for data in (
        codecs.encode_png(hot(mark)),
        codecs.encode_jpeg(hot(mark), 95),
        codecs.encode_jpeg(hot(mark), 60),
        codecs.encode_png(hot(mark).astype(np.uint16) * 257),
    ):
        decoded = codecs.decode_infrared(data).astype(int)
        full = 255 if decoded.max() < 256 else 65_535
        assert np.median(np.abs(decoded / full - hot("none")[..., 0] / 255)) < 0.01


@pytest.mark.parametrize("colours", [cv2.COLORMAP_JET, cv2.COLORMAP_HOT, cv2.COLORMAP_BONE])
def test_false_colours_are_refused(colours: int) -> None:
    painted = cv2.applyColorMap(GREY, colours)
    with pytest.raises(ImageError, match="without false colours"):
        codecs.decode_infrared(cv2.imencode(".png", painted)[1].tobytes())
