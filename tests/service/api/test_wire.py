"""Every form in which a pair can come and an answer go: raw, sockets, JSON, tensors."""

import base64
import json
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from socket import SHUT_RDWR
from time import monotonic, sleep
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from segmif.imaging import codecs
from segmif.runtime import open_runtime
from service.settings import Settings

DOCUMENT = (Path(__file__).parents[3] / "docs" / "wire.md").read_text()
RAW = {"Content-Type": "application/octet-stream", "Accept": "application/octet-stream"}
HEIGHT, WIDTH = 64, 96
PERSON, HOT = 2, 230
INFRARED = np.full((HEIGHT, WIDTH), 60, np.uint8)
INFRARED[20:40, 30:50] = HOT
LABELS = np.where(INFRARED > 200, PERSON, 0)
y, x = np.mgrid[:HEIGHT, :WIDTH]
VISIBLE = np.stack([2 * x, 2 * y + 20, 200 - x - y], axis=-1).astype(np.uint8)


def message(
    visible: bytes = VISIBLE.tobytes(),
    infrared: bytes = INFRARED.tobytes(),
    formats: tuple[int, int] = (2, 5),
    strides: tuple[int, int] = (0, 0),
    size: tuple[int, int] = (WIDTH, HEIGHT),
    deadline_ms: int = 0,
    stamps_ns: tuple[int, int] = (0, 0),
) -> bytes:
    """A raw pair, written down from the document and not from the service's code."""
    head = struct.pack("<4sBBHBBH", b"SGMF", 1, 0, 64, *formats, 0)
    head += struct.pack("<IIII", *size, strides[0], len(visible))
    head += struct.pack("<IIII", *size, strides[1], len(infrared))
    return head + struct.pack("<IQQ", deadline_ms, *stamps_ns) + visible + infrared


@dataclass
class Told:
    """A raw answer taken apart."""

    flags: int
    formats: tuple[int, int]
    status: int
    picture: bytes
    labels: bytes
    report: Any
    sequence: int
    visible_ns: int
    dropped: int
    failed: int


def read(answer: bytes) -> Told:
    magic, version, flags, size, *rest = struct.unpack_from("<4sBBHBBHIIIIIQQII", answer)
    assert (magic, version, size) == (b"SGMR", 1, 64)
    picture_format, labels_format, status, _, _, picture, labels, report, *counts = rest
    assert len(answer) == 64 + picture + labels + report
    ends = np.cumsum([64, picture, labels, report])
    parts = [answer[start:end] for start, end in pairwise(ends)]
    formats = picture_format, labels_format
    return Told(flags, formats, status, parts[0], parts[1], json.loads(parts[2]), *counts)


def pixels(data: bytes, *channels: int) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8).reshape(HEIGHT, WIDTH, *channels)


def test_raw_pixels_go_in_and_come_out_unchanged(client: httpx.Client) -> None:
    stamps = (1_700_000_000_000_000_001, 1_700_000_000_005_000_001)
    answer = client.post("/fuse-segment", content=message(stamps_ns=stamps), headers=RAW)
    told = read(answer.content)
    assert (told.status, told.flags, told.formats) == (200, 0, (2, 5))
    np.testing.assert_array_equal(pixels(told.picture, 3), VISIBLE)
    np.testing.assert_array_equal(pixels(told.labels), LABELS)
    assert told.report["pair"]["skew_ms"] == 5
    assert told.report["classes"][PERSON]["share"] == pytest.approx(400 / LABELS.size, abs=1e-6)


def padded(rows: NDArray[np.uint8], stride: int) -> bytes:
    flat = rows.reshape(rows.shape[0], -1)
    return np.pad(flat, ((0, 0), (0, stride - flat.shape[1])), constant_values=255).tobytes()


def nv12() -> NDArray[np.uint8]:
    planes = cv2.cvtColor(VISIBLE, cv2.COLOR_RGB2YUV_I420)
    chroma = planes[HEIGHT:].reshape(2, -1)
    return np.concatenate([planes[:HEIGHT], chroma.T.reshape(-1, WIDTH)])


