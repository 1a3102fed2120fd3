"""What HTTP bounds, every entry point bounds: sockets, upgrades, connections, early answers."""

import base64
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import numpy as np
import pytest
from starlette.routing import Route
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from segmif.client import pack
from segmif.runtime import open_runtime
from service.app import create_app
from service.settings import Settings
from service.settings.limits import check_entries
from tests.service.server.test_safety import connected, pair, rest, unharmed

Start = Callable[..., AbstractContextManager[httpx.Client]]

KEY = base64.b64encode(bytes(16)).decode()
OPENING = (
    "GET /stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
)
SMALL = 4096  # [bytes] of a receive buffer
BINARY, CONTINUATION, PING, FIN = 2, 0, 9, 0x80


@pytest.fixture(scope="module")
def hasty(start: Start) -> Iterator[httpx.Client]:
    """A service that does not wait long."""
    with start(head_timeout_s=0.5, body_idle_s=0.4, body_total_s=4.0, answer_total_s=0.5) as client:
        yield client


def frame(first: int, payload: bytes = b"", announced: int | None = None) -> bytes:
    """A masked frame, whose mask changes nothing; `announced` bytes, should fewer come."""
    size = len(payload) if announced is None else announced
    if size < 126:
        head = struct.pack("!BB", first, 0x80 | size)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, size)
    return head + bytes(4) + payload


@contextmanager
def opened(
    client: httpx.Client, path: str = "/stream", receive_bytes: int | None = None
) -> Iterator[socket.socket]:
    """A WebSocket without a library, which would not break the rules."""
    with socket.socket() as wire:
        if receive_bytes:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        wire.settimeout(20)
        wire.connect((client.base_url.host, client.base_url.port))
        wire.sendall(OPENING.replace("/stream", path).encode())
        told = b""
        while b"\r\n\r\n" not in told:
            told += wire.recv(1)
        assert b" 101 " in told
        yield wire


def closing(wire: socket.socket) -> tuple[int, str]:
    """Code and reason of the close frame with which the service ends a socket."""
    told = rest(wire)
    while told:
        opcode, size = told[0] & 15, told[1]
        assert size < 126
        if opcode == 8:
            return struct.unpack("!H", told[2:4])[0], told[4 : 2 + size].decode()
        told = told[2 + size :]
    return 0, "no close frame"


def gauge(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith(f"segmif_{name} ")).split()[1])


def until(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + 20
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("sent", "code", "words"),
    [
        (frame(BINARY) + frame(CONTINUATION) * 40_000, 1008, "carry next to nothing"),
        (frame(BINARY) + frame(CONTINUATION, b"x" * 300) * 9_000, 1008, "8192 fragments"),
        (frame(FIN | PING) * 40_000, 1008, "carry next to nothing"),
        (frame(FIN | BINARY) * 40_000, 1008, "carry next to nothing"),
        (frame(BINARY, b"half"), 1008, "0.4 s without a byte"),
        (frame(FIN | BINARY, b"half", 4000), 1008, "0.4 s without a byte"),
        (frame(FIN | BINARY, b"", 33 * 2**20), 1009, "33554432"),
        (frame(FIN | 1, b"\xff\xff"), 1007, "UTF-8"),
    ],
    ids=["empty", "fragments", "pings", "messages", "unfinished", "cut", "large", "text"],
)
def test_a_socket_that_breaks_a_bound_is_closed_in_words(
    hasty: httpx.Client, sent: bytes, code: int, words: str
) -> None:
    with opened(hasty) as wire:
        began = time.monotonic()
        with suppress(ConnectionError):
            wire.sendall(sent)
        told = closing(wire)
        assert time.monotonic() - began < 10
    assert told[0] == code and words in told[1], told
    unharmed(hasty)


def test_a_message_that_never_ends_is_bounded_in_all(hasty: httpx.Client) -> None:
    with opened(hasty) as wire:
        wire.sendall(frame(BINARY, b"x" * 300))
        wire.settimeout(0.1)
        told = b""
        while not told:  # never idle for long, but never done either
            wire.sendall(frame(CONTINUATION, b"x" * 300))
            with suppress(TimeoutError):
                told = wire.recv(200)
    assert b"4 s in all" in told
    unharmed(hasty)


