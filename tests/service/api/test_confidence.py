"""The mask's confidence in every form in which an answer can be had."""

import json
import struct
from base64 import b64decode
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from numpy.typing import NDArray
from websockets.sync.client import connect

from segmif.client import Client, pack
from segmif.imaging import codecs
from segmif.runtime import open_runtime
from service.settings import Settings
from tests.conftest import HOT, UNSURE
from tests.service.conftest import Serve

RAW = {"Content-Type": "application/octet-stream", "Accept": "application/octet-stream"}
ALL = "fused,mask,confidence"
random = np.random.default_rng(0)
VISIBLE = random.integers(0, 256, (48, 60, 3), np.uint8)
INFRARED = random.integers(0, 256, (48, 60), np.uint8)
CONFIDENCE = np.where(INFRARED > HOT, 255, UNSURE)
FILES = {"visible": codecs.encode_png(VISIBLE), "infrared": codecs.encode_png(INFRARED)}


def post(client: httpx.Client, wanted: str, accept: str) -> httpx.Response:
    return client.post(
        "/fuse-segment", files=FILES, params={"return": wanted}, headers={"Accept": accept}
    )


def raw_parts(answer: bytes) -> tuple[bytes, ...]:
    """Picture, labels, confidence and report, by the offsets of docs/wire.md."""
    picture, labels, report = struct.unpack_from("<III", answer, 20)
    confidence, format = struct.unpack_from("<IB", answer, 56)
    assert format == 5
    ends = np.cumsum([64, picture, labels, confidence, report])
    assert ends[-1] == len(answer)
    return tuple(answer[start:end] for start, end in pairwise(ends))


def assert_right(confidence: bytes | NDArray[Any]) -> None:
    given = np.frombuffer(confidence, np.uint8) if isinstance(confidence, bytes) else confidence
    np.testing.assert_array_equal(given.reshape(CONFIDENCE.shape), CONFIDENCE)


def assert_told(report: dict[str, Any]) -> None:
    told = {entry["id"]: entry["confidence"] for entry in report["classes"]}
    assert told == {0: UNSURE / 255, 2: 1.0} | dict.fromkeys((1, *range(3, 9)))


def test_over_http_as_png_in_parts_in_json_and_raw(client: httpx.Client) -> None:
    alone = post(client, "confidence", "image/png")
    assert alone.headers["Content-Type"] == "image/png"
    assert_right(codecs.decode_infrared(alone.content))
    mixed = post(client, ALL, "multipart/mixed").content
    start = mixed.index(b"\x89PNG", mixed.index(b'name="confidence"'))
    assert_right(codecs.decode_infrared(mixed[start:]))
    told = post(client, ALL, "application/json").json()
    assert_right(codecs.decode_infrared(b64decode(told["confidence"])))
    assert_told(told["report"])
    *_, confidence, report = raw_parts(post(client, ALL, RAW["Accept"]).content)
    assert_right(confidence)
    assert_told(json.loads(report))


def test_on_the_socket_and_from_the_client(client: httpx.Client) -> None:
    url = str(client.base_url)
    address = url.replace("http", "ws", 1) + "/stream?return=confidence"
    with connect(address) as socket:
        socket.send(pack(VISIBLE, INFRARED))
        answer = socket.recv()
        assert isinstance(answer, bytes)
    picture, labels, confidence, _ = raw_parts(answer)
    assert picture == labels == b""
    assert_right(confidence)
    with Client(url) as ours:
        found = ours.fuse(VISIBLE, INFRARED, confidence=True)
        assert found.confidence is not None
        assert_right(found.confidence)
        np.testing.assert_array_equal(found.fused, VISIBLE)
        plain = ours.fuse(VISIBLE, INFRARED)
        assert plain.confidence is None  # whoever does not ask does not pay
        assert {entry["confidence"] for entry in plain.report["classes"]} == {None}


def test_in_shared_memory(serve: Serve, stand_in_weights: Path) -> None:
    settings = Settings(weights=stand_in_weights, shared_memory=True)
    body = pack(VISIBLE, INFRARED)
    with serve(settings, open_runtime(stand_in_weights, threads=1)) as client:
        size = 5 * INFRARED.size
        made = client.post("/shared-memory", params={"bytes": size}).json()
        region = Path("/dev/shm") / made["name"]
        with region.open("r+b") as memory:
            memory.write(body[64:])
        path = f"/shared-memory/{made['id']}/fuse-segment"
        answer = client.post(path, content=body[:64], params={"return": ALL}).content
        assert_right(raw_parts(answer[:64] + region.read_bytes()[:size] + answer[64:])[2])


def tensors_of(client: httpx.Client) -> triton.InferenceServerClient:
    return triton.InferenceServerClient(f"127.0.0.1:{client.base_url.port}")


def infer(tensors: triton.InferenceServerClient, *outputs: str) -> Any:
    inputs = []
    for name, array in (("visible", VISIBLE[None]), ("infrared", INFRARED[None])):
        inputs.append(triton.InferInput(name, list(array.shape), "UINT8"))
        inputs[-1].set_data_from_numpy(array)
    wanted = [triton.InferRequestedOutput(name) for name in outputs]
    return tensors.infer("nano", inputs, outputs=wanted or None)


def test_as_a_tensor(client: httpx.Client) -> None:
    with tensors_of(client) as tensors:
        assert_right(infer(tensors, "confidence").as_numpy("confidence"))
        assert_right(infer(tensors).as_numpy("confidence"))  # names none: all outputs there are
        assert infer(tensors, "fused").as_numpy("confidence") is None


def test_a_network_of_old_serves_all_else(serve: Serve, old_stand_in_weights: Path) -> None:
    settings = Settings(weights=old_stand_in_weights)
    with serve(settings, open_runtime(old_stand_in_weights, threads=1)) as client:
        assert post(client, "fused,mask", "multipart/mixed").status_code == 200
        refused = post(client, ALL, "multipart/mixed")
        assert (refused.status_code, refused.json()["kind"]) == (422, "bad_parameter")
        assert "segmif export onnx" in refused.json()["detail"]
        with tensors_of(client) as tensors:
            described = tensors.get_model_metadata("nano")
            assert [output["name"] for output in described["outputs"]] == ["fused", "labels"]
            assert [given["name"] for given in described["inputs"]] == ["visible", "infrared"]
            assert infer(tensors).as_numpy("labels").shape == (1, 48, 60)
            with pytest.raises(triton.InferenceServerException, match="no confidence"):
                infer(tensors, "confidence")
