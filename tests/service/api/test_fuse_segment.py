"""The main entry point: pairs in, pictures, mask and report out, and errors in words."""

import asyncio
import json
import struct
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from segmif.classes import MFNET
from segmif.frames import FramePair
from segmif.imaging import codecs
from segmif.manifest import Manifest, sha256
from segmif.runtime import Runtime, open_runtime
from service.app import create_app
from service.settings import Settings

Serve = Callable[[Settings, Runtime], AbstractContextManager[httpx.Client]]
Files = dict[str, tuple[str, bytes]]


@pytest.fixture(scope="module")
def pair() -> FramePair:
    """A colour ramp of no convenient size, with one hot rectangle in infrared."""
    y, x = np.mgrid[:90, :122]
    visible = np.stack([2 * x, 2 * y, 255 - x - y], axis=-1).astype(np.uint8)
    infrared = np.full((90, 122), 60, np.uint8)
    infrared[20:50, 30:40] = 230
    return FramePair(visible, infrared)


@pytest.fixture(scope="module")
def mask(pair: FramePair) -> NDArray[np.uint8]:
    """What the stand-in network finds in the pair."""
    return np.where(pair.infrared > 200, 2, 0).astype(np.uint8)


@pytest.fixture(scope="module")
def files(pair: FramePair) -> Files:
    """The pair as a form."""
    return form(codecs.encode_png(pair.visible), codecs.encode_png(pair.infrared))


def form(visible: bytes, infrared: bytes) -> Files:
    return {"visible": ("v.png", visible), "infrared": ("i.png", infrared)}


def split(answer: httpx.Response) -> list[tuple[str, str, bytes]]:
    """(name, type, content) of each part, as the standard library reads them."""
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    return [opened(part) for part in message_from_bytes(head + answer.content).walk()][1:]


def opened(part: Message) -> tuple[str, str, bytes]:
    name = str(part.get_param("name", header="content-disposition"))
    content = part.get_payload(decode=True)
    return name, part.get_content_type(), content if isinstance(content, bytes) else b""


def ids(data: bytes, folder: Path) -> NDArray[np.uint8]:
    (folder / "mask.png").write_bytes(data)
    return codecs.read_labels(folder / "mask.png")


def problem(answer: httpx.Response) -> tuple[int, str, str | None]:
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["status"] == answer.status_code
    assert told["request_id"] == answer.headers["x-request-id"]
    assert len(told["detail"]) > 15
    return told["status"], told["kind"], told.get("part")


def test_the_default_answer_holds_fused_mask_and_report_in_this_order(
    client: httpx.Client,
    files: Files,
    pair: FramePair,
    mask: NDArray[np.uint8],
    tmp_path: Path,
    stand_in_weights: Path,
) -> None:
    answer = client.post("/fuse-segment", files=files, headers={"X-Request-ID": "frame-17"})
    assert answer.status_code == 200
    parts = split(answer)
    assert [part[:2] for part in parts] == [
        ("fused", "image/png"),
        ("mask", "image/png"),
        ("report", "application/json"),
    ]
    np.testing.assert_array_equal(codecs.decode_visible(parts[0][2]), pair.visible)
    np.testing.assert_array_equal(ids(parts[1][2], tmp_path), mask)
    report = json.loads(parts[2][2])
    assert report["request_id"] == answer.headers["x-request-id"] == "frame-17"
    assert report["visible"] == report["infrared"] == {"width": 122, "height": 90}
    assert report["alignment"] == "none"
    assert report["gain"] is None
    assert [entry["name"] for entry in report["classes"]] == list(MFNET.names)
    assert report["classes"][2]["share"] == pytest.approx(mask.astype(bool).mean(), abs=1e-6)
    stages = ["receive", "decode", "align", "queue", "infer", "encode"]
    assert list(report["times_ms"]) == stages
    assert report["variant"] == "nano"
    assert report["precision"] == "fp32"
    assert report["weights_sha256"] == sha256(stand_in_weights)


