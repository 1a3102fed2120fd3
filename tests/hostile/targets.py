"""
What the fuzzer draws, and what must hold of it whatever it drew.

Every target is a strategy and a check. A check raises nothing for input that is refused in words,
and AssertionError for an answer that contradicts its input.
"""

import io
import json
import re
import socket
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import tifffile
import yaml
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from websockets.sync.client import connect

from calibration.commands.convert import read as read_foreign
from calibration.io.rig_fields import ReadOptions
from segmif.classes import colorize
from segmif.geometry.rig import Rig, read_rig, write_rig
from segmif.imaging import codecs
from segmif.imaging.headers import read_header
from segmif.manifest import Manifest, ManifestError
from segmif.wire.binary_pair import HEADER_BYTES, RawAnswer, WireError, read_pair
from segmif.wire.raw_frames import Frame, raw_infrared, raw_visible
from service.pipeline.align import RigAligner
from tests.hostile.generators.drawn import (
    json_values,
    kalibr_chains,
    manifests,
    messages,
    opencv_files,
    raw_pairs,
    rigs,
    tensor_requests,
)
from tests.hostile.generators.drawn_http import requests
from tests.hostile.generators.drawn_pictures import pictures

MAX_PIXELS = 1_000_000
ALLOWED = {200, 400, 404, 406, 408, 409, 411, 413, 415, 422, 429, 503}


@dataclass(frozen=True)
class World:
    """What checks need beside their input: a running service and a folder to write in."""

    client: httpx.Client
    folder: Path


Check = Callable[[World, Any], None]


def check_picture(_: World, data: bytes) -> None:
    """Our header equals what three decoders give, or the picture is refused."""
    for decode in (codecs.decode_visible, codecs.decode_infrared):
        with suppress(codecs.ImageError):
            pixels = decode(data, MAX_PIXELS)
            header = read_header(data)
            assert pixels.shape[:2] == (header.height, header.width)
            same_as_others(data, header.format, pixels)


def same_as_others(data: bytes, format: str, pixels: NDArray[Any]) -> None:
    """Compare accepted pixels with what OpenCV and another library make of the very same bytes."""
    plain = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if plain is not None:  # else it stumbled over what our reader leaves out, as unknown chunks
        assert plain.shape[:2] == pixels.shape[:2]
    if (other := by_other_library(data, format)) is None:
        return
    assert other.shape[:2] == pixels.shape[:2]
    if other.dtype == pixels.dtype and other.ndim == pixels.ndim and format != "jpeg":
        assert np.array_equal(other[..., :3] if other.ndim == 3 else other, pixels)


def by_other_library(data: bytes, format: str) -> NDArray[Any] | None:
    """Read a file with tifffile or Pillow; None if that library wants what no pixel needs."""
    try:
        if format == "tiff":
            with tifffile.TiffFile(io.BytesIO(data)) as file:
                return np.asarray(file.pages[0].asarray())
        with Image.open(io.BytesIO(data)) as picture:
            same = {"1": "L", "P": "RGB", "LA": "RGBA"}.get(picture.mode, picture.mode)
            return np.asarray(picture.convert(same)) if same in ("L", "RGB", "RGBA") else None
    except Exception:  # theirs, not ours: each knows damage of its own kind
        return None


def check_raw_pair(_: World, message: bytes) -> None:
    """A raw pair is refused, or its frames have the sizes that its header states."""
    with suppress(WireError, codecs.ImageError):
        pair = read_pair(message[:HEADER_BYTES], memoryview(message)[HEADER_BYTES:])
        for frame, decode in ((pair.visible, raw_visible), (pair.infrared, raw_infrared)):
            if frame and frame.layout:
                check_raw_frame(frame, decode(frame, MAX_PIXELS))


def check_raw_frame(frame: Frame, pixels: NDArray[Any]) -> None:
    """Compare a raw frame with what its bytes say, row by row and without our reader."""
    layout = frame.layout
    assert layout and pixels.shape[:2] == (layout.height, layout.width)
    if layout.format in ("rgb8", "y8", "y16"):
        stride = layout.stride or layout.row_bytes
        for row in range(layout.height):
            held = bytes(frame.data[row * stride : row * stride + layout.row_bytes])
            assert held == np.ascontiguousarray(pixels[row]).tobytes()


def check_socket(world: World, sent: list[bytes]) -> None:
    """Every message gets one answer, never 500; a good pair behind them is still answered."""
    url = str(world.client.base_url).replace("http", "ws", 1)
    with connect(f"{url}/stream?live=false", max_size=None) as stream:
        for message in [*sent, good_pair()]:
            stream.send(message)
            answer = stream.recv(timeout=20)
            assert isinstance(answer, bytes)
            told = RawAnswer.from_bytes(answer)
            assert told.status in ALLOWED, told.report
        assert told.status == 200, told.report


def good_pair() -> bytes:
    """A raw pair of 32x32 that anybody answers."""
    head = (b"SGMF", 1, 0, HEADER_BYTES, 2, 5, 0, 32, 32, 0, 3072, 32, 32, 0, 1024, 0, 0, 0)
    return struct.pack("<4sBBHBBHIIIIIIIIIQQ", *head) + bytes(range(256)) * 16