@pytest.mark.parametrize(
    ("visible", "format", "stride", "error"),
    [
        (padded(VISIBLE, 320), 2, 320, 0),
        (padded(VISIBLE, 320)[:-32], 2, 320, 0),  # the last row needs no gap after it
        (VISIBLE[..., ::-1].tobytes(), 3, 0, 0),
        (padded(nv12(), 128), 4, 128, 3),
        (codecs.encode_png(VISIBLE), 1, 0, 0),
        (codecs.encode_jpeg(VISIBLE, 100), 1, 0, 3),
    ],
)
def test_visible_comes_as_the_camera_has_it(
    client: httpx.Client, visible: bytes, format: int, stride: int, error: int
) -> None:
    body = message(visible, formats=(format, 5), strides=(stride, 0))
    told = read(client.post("/fuse-segment", content=body, headers=RAW).content)
    assert np.abs(pixels(told.picture, 3).astype(int) - VISIBLE).mean() <= error


def test_raw_counts_take_the_same_road_as_those_of_a_png(client: httpx.Client) -> None:
    counts = 7_000 + INFRARED.astype("<u2") * 5
    stride = 2 * WIDTH + 24
    raw = read(
        client.post(
            "/fuse-segment",
            content=message(
                infrared=padded(counts.view(np.uint8), stride), formats=(2, 6), strides=(0, stride)
            ),
            headers=RAW,
        ).content
    )
    files = {"visible": codecs.encode_png(VISIBLE), "infrared": codecs.encode_png(counts)}
    png = read(client.post("/fuse-segment", files=files, headers={"Accept": RAW["Accept"]}).content)
    assert raw.report["gain"] == png.report["gain"]
    assert raw.report["gain"]["high"] == 7_000 + 5 * HOT
    assert raw.labels == png.labels


def test_a_form_may_hold_raw_frames_too(client: httpx.Client) -> None:
    layouts = {
        "visible": {"format": "rgb8", "width": WIDTH, "height": HEIGHT, "stride": 320},
        "infrared": {"format": "y8", "width": WIDTH, "height": HEIGHT},
    }
    files = {
        "visible": padded(VISIBLE, 320),
        "infrared": INFRARED.tobytes(),
        "meta": json.dumps(layouts).encode(),
    }
    answer = client.post("/fuse-segment?return=fused", files=files)
    np.testing.assert_array_equal(codecs.decode_visible(answer.content), VISIBLE)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"SGMF", (422, "bad_wire", "64 bytes of header, 4 came")),
        (b"JUNK" + message()[4:], (422, "bad_wire", "expected b'SGMF'")),
        (message()[:-1], (422, "bad_wire", "18432 and 6144 bytes of frames, 24575 came")),
        (message(formats=(9, 5)), (422, "bad_wire", "visible has the format 9")),
        (message(formats=(6, 5)), (415, "unsupported_type", "y16, expected rgb8")),
        (message(size=(2**31, 2**31)), (413, "too_large", "2147483648x2147483648")),
        (message(size=(WIDTH, 0)), (422, "damaged", f"{WIDTH}x0")),
        (message(strides=(100, 0)), (422, "damaged", "a row takes 288")),
        (message(strides=(2**32 - 1, 0)), (422, "damaged", "expected")),
        (message(VISIBLE.tobytes()[:-3]), (422, "damaged", "18429 bytes of raw pixels")),
        (message(b"", b"", (0, 0)), (422, "degraded", "neither")),
    ],
)
def test_raw_bodies_that_contradict_themselves_are_refused_in_words(
    client: httpx.Client, body: bytes, expected: tuple[int, str, str]
) -> None:
    answer = client.post("/fuse-segment", content=body, headers=RAW)
    status, kind, words = expected
    assert (answer.status_code, answer.json()["kind"]) == (status, kind)
    assert words in answer.json()["detail"]


def test_one_raw_frame_is_a_single_sensors(client: httpx.Client) -> None:
    told = read(
        client.post("/fuse-segment", content=message(b"", formats=(0, 5)), headers=RAW).content
    )
    assert told.flags == 1
    assert told.report["pair"]["sensors"] == ["infrared"]