def test_unfinished_messages_are_accounted_with_all_bodies(start: Start) -> None:
    size = 200_000
    with (
        start(max_buffered_bytes=1_000_000, max_buffered_bytes_per_client=700_000) as client,
        ExitStack() as stack,
    ):
        wires = [stack.enter_context(opened(client)) for _ in range(5)]
        for wire in wires[:3]:
            wire.sendall(frame(FIN | BINARY, b"x" * size, size + 1))
        until(lambda: gauge(client, "buffered_bytes") >= 3 * size)
        wires[3].sendall(frame(FIN | BINARY, b"x" * size, size + 1))
        code, reason = closing(wires[3])
        assert (code, "700,000 are its share" in reason) == (1013, True), reason
        stack.close()
        unharmed(client)


def test_a_client_that_sends_and_never_reads_is_cut_off(start: Start) -> None:
    frames = np.zeros((400, 400, 3), np.uint8), np.zeros((400, 400), np.uint8)
    frames[0][:, :200], frames[1][:, :200] = 200, 200
    message = frame(FIN | BINARY, pack(*frames))
    with (
        start(answer_total_s=1, body_idle_s=30) as client,
        opened(client, "/stream?live=false", SMALL) as wire,
    ):
        wire.settimeout(0.5)
        began, sent = time.monotonic(), 0
        with suppress(ConnectionError):
            while time.monotonic() < began + 20:
                with suppress(TimeoutError):
                    sent += wire.send(message[sent:])
                    sent %= len(message)
        assert time.monotonic() < began + 20
        assert 'outcome="answer_not_taken"' in client.get("/metrics").text
        unharmed(client)


def test_answers_that_nobody_reads_are_in_the_account(start: Start) -> None:
    """A client that lets 14 MB lie thrice exceeds its share: the oldest of its answers goes."""
    settings = {"max_buffered_bytes": 40_000_000, "max_buffered_bytes_per_client": 20_000_000}
    with start(**settings) as client, ExitStack() as stack:
        wires = []
        for _ in range(3):
            wire = stack.enter_context(socket.socket())
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
            wire.connect((client.base_url.host, client.base_url.port))
            octets = {"Accept": "application/octet-stream"}
            asked = client.build_request("POST", "/fuse-segment", files=pair(1900), headers=octets)
            head = "".join(f"{name}: {value}\r\n" for name, value in asked.headers.items())
            wire.sendall(f"POST /fuse-segment HTTP/1.1\r\n{head}\r\n".encode() + asked.read())
            wires.append(wire)
            until(lambda: gauge(client, "buffered_bytes") > 5_000_000)
        until(lambda: 'outcome="answer_not_taken"' in client.get("/metrics").text)
        assert gauge(client, "buffered_bytes") < 25_000_000
        stack.close()
        unharmed(client)