def check_tensors(world: World, request: tuple[bytes, dict[str, str]]) -> None:
    """A request by tensors is refused in JSON, or its outputs have the shape of its inputs."""
    body, headers = request
    answer = world.client.post("/v2/models/nano/infer", content=body, headers=headers)
    assert answer.status_code in ALLOWED, answer.text
    if answer.status_code != 200:
        assert answer.json()["detail"]
        return
    length = answer.headers.get("Inference-Header-Content-Length")
    told = json.loads(answer.content[: int(length)] if length else answer.content)
    asked = json.loads(body[: int(headers.get("Inference-Header-Content-Length", len(body)))])
    shapes = {each["name"]: each["shape"] for each in asked["inputs"]}
    for output in told["outputs"]:
        assert output["shape"][:3] == shapes["infrared"][:3]


def check_meta(world: World, meta: Any) -> None:
    """Whatever a form says of its pair, the answer is an answer or a problem in JSON."""
    answer = world.client.post("/fuse-segment", files=form() | {"meta": json.dumps(meta).encode()})
    assert answer.status_code in ALLOWED, answer.text


def form() -> dict[str, bytes]:
    """A good pair as files."""
    ramp = np.add.outer(np.arange(32), np.arange(32)).astype(np.uint8)
    return {
        "visible": codecs.encode_png(np.dstack([ramp] * 2 + [ramp[::-1]])),
        "infrared": codecs.encode_png(ramp),
    }


def check_http(world: World, data: bytes) -> None:
    """
    One request gets at most one answer, never 500, whatever follows its head; the next is answered.

    The client ends its side at once, so what is not whole is given up.
    """
    url = world.client.base_url
    answer = b""
    with socket.create_connection((url.host, url.port or 0), timeout=20) as wire:
        with suppress(OSError):
            wire.sendall(data)
            wire.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            while piece := wire.recv(65_536):
                answer += piece
    statuses = [int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]
    final = [code for code in statuses if code >= 200 or code == 101]
    assert len(final) <= 1, answer[:2000]
    assert {*final} <= ALLOWED | {101, 201, 204, 307, 401, 403, 405, 417, 426, 431, 501, 505}, (
        answer
    )
    assert world.client.get("/livez").status_code == 200


def check_rig(world: World, document: Any) -> None:
    """A rig is refused with its file's name, or its warp is finite and covers something."""
    path = world.folder / "rig.yaml"
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    try:
        rig_aligner = RigAligner(path, 10.0)
    except ValueError as error:
        assert str(error)
        return
    height, width = rig_aligner.visible_shape
    if height * width <= MAX_PIXELS:
        warp, placed = rig_aligner._make_warp(10.0)
        assert 0 < placed.covered <= 1 and warp.seen.shape == (height, width)


def check_kalibr(world: World, document: Any) -> None:
    """A chain is refused with its file's name, or it is a rig that comes back exactly."""
    check_foreign(world, "kalibr", str(yaml.safe_dump(document)))


def check_opencv(world: World, text: str) -> None:
    """The same for a file of OpenCV's."""
    check_foreign(world, "opencv", text)


def check_foreign(world: World, form: str, text: str) -> None:
    """Read a rig of another program; what is accepted can be written and read again."""
    path, own = world.folder / "foreign.yml", world.folder / "own.yaml"
    path.write_text(text)
    try:
        rig = read_foreign(form, [path], ReadOptions())
    except ValueError as error:
        assert "foreign.yml" in str(error)
        return
    write_rig(own, rig)
    again = read_rig(own)
    assert isinstance(again, Rig)
    assert np.array_equal(again.T_infrared_visible, rig.T_infrared_visible)
    assert np.array_equal(again.infrared.distortion, rig.infrared.distortion)


def check_manifest(world: World, told: Any) -> None:
    """A manifest is refused with its name, or it describes the file beside it."""
    artefact = world.folder / "it.onnx"
    artefact.write_bytes(b"weights")
    text = told if isinstance(told, bytes) else json.dumps(told).encode()
    Manifest.beside(artefact).write_bytes(text)
    try:
        manifest = Manifest.read(artefact)
    except ManifestError as error:
        assert "it.onnx" in str(error)
        return
    assert isinstance(told, Mapping)
    assert (manifest.variant, manifest.sha256) == (told["variant"], told["sha256"])
    assert len(colorize(np.zeros((2, 2), np.uint8), manifest.classes)) == 2


TARGETS: dict[str, tuple[st.SearchStrategy[Any], Check]] = {
    "picture": (pictures(), check_picture),
    "raw_pair": (raw_pairs(), check_raw_pair),
    "socket": (st.lists(messages(), max_size=4), check_socket),
    "tensors": (tensor_requests(), check_tensors),
    "meta": (json_values(), check_meta),
    "http": (requests(), check_http),
    "rig": (rigs(), check_rig),
    "kalibr": (kalibr_chains(), check_kalibr),
    "opencv": (opencv_files(), check_opencv),
    "manifest": (manifests(), check_manifest),
}
