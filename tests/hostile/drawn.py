"""Input with structure, drawn by hypothesis: mostly right, wrong in one or two places."""

import hashlib
import json
import struct
from typing import Any

import numpy as np
from hypothesis import strategies as st

from segmif.images import encode_jpeg, encode_png
from tests.hostile import encoders
from tests.hostile.encoders import Png, Tiff

# Numbers at which readers go wrong: ends of types, signs, what is not finite.
WHOLE = [0, 1, 2, 3, 4, 7, 8, 12, 16, 32, 47, 48, 63, 64, 65, 255, 256, 4096, 65_535, 65_536]
HUGE = [2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, 10**18, 10**30, 10**400]
STRANGE: list[Any] = [
    -1,
    True,
    None,
    "",
    "64",
    "x" * 70,
    [],
    {},
    [[]],
    0.5,
    -0.0,
    1e-300,
    1e300,
    1e308,
]
NOT_FINITE = [float("nan"), float("inf"), float("-inf")]
WORDS = ["stream", "visible_ns", "infrared_ns", "depth_m", "deadline_ms", "return", "sensors"]
WORDS += ["live", "refine", "shutter", "degraded", "visible", "infrared", "format", "width"]


def whole() -> st.SearchStrategy[int]:
    """A number for a field of 32 bits."""
    return st.sampled_from([*WHOLE, *HUGE[:3]])


def json_values() -> st.SearchStrategy[Any]:
    """A JSON object whose names are those of settings of a pair."""
    leaf = st.sampled_from([*WHOLE, *HUGE, *STRANGE, *NOT_FINITE, "rgb8", "y16", "both", "fused"])
    nested = st.recursive(
        leaf, lambda inner: st.lists(inner, max_size=3) | named(inner), max_leaves=6
    )
    return named(nested)


