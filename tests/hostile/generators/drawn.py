"""Input with structure, drawn by hypothesis: mostly right, wrong in one or two places."""

import copy
import hashlib
import json
import struct
from typing import Any

import numpy as np
from hypothesis import strategies as st

from segmif.imaging.codecs import encode_png
from tests.hostile.generators.drawn_pictures import pictures, ramp
from tests.hostile.generators.numbers import HUGE, NOT_FINITE, STRANGE, WHOLE

WORDS = ["stream", "visible_ns", "infrared_ns", "depth_m", "deadline_ms", "return", "sensors"]
WORDS += ["live", "refine", "shutter", "degraded", "visible", "infrared", "format", "width"]


def values(of: list[Any]) -> st.SearchStrategy[Any]:
    """One of some values, as a copy: whoever draws a list may change it."""
    return st.sampled_from(of).map(copy.deepcopy)


def json_values() -> st.SearchStrategy[Any]:
    """A JSON object whose names are those of settings of a pair."""
    leaf = values([*WHOLE, *HUGE, *STRANGE, *NOT_FINITE, "rgb8", "y16", "both", "fused"])
    nested = st.recursive(
        leaf, lambda inner: st.lists(inner, max_size=3) | named(inner), max_leaves=6
    )
    return named(nested)


def named(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Put values under names that mean something."""
    return st.dictionaries(st.sampled_from(WORDS), inner, max_size=4)


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
    strange = values([*WHOLE, *HUGE, *STRANGE])
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
    """A rig file: right, but for up to two places anywhere in it; or a text that grows."""
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
    return st.builds(lambda changes: changed(rig_document(), changes), changes_of_places()) | texts


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


def kalibr_chains() -> st.SearchStrategy[Any]:
    """A Kalibr chain of two cameras: right, but for up to two places anywhere in it."""
    return st.builds(lambda changes: changed(kalibr_document(), changes), changes_of_places())


def opencv_files() -> st.SearchStrategy[str]:
    """A file of OpenCV's stereo sample: right, but for up to two places anywhere in it."""
    return st.builds(
        lambda changes: opencv_text(changed(opencv_document(), changes)), changes_of_places()
    )


def changes_of_places() -> st.SearchStrategy[list[tuple[int, Any]]]:
    """Places of a document, counted from its start, and what to put there."""
    strange = values([*WHOLE, *HUGE[:7], *STRANGE, *NOT_FINITE, "a" * 300])
    return st.lists(st.tuples(st.integers(0, 200), strange), max_size=2)


def changed(document: Any, changes: list[tuple[int, Any]]) -> Any:
    """Put other values into a document."""
    for place, value in changes:
        leaves = list(paths(document))
        node, key = leaves[place % len(leaves)]
        node[key] = value
    return document


def kalibr_document() -> dict[str, Any]:
    """A good chain."""
    camera = {
        "camera_model": "pinhole",
        "intrinsics": [60.0, 60.0, 32.0, 24.0],
        "distortion_model": "radtan",
        "distortion_coeffs": [0.01, 0.0, 0.0, 0.0],
        "resolution": [64, 48],
    }
    T = np.eye(4)
    T[0, 3] = -0.1
    second = json.loads(json.dumps(camera)) | {"T_cn_cnm1": T.tolist(), "timeshift_cam_imu": 0.0}
    return {"cam0": camera, "cam1": second}


def opencv_document() -> dict[str, Any]:
    """A good file of OpenCV's, matrices as mappings."""
    K = [[60.0, 0.0, 32.0], [0.0, 60.0, 24.0], [0.0, 0.0, 1.0]]
    document: dict[str, Any] = {}
    for index in (1, 2):
        document |= {f"image_width{index}": 64, f"image_height{index}": 48}
        document |= {f"M{index}": matrix(K), f"D{index}": matrix([[0.01, 0, 0, 0, 0]])}
    return document | {"R": matrix(np.eye(3).tolist()), "T": matrix([[-0.1], [0.0], [0.0]])}


def matrix(rows: list[list[float]]) -> dict[str, Any]:
    """A matrix as OpenCV stores it."""
    numbers = [number for row in rows for number in row]
    return {"rows": len(rows), "cols": len(rows[0]), "dt": "d", "data": numbers}


def opencv_text(document: dict[str, Any]) -> str:
    """Write it as OpenCV does."""
    lines = ["%YAML:1.0", "---"]
    for name, value in document.items():
        if isinstance(value, dict):
            lines.append(f"{name}: !!opencv-matrix")
            lines += [f"   {key}: {json.dumps(told)}" for key, told in value.items()]
        else:
            lines.append(f"{name}: {json.dumps(value)}")
    return "\n".join(lines) + "\n"


def paths(node: Any) -> Any:
    """Every place of a document, as the container and the key in it."""
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(value, dict | list):
            yield from paths(value)


def manifests() -> st.SearchStrategy[Any]:
    """A manifest of the seven bytes `weights`: right, but for up to two places; or other bytes."""
    strange = values([*WHOLE[:3], *HUGE, *STRANGE, *NOT_FINITE, "mfnet", "nano"])

    def build(changes: list[tuple[int, Any]], more: dict[str, Any]) -> Any:
        document: dict[str, Any] = {
            "variant": "nano",
            "taxonomy": {"name": "two", "names": ["a", "b"], "palette": [[0, 0, 0], [1, 2, 3]]},
            "precision": "fp32",
            "sha256": hashlib.sha256(b"weights").hexdigest(),
            "tools": {"torch": "2"},
        }
        return dict(changed(document, changes)) | more

    changes = st.lists(st.tuples(st.integers(0, 60), strange), max_size=2)
    more: st.SearchStrategy[dict[str, Any]] = st.just({}) | named(strange)
    broken = st.sampled_from([b"", b"[" * 3000, b"\xff\xfe{", b'{"a": NaN}', b"null", b"{}"])
    return st.builds(build, changes, more) | broken


def small_pair() -> tuple[bytes, bytes]:
    """A good pair of files."""
    grey = ramp((32, 32), (), "u1")
    return encode_png(np.dstack([grey] * 3)), encode_png(grey)