def test_json_holds_the_picture_in_base64_and_the_mask_in_runs(client: httpx.Client) -> None:
    told = client.post(
        "/fuse-segment", content=message(), headers=RAW | {"Accept": "application/json"}
    ).json()
    np.testing.assert_array_equal(codecs.decode_visible(base64.b64decode(told["fused"])), VISIBLE)
    ids, lengths = np.array(told["mask"]["runs"]).reshape(-1, 2).T
    np.testing.assert_array_equal(np.repeat(ids, lengths).reshape(told["mask"]["size"]), LABELS)
    assert len(ids) == 41
    assert told["report"]["variant"] == "nano"


def test_the_documents_python_example_works(client: httpx.Client) -> None:
    example = re.search(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    assert example
    names: dict[str, Any] = {}
    exec(example[1], names)
    picture, labels, report = names["fuse"](str(client.base_url).rstrip("/"), VISIBLE, INFRARED)
    np.testing.assert_array_equal(pixels(picture, 3), VISIBLE)
    np.testing.assert_array_equal(pixels(labels), LABELS)
    assert json.loads(report)["variant"] == "nano"


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
def test_the_documents_c_example_works(client: httpx.Client, tmp_path: Path) -> None:
    example = re.search(r"```c\n(.*?)```", DOCUMENT, re.DOTALL)
    assert example
    (tmp_path / "pair.c").write_text(example[1])
    (tmp_path / "visible.rgb").write_bytes(VISIBLE.tobytes())
    (tmp_path / "infrared.y8").write_bytes(INFRARED.tobytes())
    subprocess.run(
        ["cc", "-std=c99", "-Wall", "-Werror", "-o", "pair", "pair.c"], cwd=tmp_path, check=True
    )
    command = ["./pair", str(WIDTH), str(HEIGHT), "visible.rgb", "infrared.y8"]
    body = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout
    assert body == message()
    told = read(client.post("/fuse-segment", content=body, headers=RAW).content)
    np.testing.assert_array_equal(pixels(told.labels), LABELS)


def dial(client: httpx.Client, query: str = "") -> ClientConnection:
    url = str(client.base_url).replace("http", "ws").rstrip("/")
    return connect(f"{url}/stream{query}", max_size=None, compression=None)


def receive(socket: ClientConnection) -> Told:
    answer = socket.recv(20)
    assert isinstance(answer, bytes)
    return read(answer)


def test_a_socket_without_a_stream_leaves_nothing_behind(client: httpx.Client) -> None:
    """Each would keep a place of the 64 for streams, with a megabyte, and drive named ones out."""
    named: dict[str, Any] = {
        "url": "/fuse-segment?stream=rig",
        "content": message(),
        "headers": RAW,
    }
    client.post(**named).raise_for_status()
    for _ in range(64):
        with dial(client) as socket:
            socket.send(message())
            assert receive(socket).status == 200
    flags = read(client.post(**named).content).report["pair"]["flags"]
    assert flags == ["visible_frozen", "infrared_frozen"]


def test_a_socket_answers_in_order_and_counts_what_it_dropped(client: httpx.Client) -> None:
    with dial(client) as socket:
        socket.send(message(stamps_ns=(5, 5)))
        first = receive(socket)
        assert (first.status, first.sequence, first.visible_ns) == (200, 0, 5)
        np.testing.assert_array_equal(pixels(first.labels), LABELS)
        for _ in range(30):
            socket.send(message())
        told = [receive(socket)]
        while told[-1].sequence < 30:
            told.append(receive(socket))
        sequences = [answer.sequence for answer in told]
        assert sequences == sorted(sequences)
        assert told[-1].dropped == 30 - len(told)
        assert told[-1].failed == 0
        assert told[-1].report["pair"]["flags"] == ["visible_frozen", "infrared_frozen"]
    with dial(client, "?live=false&picture=jpeg&return=fused") as socket:
        for _ in range(12):
            socket.send(message())
        told = [receive(socket) for _ in range(12)]
        assert [answer.sequence for answer in told] == list(range(12))
        assert told[0].formats == (1, 0)
        assert told[0].picture.startswith(b"\xff\xd8")


def test_a_socket_that_vanishes_with_pairs_in_work_is_given_up(client: httpx.Client) -> None:
    for _ in range(5):
        with dial(client, "?live=false") as socket:
            for _ in range(30):  # more than are taken up at a time
                socket.send(message())
            socket.socket.shutdown(SHUT_RDWR)
    end = monotonic() + 20
    while "segmif_stream_sockets 0.0" not in (told := client.get("/metrics").text):
        assert monotonic() < end, told
        sleep(0.1)


def test_a_socket_survives_bad_messages_but_not_bad_manners(client: httpx.Client) -> None:
    with dial(client) as socket:
        socket.send(b"junk")
        told = receive(socket)
        assert (told.status, told.report["kind"], told.failed) == (422, "bad_wire", 1)
        socket.send(message())
        assert receive(socket).status == 200
        socket.send("text")
        with pytest.raises(ConnectionClosed, match="binary"):
            socket.recv(20)
    with pytest.raises(InvalidStatus) as refused:
        dial(client, "?liev=true")
    assert refused.value.response.status_code == 422
    assert json.loads(refused.value.response.body or b"")["kind"] == "bad_parameter"


@pytest.fixture
def tensors(client: httpx.Client) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{client.base_url.port}") as opened:
        yield opened


def inputs(binary: bool, infrared: NDArray[Any] = INFRARED, batch: int = 2) -> list[Any]:
    arrays = {"visible": np.stack([VISIBLE] * batch), "infrared": np.stack([infrared] * batch)}
    made = []
    for name, array in arrays.items():
        tensor = triton.InferInput(name, list(array.shape), array.dtype.name.upper())
        tensor.set_data_from_numpy(array, binary_data=binary)
        made.append(tensor)
    return made


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_works_unmodified(tensors: triton.InferenceServerClient, binary: bool) -> None:
    assert tensors.is_server_live()
    assert tensors.is_server_ready()
    assert tensors.is_model_ready("nano")
    assert not tensors.is_model_ready("resnet")
    configured = tensors.get_model_config("nano")  # which load tools ask for
    assert {t["name"]: t["dims"] for t in configured["output"]} == {
        "fused": [-1, -1, -1, 3],
        "labels": [-1, -1, -1],
        "confidence": [-1, -1, -1],
    }
    assert tensors.get_server_metadata()["extensions"] == [
        "binary_tensor_data",
        "model_configuration",
    ]
    assert [t["name"] for t in tensors.get_model_metadata("nano", "1")["inputs"]] == [
        "visible",
        "infrared",
        "tint",
    ]
    wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("labels", "fused")]
    for outputs in (wanted, None):
        result = tensors.infer("nano", inputs(binary), outputs=outputs, request_id="frame-17")
        assert result.get_response()["id"] == "frame-17"
        np.testing.assert_array_equal(result.as_numpy("fused"), [VISIBLE] * 2)
        np.testing.assert_array_equal(result.as_numpy("labels"), [LABELS] * 2)