def test_a_client_that_leaves_a_pipeline_of_requests_is_worked_for_no_more(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    with start() as client:
        octets = {"Accept": "application/octet-stream"}
        asked = client.build_request("POST", "/fuse-segment", files=pair(1900), headers=octets)
        head = "".join(f"{name}: {value}\r\n" for name, value in asked.headers.items())
        with socket.create_connection((client.base_url.host, client.base_url.port)) as wire:
            # Closed, it sends a reset.
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request = f"POST /fuse-segment HTTP/1.1\r\n{head}\r\n".encode() + asked.read()
            wire.sendall(request * 3)
            until(lambda: gauge(client, "pending") == 1)
        until(lambda: gauge(client, "pending") == 0)
        assert 'outcome="gone",route="/fuse-segment"} 1.0' in client.get("/metrics").text
        unharmed(client)
    assert "Exception in ASGI application" not in caplog.text


@pytest.mark.parametrize(
    "upgrade",
    [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n",
        "Upgrade: TLS/1.2, foo/3\r\nConnection: keep-alive, upgrade\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {KEY}\r\n",
    ],
    ids=["h2c", "others", "websocket"],
)
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("cut", [0, 40, 10_000])
def test_an_upgrade_that_we_do_not_speak_is_ignored(
    client: httpx.Client, upgrade: str, chunked: bool, cut: int
) -> None:
    asked = client.build_request("POST", "/fuse-segment?return=mask", files=pair())
    body = asked.read()
    framing = f"Content-Length: {len(body)}"
    if chunked:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        framing = "Transfer-Encoding: chunked"
    head = (
        f"POST /fuse-segment?return=mask HTTP/1.1\r\nHost: localhost\r\n{upgrade}{framing}\r\n"
        f"Content-Type: {asked.headers['content-type']}\r\n\r\n"
    )
    sent = (
        head.encode()
        + body
        + b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    with connected(client) as wire:
        for piece in (sent[:cut], sent[cut:]):
            wire.sendall(piece)
            time.sleep(0.01 if cut else 0)
        told = rest(wire)
    assert told.startswith(b"HTTP/1.1 200 OK") and b"image/png" in told, told[:300]
    assert told.count(b"HTTP/1.1 ") == 2 and told.endswith(b'{"status":"alive"}')
    unharmed(client)


def test_no_byte_of_a_body_is_taken_for_a_request(client: httpx.Client) -> None:
    inner = b"GET /classes HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for upgrade in ("h2c", "websocket", "websocket\r\nSec-WebSocket-Version: 8"):
        head = "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
        head += f"Upgrade: {upgrade}\r\n"
        with connected(client) as wire:
            wire.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(inner) + inner)
            wire.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            told = rest(wire)
        assert b" 404 " in told and b"taxonomy" not in told
        assert told.endswith(b'{"status":"alive"}')


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (("Version: 13", "Version: 8"), 4),
        ((KEY, "short"), 4),
        (("Host: localhost", "Host: localhost\r\nCookie: " + "a" * 9000), 431),
        (("Host: localhost", "A: b\r\n" * 200 + "Host: localhost"), 431),
    ],
    ids=["version", "key", "long line", "many lines"],
)
def test_a_handshake_that_is_none_is_answered(
    client: httpx.Client, change: tuple[str, str], status: int
) -> None:
    with connected(client) as wire:
        wire.sendall(OPENING.replace(*change).encode())
        wire.settimeout(3)
        told = b""
        while b"\r\n\r\n" not in told:
            told += wire.recv(65_536)
    assert told.startswith(f"HTTP/1.1 {status}".encode())
    assert b"application/problem+json" in told
    unharmed(client)


def test_what_follows_a_handshake_at_once_is_not_lost(client: httpx.Client) -> None:
    with connected(client) as wire:
        wire.sendall(OPENING.encode() + frame(FIN | PING, b"hello"))
        told = b""
        while b"hello" not in told:
            told += wire.recv(1000)
    assert b" 101 " in told


def test_idle_connections_of_one_client_leave_probes_and_others_answering(start: Start) -> None:
    with start(max_connections=24, head_timeout_s=20) as client:
        client.headers["Connection"] = "close"
        until(lambda: client.get("/readyz").status_code == 200)
        with occupied(client, b""):
            assert client.get("/readyz").status_code == 200
            unharmed(client)  # an idle connection makes room
        until(lambda: gauge(client, "connections") == 1)
        with occupied(client, b"GET /livez HTTP/1.1\r\nHost: "):  # none of these is idle
            for path in ("/livez", "/readyz", "/v2/health/live", "/v2/health/ready"):
                assert client.get(path).status_code == 200
            refused = client.get("/classes")
            assert (refused.status_code, refused.json()["kind"]) == (503, "busy")
            assert refused.headers["retry-after"] == "1"
            assert "of one client" in refused.json()["detail"]
            with pytest.raises(InvalidStatus) as turned_away:
                connect(str(client.base_url).replace("http", "ws").rstrip("/") + "/stream")
            assert turned_away.value.response.status_code == 503
            transport = httpx.HTTPTransport(local_address="127.0.0.2")
            with httpx.Client(base_url=client.base_url, transport=transport, timeout=20) as other:
                assert other.post("/fuse-segment", files=pair()).status_code == 200
        unharmed(client)


@contextmanager
def occupied(client: httpx.Client, sent: bytes) -> Iterator[None]:
    """Far more connections of one client than there may be."""
    with ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(connected(client)).sendall(sent)
        yield


def test_a_route_without_limits_is_refused_when_the_service_is_made(stand_in_weights: Path) -> None:
    settings = Settings(weights=stand_in_weights)
    app = create_app(settings, open_runtime(stand_in_weights, threads=1))
    with pytest.raises(LookupError, match="/unbounded is no entry point"):
        check_entries([*app.routes, Route("/unbounded", lambda request: None)])
