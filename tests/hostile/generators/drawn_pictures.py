"""Images with structure, drawn by hypothesis: mostly right, wrong in one or two places."""

import struct
from typing import Any

import numpy as np
from hypothesis import strategies as st

from segmif.imaging.codecs import encode_jpeg
from tests.hostile.generators import encoders
from tests.hostile.generators.encoders import Png, Tiff
from tests.hostile.generators.numbers import WHOLE


def pictures() -> st.SearchStrategy[bytes]:
    """A file of one of three formats."""
    return st.one_of(
        tiffs(), pngs(), jpegs(), st.builds(spliced, pngs() | jpegs() | tiffs(), cuts())
    )


def cuts() -> st.SearchStrategy[list[tuple[int, int]]]:
    """Places and new bytes for the first kilobyte of a file, where its structure is."""
    return st.lists(st.tuples(st.integers(0, 1023), st.integers(0, 255)), max_size=3)


def spliced(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    """Replace single bytes."""
    changed = bytearray(data)
    for place, value in changes:
        if place < len(changed):
            changed[place] = value
    return bytes(changed)


def frames() -> st.SearchStrategy[Any]:
    """A small frame: grey or colour, of any of the depths that files can have."""
    shapes = st.sampled_from([(1, 1), (5, 7), (16, 16), (48, 64), (33, 31)])
    channels = st.sampled_from([(), (3,), (4,)])
    kinds = st.sampled_from(["u1", "u2", "u2", "i2", "u4", "f4", "f8"])
    return st.builds(ramp, shapes, channels, kinds)


def ramp(size: tuple[int, int], channels: tuple[int, ...], kind: str) -> Any:
    """Values that differ from pixel to pixel."""
    count = int(np.prod(size + channels))
    return (np.arange(count) * 257 % 65_521).reshape(size + channels).astype(kind)


def tiffs() -> st.SearchStrategy[bytes]:
    """A TIFF with up to two tags that lie, or stand twice."""
    tags = [
        254,
        256,
        257,
        258,
        259,
        262,
        266,
        273,
        274,
        277,
        278,
        279,
        284,
        317,
        320,
        322,
        338,
        339,
    ]
    entry = st.tuples(
        st.sampled_from(tags),
        st.sampled_from([3, 3, 3, 4, 1, 16]),
        st.lists(st.sampled_from(WHOLE[:18]), min_size=1, max_size=3),
    ).map(fitting)

    def build(pixels: Any, lies: list[Any], more: list[Any], order: Any, following: Any) -> bytes:
        changes = {entry[0]: entry for entry in lies}
        return Tiff(pixels, changes, tuple(more), order, next_directory=following).to_bytes()

    lists = st.lists(entry, max_size=2)
    following = st.sampled_from([None, None, None, -1, 8])
    return st.builds(build, frames(), lists, lists, st.sampled_from("<>"), following)


def fitting(entry: tuple[int, int, list[int]]) -> encoders.Entry:
    """Keep values within their type."""
    tag, kind, values = entry
    largest = {1: 255, 3: 65_535, 4: 2**32 - 1, 16: 2**64 - 1}[kind]
    return tag, kind, [min(value, largest) for value in values]


def pngs() -> st.SearchStrategy[bytes]:
    """A PNG whose head, chunks and rows need not fit together."""
    names = [b"PLTE", b"tRNS", b"sBIT", b"gAMA", b"tEXt", b"acTL", b"IHDR", b"IDAT", b"IEND"]
    names += [b"eXIf", b"fcTL", b"pHYs", b"abcd"]
    chunks = st.tuples(st.sampled_from(names), st.binary(max_size=20))
    return st.builds(
        lambda *parts: Png(*parts).to_bytes(),
        st.sampled_from([1, 5, 32, 64, 1000]),
        st.sampled_from([1, 5, 32, 48, 1000]),
        st.sampled_from([1, 2, 4, 8, 8, 16, 3, 0]),
        st.sampled_from([0, 0, 2, 3, 4, 6, 1]),
        st.sampled_from([0, 0, 0, 1]),
        st.lists(chunks, max_size=2).map(tuple),
        st.none() | st.binary(max_size=400),
        st.lists(chunks, max_size=1).map(tuple),
        st.booleans() | st.just(True),
    )


def jpegs() -> st.SearchStrategy[bytes]:
    """A JPEG, plain or progressive, with segments put in front and scans repeated or left out."""
    marker = st.sampled_from([0xC4, 0xC9, 0xCC, 0xD8, 0xDA, 0xDB, 0xDD, 0xE1, 0xEE, 0xFE, 0xC0])
    segment = st.builds(
        lambda marker, content, lie: (
            bytes([0xFF, marker]) + struct.pack(">H", max(len(content) + 2 + lie, 0)) + content
        ),
        marker,
        st.binary(max_size=20),
        st.sampled_from([0, 0, 0, -2, 1, 300]),
    )

    def build(pixels: Any, front: list[bytes], keep: list[int], progressive: bool) -> bytes:
        levels = np.asarray(pixels, np.float64) % 256
        grey = levels.astype(np.uint8)
        picture = grey[..., :3] if grey.ndim == 3 else grey
        if not progressive:
            data = encode_jpeg(np.ascontiguousarray(picture))
            return data[:2] + b"".join(front) + data[2:]
        head, *scans, end = encoders.jpeg_scans(np.ascontiguousarray(picture))
        return b"".join([head, *(scans[place % len(scans)] for place in keep), end])

    order = st.lists(st.integers(0, 9), min_size=1, max_size=40)
    return st.builds(build, frames(), st.lists(segment, max_size=2), order, st.booleans())