def named(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Put values under names that mean something."""
    return st.dictionaries(st.sampled_from(WORDS), values, max_size=4)


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


FIELDS = "<4sBBHBBHIIIIIIIIIQQ"  # docs/wire.md


def raw_pairs() -> st.SearchStrategy[bytes]:
    """A raw pair: right, but for up to two fields of its header and the bytes that follow."""
    right = [b"SGMF", 1, 0, 64, 2, 6, 0, 8, 6, 0, 144, 8, 6, 0, 96, 0, 0, 0]
    limits = [0, 255, 255, 65_535, 255, 255, 65_535, *([2**32 - 1] * 9), 2**64 - 1, 2**64 - 1]

    def build(changes: list[tuple[int, int]], tail: bytes, cut: int) -> bytes:
        fields = list(right)
        for place, value in changes:
            fields[place] = min(value, limits[place])
        head = struct.pack(FIELDS, *fields)
        body = head + bytes(index % 251 for index in range(144 + 96)) + tail
        return body[: len(body) - cut]

    change = st.tuples(st.integers(1, 17), st.sampled_from([*WHOLE, *HUGE[:5], 6, 24, 30]))
    cut = st.sampled_from([0, 0, 0, 0, 1, 96, 200, 260, 304])
    return st.builds(build, st.lists(change, max_size=3), st.binary(max_size=8), cut)


def messages() -> st.SearchStrategy[bytes]:
    """What a client may send down its WebSocket."""
    return raw_pairs() | st.builds(encoded_pair, pictures(), pictures()) | st.binary(max_size=80)


def encoded_pair(visible: bytes, infrared: bytes) -> bytes:
    """A raw pair whose frames are files."""
    sizes = (0, 0, 0, len(visible), 0, 0, 0, len(infrared))
    return struct.pack(FIELDS, b"SGMF", 1, 0, 64, 1, 1, 0, *sizes, 0, 0, 0) + visible + infrared


def tensor_requests() -> st.SearchStrategy[tuple[bytes, dict[str, str]]]:
    """A request of the Open Inference Protocol with binary tensors, wrong in places."""
    strange = st.sampled_from([*WHOLE, *HUGE, *STRANGE])
    place = st.sampled_from(
        ["shape", "datatype", "name", "parameters", "data", "head", "outputs", "told", "extra"]
    )

    def build(changes: dict[str, Any], which: int, length: Any) -> tuple[bytes, dict[str, str]]:
        inputs: list[dict[str, Any]] = [
            {"name": name, "datatype": "UINT8", "shape": shape}
            | {"parameters": {"binary_data_size": int(np.prod(shape))}}
            for name, shape in (("visible", [1, 32, 32, 3]), ("infrared", [1, 32, 32]))
        ]
        request: dict[str, Any] = {"inputs": inputs}
        for name, value in changes.items():
            if name in ("told", "extra"):
                request["parameters"] = {"timeout" if name == "told" else "class_count": value}
            elif name == "outputs":
                request["outputs"] = [{"name": "labels", "parameters": {"binary_data": value}}]
            elif name == "head":
                request = value if isinstance(value, dict) else {"inputs": value}
            elif name == "shape":
                inputs[which]["shape"][0] = value
            else:
                inputs[which][name] = value
        head = json.dumps(request).encode()
        told = len(head) if length is None else length
        return head + bytes(range(256)) * 16, {"Inference-Header-Content-Length": str(told)}

    changes = st.dictionaries(place, strange, max_size=2)
    length = st.sampled_from([None, None, None, None, 0, 1, 10**9, -1])
    return st.builds(build, changes, st.integers(0, 1), length)


def rigs() -> st.SearchStrategy[Any]:
    """A rig file: right, but for up to two numbers anywhere in it; or a text that grows."""
    strange = st.sampled_from([*WHOLE, *HUGE[:7], *STRANGE, *NOT_FINITE])

    def build(changes: list[tuple[int, Any]]) -> Any:
        document = rig_document()
        for place, value in changes:
            leaves = list(paths(document))
            node, key = leaves[place % len(leaves)]
            node[key] = value
        return document

    texts = st.sampled_from(
        [
            "a: &a [1, 1]\n" + "".join(f"b{n}: &b{n} [*a, *a]\n" for n in range(3)) + "c: *b2\n",
            "[" * 2000,
            "{" * 200,
            "- " * 1000,
            "\ufeffformat: segmif-rig 1\n",
            "format: segmif-rig 1\nformat: segmif-rig 1\n",
            "%YAML:1.0\n",
            "\x00",
            "? [a]\n: b",
            "!!python/object/apply:os.system [x]",
        ]
    )
    changes = st.lists(st.tuples(st.integers(0, 200), strange), max_size=2)
    return st.builds(build, changes) | texts


def rig_document() -> dict[str, Any]:
    """A good rig file."""
    camera = {
        "width": 64,
        "height": 48,
        "model": "radtan",
        "K": [[60.0, 0, 32.0], [0, 60.0, 24.0], [0, 0, 1]],
        "distortion": [0.01, 0.0, 0.0, 0.0, 0.0],
    }
    T = np.eye(4)
    T[0, 3] = -0.1
    return {
        "format": "segmif-rig 1",
        "visible": json.loads(json.dumps(camera)),
        "infrared": json.loads(json.dumps(camera)),
        "T_infrared_visible": T.tolist(),
        "infrared_position_m": [0.1, 0.0, 0.0],
    }


def paths(node: Any) -> Any:
    """Every place of a document, as the container and the key in it."""
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(value, dict | list):
            yield from paths(value)


def manifests() -> st.SearchStrategy[Any]:
    """A manifest of the seven bytes `weights`: right, but for up to two places; or other bytes."""
    strange = st.sampled_from([*WHOLE[:3], *HUGE, *STRANGE, *NOT_FINITE, "mfnet", "nano"])

    def build(changes: list[tuple[int, Any]], more: dict[str, Any]) -> Any:
        document: dict[str, Any] = {
            "variant": "nano",
            "taxonomy": {"name": "two", "names": ["a", "b"], "palette": [[0, 0, 0], [1, 2, 3]]},
            "precision": "fp32",
            "sha256": hashlib.sha256(b"weights").hexdigest(),
            "tools": {"torch": "2"},
        }
        for place, value in changes:
            leaves = list(paths(document))
            node, key = leaves[place % len(leaves)]
            node[key] = value
        return document | more

    changes = st.lists(st.tuples(st.integers(0, 60), strange), max_size=2)
    more: st.SearchStrategy[dict[str, Any]] = st.just({}) | named(strange)
    broken = st.sampled_from([b"", b"[" * 3000, b"\xff\xfe{", b'{"a": NaN}', b"null", b"{}"])
    return st.builds(build, changes, more) | broken


def small_pair() -> tuple[bytes, bytes]:
    """A good pair of files."""
    grey = ramp((32, 32), (), "u1")
    return encode_png(np.dstack([grey] * 3)), encode_png(grey)
