"""What is said of a pair does not depend on how it travelled."""

import json
from collections.abc import Callable, Iterator
from email import message_from_bytes
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.sync.client import connect

from segmif.client import pack
from segmif.imaging import codecs
from segmif.manifest import sha256
from segmif.runtime import open_runtime
from segmif.wire.binary_pair import HEADER_BYTES, RawAnswer
from service.settings import Settings
from tests.service.conftest import Serve

Frames = tuple[NDArray[np.uint8], NDArray[Any]]
Told = tuple[int, dict[str, Any]]  # status, report or problem
Send = Callable[[httpx.Client, list[Frames], dict[str, Any]], list[Told]]

RAW = {"Content-Type": "application/octet-stream", "Accept": "application/octet-stream"}
y, x = np.mgrid[:64, :96]
VISIBLE = np.stack([2 * x, 2 * y + 20, 200 - x - y], axis=-1).astype(np.uint8)
COUNTS = (7_000 + 13 * x + y).astype(np.uint16)
WHITE, PLATE = np.full_like(VISIBLE, 255), np.full_like(COUNTS, 7_000)


@pytest.fixture(scope="module")
def client(serve: Serve, stand_in_weights: Path) -> Iterator[httpx.Client]:
    settings = Settings(weights=stand_in_weights, shared_memory=True)
    with serve(settings, open_runtime(stand_in_weights, threads=1)) as opened:
        yield opened


def files(frames: Frames) -> dict[str, bytes]:
    return dict(zip(("visible", "infrared"), map(codecs.encode_png, frames), strict=True))


def form(client: httpx.Client, pairs: list[Frames], ask: dict[str, Any]) -> list[Told]:
    told = []
    for frames in pairs:
        meta = {"meta": json.dumps(ask).encode()}
        answer = client.post("/fuse-segment", files=files(frames) | meta)
        if answer.is_success:
            head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
            parts: Any = message_from_bytes(head + answer.content).get_payload()
            told.append((200, json.loads(parts[-1].get_payload(decode=True))))
        else:
            told.append((answer.status_code, answer.json()))
    return told


def in_json(client: httpx.Client, pairs: list[Frames], ask: dict[str, Any]) -> list[Told]:
    accept = {"Accept": "application/json"}
    told = []
    for frames in pairs:
        answer = client.post("/fuse-segment", files=files(frames), params=ask, headers=accept)
        told.append((answer.status_code, answer.json().get("report", answer.json())))
    return told


def raw(client: httpx.Client, pairs: list[Frames], ask: dict[str, Any]) -> list[Told]:
    answers = [
        client.post("/fuse-segment", content=pack(*frames), params=ask, headers=RAW)
        for frames in pairs
    ]
    return [(each.status_code, report_of(each)) for each in answers]


def report_of(answer: httpx.Response) -> dict[str, Any]:
    if not answer.is_success:
        return dict(answer.json())
    return dict(json.loads(RawAnswer.from_bytes(answer.content).report))


def socket(client: httpx.Client, pairs: list[Frames], ask: dict[str, Any]) -> list[Told]:
    url = str(client.base_url).replace("http", "ws").rstrip("/")
    with connect(f"{url}/stream?{urlencode(ask | {'live': 'false'})}", max_size=None) as opened:
        for frames in pairs:
            opened.send(pack(*frames))
        answers = [RawAnswer.from_bytes(bytes(opened.recv(20, decode=False))) for _ in pairs]
    return [(answer.status, json.loads(answer.report)) for answer in answers]


def shared_memory(client: httpx.Client, pairs: list[Frames], ask: dict[str, Any]) -> list[Told]:
    made = client.post("/shared-memory", params={"bytes": 64 * 96 * 5}).json()
    told = []
    for frames in pairs:
        body = pack(*frames)
        with (Path("/dev/shm") / made["name"]).open("r+b") as memory:
            memory.write(body[HEADER_BYTES:])
        path = f"/shared-memory/{made['id']}/fuse-segment"
        answer = client.post(path, content=body[:HEADER_BYTES], params=ask)
        report = answer.content[HEADER_BYTES:] if answer.is_success else answer.content
        told.append((answer.status_code, json.loads(report)))
    client.delete(f"/shared-memory/{made['id']}")
    return told