@pytest.mark.parametrize(
    ("accept", "view", "kind", "magic"),
    [
        ("image/png", None, "image/png", b"\x89PNG"),
        ("image/jpeg", None, "image/jpeg", b"\xff\xd8"),
        ("image/jpeg, image/png;q=0.5", "overlay", "image/jpeg", b"\xff\xd8"),
        ("text/html, image/*;q=0.8, */*;q=0.1", "fused", "image/png", b"\x89PNG"),
        ("*/*", "fused", "image/png", b"\x89PNG"),
        ("*/*", "mask", "image/png", b"\x89PNG"),
        ("image/webp", None, "image/webp", b"RIFF"),
        ("multipart/mixed;q=0, */*", None, "image/png", b"\x89PNG"),
    ],
)
def test_one_picture_comes_by_accept_and_return(
    client: httpx.Client, files: Files, accept: str, view: str | None, kind: str, magic: bytes
) -> None:
    parameters = {"return": view} if view else {}
    answer = client.post(
        "/fuse-segment", files=files, params=parameters, headers={"Accept": accept}
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"] == kind
    assert answer.content.startswith(magic)
    assert "infer;dur=" in answer.headers["server-timing"]


def test_the_mask_alone_holds_class_ids(
    client: httpx.Client, files: Files, mask: NDArray[np.uint8], tmp_path: Path
) -> None:
    answer = client.post("/fuse-segment?return=mask", files=files)
    np.testing.assert_array_equal(ids(answer.content, tmp_path), mask)


def test_the_overlay_tints_what_was_found_and_nothing_else(
    client: httpx.Client, files: Files, pair: FramePair, mask: NDArray[np.uint8]
) -> None:
    answer = client.post(
        "/fuse-segment?return=overlay,mask,fused", files=files, headers={"Accept": "*/*"}
    )
    parts = split(answer)
    assert [name for name, _, _ in parts] == ["overlay", "mask", "fused", "report"]
    content = parts[0][2]
    changed = (codecs.decode_visible(content) != pair.visible).any(axis=-1)
    np.testing.assert_array_equal(changed, mask > 0)


@pytest.mark.parametrize(
    ("accept", "view", "words"),
    [
        ("image/jpeg", "mask", "no longer hold its numbers"),
        ("image/webp", "confidence", "no longer hold its numbers"),
        ("text/html", "fused", "image/png, image/jpeg"),
        ("application/xml", None, "multipart/mixed"),
        ("image/png;q=0", "mask", "Accept was 'image/png;q=0'"),
        ("image/png", "fused,mask", "of fused, mask can be multipart/mixed"),
        ("application/octet-stream", "fused,overlay", "can be multipart/mixed, application/json;"),
    ],
)
def test_an_answer_nobody_can_give_is_406(
    client: httpx.Client, files: Files, accept: str, view: str | None, words: str
) -> None:
    parameters = {"return": view} if view else {}
    answer = client.post(
        "/fuse-segment", files=files, params=parameters, headers={"Accept": accept}
    )
    assert problem(answer) == (406, "not_acceptable", None)
    assert words in answer.json()["detail"]


def test_a_16_bit_infrared_of_another_size_is_shown_and_fitted(
    client: httpx.Client, pair: FramePair
) -> None:
    counts = cv2.resize(pair.infrared.astype(np.uint16) * 40 + 20_000, (61, 45))
    data = cv2.imencode(".tiff", counts)[1].tobytes()
    answer = client.post("/fuse-segment", files=form(codecs.encode_jpeg(pair.visible), data))
    report = json.loads(split(answer)[2][2])
    assert report["alignment"] == "resized"
    assert report["visible"] == {"width": 122, "height": 90}
    assert report["infrared"] == {"width": 61, "height": 45}
    assert report["gain"] == {
        "method": "percentile",
        "low": 20_000 + 40 * 60,
        "high": 20_000 + 40 * 230,
        "smoothing": 0,
        "clip_limit": None,
        "invalid_share": 0,
    }
    assert report["classes"][2]["share"] == pytest.approx(300 / (90 * 122), rel=0.3)


def blank(width: int, height: int) -> bytes:
    return codecs.encode_png(np.full((height, width), 9, np.uint8))


TINY_BUT_HUGE = b"\x89PNG\r\n\x1a\n" + struct.pack(
    ">I4sIIBBBBBI", 13, b"IHDR", 20_000, 20_000, 8, 2, 0, 0, 0, 0
)


@pytest.mark.parametrize(
    ("part", "data", "expected"),
    [
        ("visible", b"", (422, "empty", "visible")),
        ("infrared", b"", (422, "empty", "infrared")),
        ("visible", b"%PDF-1.7 and more", (415, "unsupported_type", "visible")),
        ("infrared", b"\x89PNG\r\n\x1a\n", (422, "damaged", "infrared")),
        ("visible", TINY_BUT_HUGE, (413, "too_large", "visible")),
        ("infrared", TINY_BUT_HUGE, (413, "too_large", "infrared")),
        ("infrared", blank(90, 122), (422, "bad_pair", None)),
        ("infrared", blank(122, 80), (422, "bad_pair", None)),
    ],
)
def test_a_frame_that_cannot_be_used_is_named(
    client: httpx.Client,
    files: Files,
    part: str,
    data: bytes,
    expected: tuple[int, str, str | None],
) -> None:
    answer = client.post("/fuse-segment", files=files | {part: ("f", data)})
    assert problem(answer) == expected


def test_swapped_files_are_refused_with_a_hint(client: httpx.Client, files: Files) -> None:
    answer = client.post(
        "/fuse-segment", files={"visible": files["infrared"], "infrared": files["visible"]}
    )
    assert problem(answer) == (422, "channels", "infrared")
    assert "swapped" in answer.json()["detail"]


def test_what_the_form_lacks_is_named(client: httpx.Client, files: Files) -> None:
    lone = client.post("/fuse-segment", files={"visible": files["visible"]})
    assert problem(lone) == (422, "missing_part", "infrared")
    text = client.post("/fuse-segment", data={"visible": "a", "infrared": "b"})
    assert problem(text) == (422, "missing_part", "visible")
    nothing = client.post("/fuse-segment")
    assert problem(nothing) == (422, "missing_part", "visible")
    odd = client.post("/fuse-segment?return=depth", files=files)
    assert problem(odd) == (422, "bad_parameter", None)
    assert (
        "'fused', 'mask', 'overlay', 'confidence', 'visible', 'infrared' or 'counts'"
        in (odd.json()["detail"])
    )


def test_a_form_that_breaks_off_is_a_problem_not_a_crash(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    for content_type in ("multipart/form-data", "multipart/form-data; boundary=x"):
        for body in (b"--x\r\nContent-D", b"garbage"):
            headers = {"Content-Type": content_type}
            answer = client.post("/fuse-segment", content=body, headers=headers)
            assert 400 <= problem(answer)[0] < 500
    # The parser's own warning of each would fill the disk.
    assert not [each for each in caplog.records if each.name.startswith("python_multipart")]


@pytest.mark.parametrize("stated", [True, False])
def test_a_body_beyond_the_limit_is_not_read(
    stand_in_weights: Path, files: Files, serve: Serve, stated: bool
) -> None:
    settings = Settings(weights=stand_in_weights, max_body_bytes=1000)
    with serve(settings, open_runtime(stand_in_weights, threads=1)) as client:
        request = client.build_request("POST", "/fuse-segment", files=files)
        body = request.read()
        pieces = (body[at : at + 100] for at in range(0, len(body), 100))
        headers = {"Content-Type": request.headers["content-type"]}
        answer = client.post("/fuse-segment", content=body if stated else pieces, headers=headers)
        assert problem(answer) == (413, "body_too_large", None)


def test_frames_beyond_the_networks_limit_are_refused(
    stand_in_weights: Path, files: Files, serve: Serve
) -> None:
    settings = Settings(weights=stand_in_weights, max_pixels=10_000)
    with serve(settings, open_runtime(stand_in_weights, threads=1)) as client:
        answer = client.post("/fuse-segment", files=files)
    assert problem(answer) == (413, "too_large", "visible")
    assert "122x90" in answer.json()["detail"]


class Held:
    """A runtime that answers once it is let go."""

    name = "held"

    def __init__(self, runtime: Runtime) -> None:
        self.manifest: Manifest = runtime.manifest
        self.outputs: tuple[str, ...] = runtime.outputs
        self.default_tint: float | None = runtime.default_tint
        self.runtime = runtime
        self.entered = threading.Event()
        self.go = threading.Event()

    def run(
        self,
        visible: NDArray[np.uint8],
        infrared: NDArray[np.uint8],
        *,
        tint: NDArray[np.float32] | None = None,
        confidence: bool = False,
    ) -> tuple[NDArray[np.uint8], ...]:
        self.entered.set()
        assert self.go.wait(60)
        return self.runtime.run(visible, infrared, tint=tint, confidence=confidence)

    def trim(self) -> None:
        self.runtime.trim()

    def close(self) -> None:
        self.go.set()


def test_while_the_network_works_the_loop_answers_and_the_surplus_is_turned_away(
    stand_in_weights: Path, files: Files
) -> None:
    held = Held(open_runtime(stand_in_weights, threads=1))
    app = create_app(Settings(weights=stand_in_weights, max_pending=2), held)

    async def story() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            accepted = [
                asyncio.create_task(client.post("/fuse-segment", files=files)) for _ in range(2)
            ]
            assert await asyncio.to_thread(held.entered.wait, 10)
            assert (await client.get("/livez")).json() == {"status": "alive"}
            surplus = await client.post("/fuse-segment", files=files)
            assert problem(surplus) == (503, "busy", None)
            assert int(surplus.headers["retry-after"]) >= 1
            held.go.set()
            assert [answer.status_code for answer in await asyncio.gather(*accepted)] == [200, 200]
            assert (await client.post("/fuse-segment", files=files)).status_code == 200

    asyncio.run(story())


def test_a_network_that_fails_is_told_and_never_ready(
    stand_in_weights: Path, files: Files, serve: Serve
) -> None:
    runtime = open_runtime(stand_in_weights, threads=1)
    runtime.close()
    with serve(Settings(weights=stand_in_weights), runtime) as client:
        answer = client.post("/fuse-segment", files=files)
        assert problem(answer) == (500, "engine_failed", None)
        assert problem(client.get("/readyz")) == (503, "not_ready", None)
