"""Clients that are slow, large, broken or hostile, and an operator who mistypes."""

import json
import os
import re
import socket
import ssl
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import httpx
import numpy as np
import pytest
import trustme
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from segmif.imaging import codecs
from segmif.imaging.headers import PNG_MAGIC
from service.__main__ import main

Start = Callable[..., AbstractContextManager[httpx.Client]]


@pytest.fixture(scope="module")
def hasty(start: Start) -> Iterator[httpx.Client]:
    """A service that does not wait long."""
    with start(head_timeout_s=0.3, body_idle_s=0.3, body_total_s=0.8, max_connections=8) as client:
        yield client


@contextmanager
def connected(client: httpx.Client) -> Iterator[socket.socket]:
    address = (client.base_url.host, client.base_url.port or 0)
    with socket.create_connection(address, timeout=20) as wire:
        yield wire


def rest(wire: socket.socket) -> bytes:
    """All that still comes until the service closes."""
    read = b""
    try:
        while piece := wire.recv(65_536):
            read += piece
    except ConnectionResetError:
        pass  # closed with our bytes unread
    return read


def problem(raw: bytes) -> tuple[int, str]:
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head.lower(), raw
    told = json.loads(body)
    assert f" {told['status']} ".encode() in head
    return told["status"], told["kind"]


def pair(size: int = 32) -> dict[str, bytes]:
    ramp = np.linspace(20, 220, size * size).reshape(size, size).astype(np.uint8)
    return {
        "visible": codecs.encode_png(np.dstack([ramp] * 3)),
        "infrared": codecs.encode_png(ramp),
    }


HEAD = b"POST /fuse-segment HTTP/1.1\r\nHost: localhost\r\n"


def unharmed(client: httpx.Client) -> None:
    assert client.post("/fuse-segment", files=pair()).status_code == 200
    limit = time.monotonic() + 20
    while not {"segmif_buffered_bytes 0.0", "segmif_pending 0.0"} <= set(
        client.get("/metrics").text.splitlines()
    ):
        assert time.monotonic() < limit
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"", (408, "too_slow")),
        (HEAD, (408, "too_slow")),
        (HEAD + b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 9\r\n\r\n--x",
         (408, "body_too_slow")),
        (HEAD + b"X: " + b"a" * 40_000, (431, "head_too_large")),
        (b"\x16\x03\x01 no http\r\n\r\n", (400, "bad_http")),
    ],
)  # fmt: skip
def test_what_never_becomes_a_request_is_told_and_closed(
    hasty: httpx.Client, sent: bytes, expected: tuple[int, str]
) -> None:
    with connected(hasty) as wire:
        wire.sendall(sent)
        assert problem(rest(wire)) == expected
    unharmed(hasty)
    outcomes = re.findall(r'segmif_requests_total\{outcome="(\w+)"', hasty.get("/metrics").text)
    assert expected[1] in outcomes