def test_tensors_have_reports_flags_and_stages(client: httpx.Client) -> None:
    def post(**parameters: Any) -> httpx.Response:
        tensors = [
            {"name": name, "datatype": "UINT8", "shape": list(array.shape), "data": array.tolist()}
            for name, array in (("visible", VISIBLE[None]), ("infrared", INFRARED[None] * 0))
        ]
        return client.post(
            "/v2/models/nano/infer", json={"inputs": tensors, "parameters": parameters}
        )

    stamps = {"visible_ns": 0, "infrared_ns": 50_000_000}
    for faults in (
        ["infrared_black", "skewed"],
        ["visible_frozen", "infrared_black", "skewed", "visible_repeated", "infrared_repeated"],
    ):
        answer = post(stream="tensors", **stamps)
        [report] = json.loads(answer.json()["parameters"]["reports"])
        assert report["pair"]["flags"] == faults
        assert report["pair"]["skew_ms"] == 50
        assert len(report["weights_sha256"]) == 64
        assert answer.headers["x-pair-flags"] == ", ".join(faults)
        assert "encode;dur=" in answer.headers["server-timing"]
    refused = post(degraded="refuse")
    assert (refused.status_code, refused.json()["kind"]) == (422, "degraded")
    assert post(stream="no name").json()["kind"] == "bad_parameter"