def tensors(client: httpx.Client, pairs: list[Frames], ask: dict[str, Any]) -> list[Told]:
    told = []
    for frames in pairs:
        inputs = [
            {
                "name": name,
                "datatype": frame.dtype.name.upper(),
                "shape": [1, *frame.shape],
                "data": frame.tolist(),
            }
            for name, frame in zip(("visible", "infrared"), frames, strict=True)
        ]
        asked = {"inputs": inputs, "parameters": ask}
        answer = client.post("/v2/models/nano/infer", json=asked).json()
        reports = json.loads(answer.get("parameters", {}).get("reports", "[]"))
        told.append((200, reports[0]) if reports else (answer["status"], answer))
    return told


every_form = pytest.mark.parametrize("send", [form, in_json, raw, socket, shared_memory, tensors])


@every_form
@pytest.mark.parametrize(
    ("frames", "more", "flags"),
    [
        ((WHITE, COUNTS), {}, ["visible_saturated"]),
        ((VISIBLE, PLATE), {}, ["infrared_shutter"]),
        ((VISIBLE, COUNTS), {"shutter": True}, ["infrared_shutter"]),
        ((VISIBLE, COUNTS), {"visible_ns": 1, "infrared_ns": 40_000_001}, ["skewed"]),
        ((VISIBLE * 0, COUNTS), {}, ["visible_black"]),
    ],
)
def test_a_fault_is_flagged_or_refused(
    client: httpx.Client, send: Send, frames: Frames, more: dict[str, Any], flags: list[str]
) -> None:
    [(status, report)] = send(client, [frames], more)
    assert (status, report["pair"]["flags"]) == (200, flags)
    [(status, problem)] = send(client, [frames], more | {"degraded": "refuse"})
    assert (status, problem["kind"]) == (422, "degraded")
    assert flags[0] in problem["detail"]


@every_form
def test_a_stream_has_a_memory(client: httpx.Client, send: Send) -> None:
    hotter = COUNTS + np.uint16(100)
    pairs = [(VISIBLE, COUNTS), (VISIBLE, hotter), (VISIBLE, hotter)]
    ask = {"stream": send.__name__, "degraded": "flag"}
    reports = [report for _, report in send(client, pairs, ask)]
    frozen = [report["pair"]["flags"] for report in reports]
    assert frozen == [[], ["visible_frozen"], ["visible_frozen", "infrared_frozen"]]
    lows = [report["gain"]["low"] for report in reports]
    assert lows[1] == pytest.approx(lows[0] + 10)  # a tenth of what the scene did
    [(status, _)] = send(client, pairs[:1], {"stream": f"{send.__name__}-2", "degraded": "refuse"})
    assert status == 200
    again = send(client, pairs[1:], {"stream": f"{send.__name__}-3", "degraded": "refuse"})
    assert [status for status, _ in again] == [200, 422]


@every_form
def test_the_report_tells_where_the_answer_comes_from(
    client: httpx.Client, send: Send, stand_in_weights: Path
) -> None:
    [(_, report)] = send(client, [(VISIBLE, COUNTS)], {"visible_ns": 5, "infrared_ns": 1_000_005})
    assert report["weights_sha256"] == sha256(stand_in_weights)
    assert report["engine"]
    assert report["rig"] is None
    assert report["gain"]["method"] == "percentile"
    assert report["pair"]["skew_ms"] == 1
    assert sum(entry["share"] for entry in report["classes"]) == pytest.approx(1, abs=1e-5)
    steadied = ["steady"] if report["memory"] else []  # in a socket, whose pairs are a stream
    stages = ["receive", "decode", "align", "queue", "infer", *steadied, "encode"]
    assert list(report["times_ms"]) == stages