def test_a_refusal_is_not_taken_for_the_answer_of_a_request_before(hasty: httpx.Client) -> None:
    with connected(hasty) as wire:
        wire.sendall(2 * b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" + b"ZZ\r\n\r\n")
        assert not rest(wire)
    unharmed(hasty)


def test_a_client_that_does_not_take_its_answer_is_cut_off(start: Start) -> None:
    with start(answer_total_s=0.3) as client, socket.socket() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.connect((client.base_url.host, client.base_url.port))
        raw = {"Accept": "application/octet-stream"}  # 14 MB: more than what sockets hold
        request = client.build_request("POST", "/fuse-segment", files=pair(1900), headers=raw)
        head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        wire.sendall(f"POST /fuse-segment HTTP/1.1\r\n{head}\r\n".encode() + request.read())
        limit = time.monotonic() + 20
        while 'outcome="answer_not_taken"' not in client.get("/metrics").text:
            assert time.monotonic() < limit
            time.sleep(0.05)
        assert len(rest(wire)) < 1900 * 1900 * 4
        unharmed(client)


def test_a_client_of_a_byte_at_a_time_does_not_hold_the_service(hasty: httpx.Client) -> None:
    with connected(hasty) as wire:
        wire.sendall(HEAD + b"Content-Type: multipart/form-data; boundary=x\r\n")
        wire.sendall(b"Content-Length: 1000\r\n\r\n--x\r\n\r\n")
        answer = b""
        wire.settimeout(0.1)
        while not answer:  # never idle for long, but never done either
            wire.sendall(b"-")
            try:
                answer = wire.recv(65_536)
            except TimeoutError:
                continue
    assert problem(answer) == (408, "body_too_slow")
    unharmed(hasty)


def test_65536_tiny_chunks_are_refused(client: httpx.Client) -> None:
    with connected(client) as wire:
        wire.sendall(HEAD + b"Transfer-Encoding: chunked\r\n")
        wire.sendall(b"Content-Type: multipart/form-data; boundary=x\r\n\r\n")
        with suppress(BrokenPipeError, ConnectionResetError):  # refused before all were sent
            wire.sendall(b"1\r\n-\r\n" * 65_536)
        assert rest(wire)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 422", b"")
    unharmed(client)


def test_too_many_connections_are_turned_away_until_some_close(hasty: httpx.Client) -> None:
    unharmed(hasty)
    wires = [socket.create_connection((hasty.base_url.host, hasty.base_url.port)) for _ in range(8)]
    try:
        with connected(hasty) as surplus:
            raw = rest(surplus)
            assert problem(raw) == (503, "busy")
            assert b"retry-after: 1" in raw
    finally:
        for wire in wires:
            wire.close()
    unharmed(hasty)


@pytest.mark.parametrize(
    "body",
    [
        b"".join(b'--x\r\nContent-Disposition: form-data; name="f%d"\r\n\r\n1\r\n' % n
                 for n in range(10_000)) + b"--x--\r\n",
        b"--x\r\n" + b"".join(b"H%d: 1\r\n" % n for n in range(10_000)) + b"\r\n1\r\n--x--\r\n",
        b"--x\r\nContent-Disposition: form-data; name=\"" + b"a" * 10_000 + b"\"\r\n\r\n1\r\n--x--",
        b"--x\r\nContent-Disposition: form-data; name=visible\r\n\r\n1\r\n"
        b"--x\r\nContent-Disposition: form-data; name=visible\r\n\r\n1\r\n--x--\r\n",
        b"\r\n" * 10_000,
        b"--x\r\nContent-Disposition: form-data; name=visible\r\n\r\n1",
        b"--x--\r\n" + b"tail" * 10_000,
    ],
    ids=["fields", "headers", "header", "twice", "preamble", "broken off", "epilogue"],
)  # fmt: skip
def test_forms_that_nobody_means_are_refused(client: httpx.Client, body: bytes) -> None:
    answer = client.post(
        "/fuse-segment", content=body, headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert problem_of(answer)[0] == 422


def problem_of(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["kind"]


def png(width: int, height: int, packed: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    return PNG_MAGIC + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def tiff(*more: tuple[int, int]) -> bytes:
    tags = ((256, 32), (257, 32), *more)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (png(20_000, 20_000, zlib.compress(bytes(4_000_000), 9)), (413, "too_large")),
        (png(2_000, 2_000, zlib.compress(bytes(100))), (422, "damaged")),
        (b"II*\0\x08\0\0\0\x03\0" + struct.pack("<HHIHxx", 256, 3, 1, 64)
         + struct.pack("<HHIHxx", 257, 3, 1, 64) + struct.pack("<HHIHxx", 259, 3, 1, 50_000),
         (415, "unsupported_type")),
        (png(32, 32, b"x").replace(b"\0\0\0\1IDAT", b"\xff\xff\xff\x7fIDAT"), (422, "damaged")),
        (png(32, 32, zlib.compress(bytes(32 * 97))).replace(b"IEND", b"IHDR"), (422, "damaged")),
        (png(32, 32, zlib.compress(bytes(32 * 97))).replace(b"\0\0\0\0IEND",
         b"\0\0\0\0acTL\0\0\0\0\0\0\0\0IEND"), (415, "unsupported_type")),
        (png(32, 32, zlib.compress(bytes(32 * 97)))[:-7], (422, "damaged")),
        (tiff((278, 2**30)), (422, "damaged")),
        (tiff((322, 2**30)), (415, "unsupported_type")),
        (b"GIF89a" + bytes(100), (415, "unsupported_type")),
        (b"PK\x03\x04" + bytes(100), (415, "unsupported_type")),
        (b"\x80\x04\x95" + bytes(100), (415, "unsupported_type")),
        (b"http://169.254.169.254/latest", (415, "unsupported_type")),
    ],
    ids=["bomb", "liar", "packed tiff", "endless chunk",
         "two headers", "animation", "no end", "endless strip", "tiles", "gif", "archive",
         "pickle", "url"],
)  # fmt: skip
def test_frames_that_would_unfold_or_run_something_are_refused_by_their_head(
    client: httpx.Client, frame: bytes, expected: tuple[int, str]
) -> None:
    answer = client.post("/fuse-segment", files=pair() | {"visible": frame})
    assert problem_of(answer) == expected


ASK_OPENCV = """
import service.commands.cli
import sys, cv2, numpy
cv2.imdecode(numpy.frombuffer(sys.stdin.buffer.read(), numpy.uint8), -1)
"""


def test_opencv_has_a_limit_of_its_own_behind_ours() -> None:
    told = subprocess.run(
        [sys.executable, "-c", ASK_OPENCV],
        input=png(8_000, 7_000, zlib.compress(bytes(100))),
        env={name: value for name, value in os.environ.items() if "OPENCV" not in name},
        capture_output=True,
    )
    assert b"CV_IO_MAX_IMAGE_PIXELS" in told.stderr, told


def test_all_bodies_together_have_a_bound(start: Start) -> None:
    with start(max_buffered_bytes=100_000) as client, connected(client) as wire:
        wire.sendall(HEAD + b"Content-Type: multipart/form-data; boundary=x\r\n")
        wire.sendall(b"Content-Length: 99000\r\n\r\n--x\r\n\r\n" + b"a" * 98_000)
        body = b"a" * 5_000
        kinds = {"bad_form"}
        limit = time.monotonic() + 20
        while kinds == {"bad_form"} and time.monotonic() < limit:
            answer = client.post(
                "/fuse-segment",
                content=body,
                headers={"Content-Type": "multipart/form-data; boundary=y"},
            )
            kinds = {problem_of(answer)[1]}
        assert problem_of(answer) == (503, "busy")
        assert answer.headers["retry-after"] == "1"
        wire.close()
        unharmed(client)


def test_a_token_is_asked_of_everybody_but_probes(start: Start) -> None:
    with start(token="s3cret") as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic s3cret"}):
            answer = client.post("/fuse-segment", files=pair(), headers=headers)
            assert problem_of(answer) == (401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"
            assert client.get("/metrics", headers=headers).status_code == 401
        assert client.get("/livez").status_code == 200
        for page in ("/", "/docs", "/web/page.js"):  # which ask for the token
            assert client.get(page).status_code == 200
        with pytest.raises(InvalidStatus) as refused:
            connect(str(client.base_url).replace("http", "ws").rstrip("/") + "/stream")
        told = httpx.Response(401, content=bytes(refused.value.response.body))
        assert refused.value.response.status_code == told.json()["status"] == 401
        assert told.json()["kind"] == "unauthorized"
        client.headers["Authorization"] = "Bearer s3cret"
        # every one above: three posts, three for metrics, the socket
        text = client.get("/metrics").text
        counted = re.findall(r'requests_total\{outcome="unauthorized".* (\S+)', text)
        assert sum(map(float, counted)) == 7
        unharmed(client)


def test_tls_serves_and_plain_http_does_not_pass(start: Start, tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "certificate.pem")
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    files = {"tls_certificate": tmp_path / "certificate.pem", "tls_key": tmp_path / "key.pem"}
    with start(**files) as plain:
        secure = str(plain.base_url).replace("http:", "https:")
        with httpx.Client(base_url=secure, verify=trusting) as client:
            unharmed(client)
        with pytest.raises(httpx.TransportError):
            plain.get("/livez")


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["--host", "0.0.0.0"], {}, "set SEGMIF_TOKEN, or say with --open-to-all"),
        (["--host", "::"], {}, "can be reached from other machines"),
        ([], {"SEGMIF_HOST": "192.168.1.5"}, "can be reached from other machines"),
        ([], {"SEGMIF_MAX_BATHC": "9"}, "MAX_BATHC is none of this program's; is SEGMIF_MAX_BATCH"),
        ([], {"SEGMIF_MAX_PIXELS": "many"}, "max_pixels"),
        (["--tls-key", "key.pem"], {"SEGMIF_TOKEN": "s3cret"}, "needs both"),
        (["--depth-m", "8"], {}, "depth_m is 8.0, but there is no rig: give --rig as well"),
        (["--tls-key", "no.pem", "--tls-certificate", "no.pem"], {}, "cannot be used"),
    ],
)  # fmt: skip
def test_what_the_operator_gets_wrong_is_said_before_a_port_opens(
    stand_in_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    environment: dict[str, str],
    words: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["serve", "--weights", str(stand_in_weights), *arguments]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert "s3cret" not in told and "Value error" not in told


def test_a_port_that_is_taken_is_named_in_one_line(
    stand_in_weights: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--weights", str(stand_in_weights), "--port", str(port)]) == 2
    said = capfd.readouterr().err
    assert said == (
        f"cannot listen on 127.0.0.1 port {port} (Address already in use): stop what does, or "
        "choose another --port or --host (make serve: PORT=)\n"
    )


def test_every_door_documents_its_errors_as_problems(start: Start) -> None:
    probes = {"/livez", "/readyz", "/v2/health/live", "/v2/health/ready"}
    with start(shared_memory=True) as client:
        paths = client.get("/openapi.json").json()["paths"]
    assert {"/fuse-segment", "/shared-memory/{id}", "/v2/models/{name}/infer"} <= paths.keys()
    for path, operations in paths.items():
        for operation in operations.values():
            failures = {s: a for s, a in operation["responses"].items() if s >= "400"}
            assert ("401" in failures) == (path not in probes), path
            for answer in failures.values():
                [(kind, told)] = answer["content"].items()
                assert (kind, bool(told["examples"])) == ("application/problem+json", True), path


def test_every_error_is_documented_with_an_example(client: httpx.Client) -> None:
    answers = client.get("/openapi.json").json()["paths"]["/fuse-segment"]["post"]["responses"]
    shown = {
        example["value"]["kind"]: int(status)
        for status, answer in answers.items()
        for example in answer["content"]
        .get("application/problem+json", {"examples": {}})["examples"]
        .values()
    }
    assert shown.items() >= {
        "unauthorized": 401, "not_acceptable": 406, "body_too_slow": 408, "superseded": 409,
        "body_too_large": 413, "too_large": 413, "unsupported_type": 415, "bad_form": 422,
        "missing_part": 422, "bad_parameter": 422, "damaged": 422, "bad_pair": 422,
        "degraded": 422, "too_many_of_one": 429, "engine_failed": 500, "internal": 500,
        "busy": 503, "cannot_finish": 503, "deadline_missed": 503,
    }.items()  # fmt: skip