def test_tritonclient_is_told_what_is_wrong(tensors: triton.InferenceServerClient) -> None:
    counts = INFRARED.astype(np.uint16) * 5 + 7_000
    labels = tensors.infer("nano", inputs(True, counts)).as_numpy("labels")
    np.testing.assert_array_equal(labels, [LABELS] * 2)
    for asked, words in (
        (("resnet", inputs(True)), "only 'nano'"),
        (("nano", inputs(True)[:1]), "at least 2 items"),
        (("nano", inputs(True)[:1] * 2), "each once"),
        (("nano", inputs(True, INFRARED[:32])), r"visible is UINT8 \[2, 64, 96, 3\]"),
        (("nano", inputs(True, batch=65)), "up to 64"),
    ):
        with pytest.raises(triton.InferenceServerException, match=words):
            tensors.infer(*asked)


def test_tensors_that_lie_about_their_size_are_refused(client: httpx.Client) -> None:
    def post(shape: list[int], size: Any, head: int | None = None) -> httpx.Response:
        told = json.dumps(
            {
                "inputs": [
                    {
                        "name": name,
                        "datatype": "UINT8",
                        "shape": shape,
                        "parameters": {"binary_data_size": size},
                    }
                    for name in ("visible", "infrared")
                ]
            }
        ).encode()
        headers = {"Inference-Header-Content-Length": str(len(told) if head is None else head)}
        return client.post("/v2/models/nano/infer", content=told + bytes(100), headers=headers)

    for answer in (
        post([2**31, 2**31, 2**31, 3], 100),
        post([65_535, 65_535, 65_535, 3], 100),
        post([1, 1, 1], -1),
        post([1, 1, 1], "9"),
        post([1, 1, 1], 101),
        post([1, 1, 1], 1, head=10_000),
        post([1, 1, 1], 1, head=3),
    ):
        assert (answer.status_code, answer.json()["kind"]) == (422, "bad_wire")
        assert answer.json()["error"] == answer.json()["detail"]


def test_a_region_carries_pixels_both_ways(serve: Any, stand_in_weights: Path) -> None:
    settings = Settings(weights=stand_in_weights, shared_memory=True)
    body = message()
    with serve(settings, open_runtime(stand_in_weights, threads=1)) as client:
        made = client.post("/shared-memory", params={"bytes": len(body) - 64}).json()
        region = Path("/dev/shm") / made["name"]
        assert region.stat().st_mode & 0o777 == 0o600
        with region.open("r+b") as memory:
            memory.write(body[64:])
        path = f"/shared-memory/{made['id']}/fuse-segment"
        whole = client.post(path, content=body[:64])
        assert "infer;dur=" in whole.headers["server-timing"]
        answer = whole.content
        pixels_there = region.read_bytes()
        told = read(answer[:64] + pixels_there[: LABELS.size * 4] + answer[64:])
        np.testing.assert_array_equal(pixels(told.picture, 3), VISIBLE)
        np.testing.assert_array_equal(pixels(told.labels), LABELS)
        for content, expected in (
            (body[:63], (422, "bad_wire")),
            (body, (422, "bad_wire")),
            (body[:24] + b"\xff\xff\xff\xff" + body[28:64], (422, "bad_wire")),
        ):
            refused = client.post(path, content=content)
            assert (refused.status_code, refused.json()["kind"]) == expected
            assert str(region) not in refused.text
        assert client.delete(f"/shared-memory/{made['id']}").status_code == 204
        assert not region.exists()
        assert client.post(path, content=body[:64]).json()["kind"] == "unknown_region"
        left = client.post("/shared-memory", params={"bytes": 100}).json()["name"]
        for _ in range(7):
            client.post("/shared-memory", params={"bytes": 100})
        full = client.post("/shared-memory", params={"bytes": 100})
        assert (full.status_code, full.json()["kind"]) == (503, "busy")
    assert not (Path("/dev/shm") / left).exists()


def test_regions_are_off_unless_the_operator_wants_them(client: httpx.Client) -> None:
    assert client.post("/shared-memory", params={"bytes": 100}).status_code == 404
    with pytest.raises(ValueError, match="for this machine"):
        Settings(shared_memory=True, host="10.0.0.1", open_to_all=True)
