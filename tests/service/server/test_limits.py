"""The table of limits, walked: every entry point is tried on every limit that it states."""

import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, get_args

import httpx
import numpy as np
import pytest

from segmif.client import pack
from segmif.runtime import open_runtime
from service.server.connections import RESERVE
from service.settings import Settings
from service.settings.limits import Entry, Limits
from tests.service.entry_point import LARGE, OCTETS, RAMP, EntryPoint
from tests.service.scheduler.test_fairness import blocked
from tests.service.server.test_entry_points import (
    BINARY,
    CONTINUATION,
    FIN,
    OPENING,
    SMALL,
    closing,
    frame,
    gauge,
    opened,
    until,
)
from tests.service.server.test_safety import connected, problem, rest, unharmed
from tests.service.server.test_service import issue

ENTRIES: tuple[Entry, ...] = get_args(Entry)
NETWORK = "service.scheduler.batching.predict_batch"
CLOSE = "Connection: close"
PART = b"--x\r\nContent-Disposition: form-data; name=visible\r\n\r\n"


def too_large(point: EntryPoint) -> None:
    if point.is_socket:
        with opened(point.client) as wire:
            wire.sendall(frame(FIN | BINARY, b"", point.limits.body_bytes + 1))
            assert closing(wire)[0] == 1009
    elif point.reads_body:
        assert told_of(point, point.head(f"Content-Length: {point.limits.body_bytes + 1}")) == 413
        many = b"10000\r\n" + b"a" * 65_536 + b"\r\n"
        chunks = many * (point.limits.body_bytes // 65_536 + 1)
        assert told_of(point, point.head("Transfer-Encoding: chunked") + chunks) in (413, 422)
    else:
        dropped(point, b"a" * 200_000)


def dropped(point: EntryPoint, body: bytes) -> None:
    """Who reads no body answers before it, and closes: nothing of it is held."""
    with connected(point.client) as wire:
        wire.sendall(point.head("Content-Length: 300000") + body)
        told = rest(wire)
        assert b"connection: close" in told.lower(), told
        assert gauge(point.client, "buffered_bytes") == 0


def told_of(point: EntryPoint, sent: bytes) -> int:
    """Status of the problem that comes for what is sent."""
    with connected(point.client) as wire:
        with suppress(ConnectionError):
            wire.sendall(sent)
        return problem(rest(wire))[0]


def no_handshake(point: EntryPoint) -> None:
    """It comes before anything is asked: one entry stands for all."""
    if point.entry != "page":
        return
    with connected(point.client) as silent, connected(point.client) as begun:
        begun.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
        assert rest(silent) + rest(begun) == b""  # closed


def slow_head(point: EntryPoint) -> None:
    assert told_of(point, point.head()[:-2]) == 408
    assert told_of(point, point.head("X: " + "a" * 40_000)) == 431


def stopping(point: EntryPoint) -> None:
    if point.is_socket:
        with opened(point.client) as wire:
            wire.sendall(frame(BINARY, b"half"))
            assert closing(wire)[0] == 1008
    elif point.reads_body:
        assert told_of(point, point.head("Content-Length: 9") + b"--x") == 408
    else:
        dropped(point, b"half")


def trickling(point: EntryPoint) -> None:
    opening: Callable[[], Any] = lambda: (  # noqa: E731
        opened(point.client) if point.is_socket else connected(point.client)
    )
    piece = frame(CONTINUATION, b"x" * 300) if point.is_socket else b"x"
    with opening() as wire:
        begun = point.head("Content-Length: 9000") + PART
        wire.sendall(frame(BINARY, b"x") if point.is_socket else begun)
        began, told = time.monotonic(), b""
        with suppress(ConnectionError):
            while time.monotonic() < began + 10:
                wire.sendall(piece)
                wire.settimeout(0.05)
                with suppress(TimeoutError):
                    told += wire.recv(1000)
        assert time.monotonic() < began + 10
    if point.is_socket:
        assert b"the message is not whole" in told
    elif point.reads_body:
        assert b" 408 " in told


def crumbs(point: EntryPoint) -> None:
    if point.is_socket:
        with opened(point.client) as wire:
            with suppress(ConnectionError):
                wire.sendall(frame(BINARY) + frame(CONTINUATION) * 5000)
            assert closing(wire)[0] == 1008
        return
    with connected(point.client) as wire:
        with suppress(ConnectionError):
            wire.sendall(point.head("Transfer-Encoding: chunked") + b"1\r\n-\r\n" * 65_536)
        told = rest(wire)
        assert b" 400 " in told or b"connection: close" in told.lower()


def not_read(point: EntryPoint) -> None:
    if point.entry not in ("form", "raw", "websocket", "open_inference"):
        return  # its answers are smaller than what sockets hold
    if point.is_socket:
        sent, path = frame(FIN | BINARY, pack(np.dstack([LARGE] * 3), LARGE)) * 3, "/stream?live=0"
        wires: Any = opened(point.client, path, SMALL)
    else:
        sent, wires = point.pair(1400), narrow(point.client)
    before = cut(point.client)
    with wires as wire:
        wire.settimeout(5)
        with suppress(TimeoutError, ConnectionError):
            wire.sendall(sent)
        until(lambda: cut(point.client) > before)


def cut(client: httpx.Client) -> float:
    """Connections that were cut because their answer was not read."""
    line = 'segmif_requests_total{outcome="answer_not_taken",route="none"} '
    return float(client.get("/metrics").text.partition(line)[2].partition("\n")[0] or 0)


@contextmanager
def narrow(client: httpx.Client) -> Iterator[socket.socket]:
    with socket.socket() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        wire.connect((client.base_url.host, client.base_url.port))
        yield wire


def ahead(point: EntryPoint) -> None:
    """What one connection asks beyond what it may wait for is not begun."""
    if not point.takes_pairs:
        return
    with (
        ExitStack() as stack,
        pytest.MonkeyPatch.context() as patched,
        blocked(patched, NETWORK),
    ):
        if point.is_socket:
            wire = stack.enter_context(opened(point.client, "/stream?live=false"))
            wire.sendall(frame(FIN | BINARY, pack(np.dstack([RAMP] * 3), RAMP)) * 20)
        else:
            wire = stack.enter_context(connected(point.client))
            wire.sendall(point.pair() * 3)
        expected = point.limits.outstanding
        until(lambda: gauge(point.client, "pending") == expected)
        time.sleep(0.1)
        assert gauge(point.client, "pending") == expected
    until(lambda: gauge(point.client, "pending") == 0)


def too_many_pairs(point: EntryPoint) -> None:
    if not point.takes_pairs:
        return
    sent = point.pair()
    with (
        ExitStack() as stack,
        pytest.MonkeyPatch.context() as patched,
        blocked(patched, NETWORK),
    ):
        for number in range(point.limits.pending):
            stack.enter_context(connected(point.client)).sendall(raw_pair(point.client))
            until(partial(pending, point.client, number + 1))
        if point.is_socket:
            wire = stack.enter_context(opened(point.client))
            wire.sendall(frame(FIN | BINARY, pack(np.dstack([RAMP] * 3), RAMP)))
            status = struct.unpack_from("<H", wire.recv(100), 14)[0]
        else:
            wire = stack.enter_context(connected(point.client))
            wire.sendall(sent)
            status = int(wire.recv(65_536)[9:12])
        assert status == 429
    until(lambda: gauge(point.client, "pending") == 0)


def pending(client: httpx.Client, count: int) -> bool:
    return gauge(client, "pending") == count


def raw_pair(client: httpx.Client) -> bytes:
    return EntryPoint("raw", client, Settings()).pair()


def too_many_bytes(point: EntryPoint) -> None:
    with ExitStack() as stack:
        holder = stack.enter_context(connected(point.client))
        announced = 1_000_000
        holder.sendall(
            b"POST /fuse-segment HTTP/1.1\r\nHost: localhost\r\nContent-Type: %b\r\n"
            b"Content-Length: %d\r\n\r\n" % (OCTETS.encode(), announced) + bytes(announced - 10_000)
        )
        until(lambda: gauge(point.client, "buffered_bytes") == announced - 10_000)
        if point.is_socket:
            wire = stack.enter_context(opened(point.client))
            wire.sendall(frame(FIN | BINARY, bytes(30_000), 40_000))
            assert closing(wire)[0] == 1013
        elif point.reads_body:
            assert told_of(point, point.head(CLOSE, "Content-Length: 30000") + bytes(30_000)) == 503
        else:
            assert point.client.get(point.target().split()[1]).status_code != 503
    until(lambda: gauge(point.client, "buffered_bytes") == 0)


def too_many_connections(point: EntryPoint) -> None:
    with ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(connected(point.client)).sendall(b"GET /livez HTTP/1.1\r\nHost: ")
        with connected(point.client) as wire:
            wire.sendall(OPENING.encode() if point.is_socket else point.head(CLOSE))
            told = rest(wire)
        assert told.startswith(b"HTTP/1.1 200" if point.limits.reserve else b"HTTP/1.1 503"), told
    until(lambda: gauge(point.client, "connections") <= 1)


def heavy(point: EntryPoint) -> None:
    """`test_fairness.py` tries it at every entry that may order such work."""
    assert (point.limits.heavy > 0) == point.takes_pairs


def too_many_regions(point: EntryPoint) -> None:
    assert (point.limits.regions > point.limits.regions_of_one > 0) == (
        point.entry == "shared_memory"
    )
    if point.entry != "shared_memory":
        return
    made = []
    while (answer := point.client.post("/shared-memory", params={"bytes": 100})).status_code == 201:
        made.append(answer.json()["id"])
    assert answer.status_code == 503 and 0 < len(made) <= point.limits.regions_of_one
    for region in made:
        assert point.client.delete(f"/shared-memory/{region}").status_code == 204


VIOLATIONS: dict[str, Callable[[EntryPoint], None]] = {
    "body_bytes": too_large,
    "handshake_s": no_handshake,
    "head_s": slow_head,
    "body_idle_s": stopping,
    "body_total_s": trickling,
    "answer_s": not_read,
    "pieces": crumbs,
    "outstanding": ahead,
    "pending": too_many_pairs,
    "heavy": heavy,
    "buffered_bytes": too_many_bytes,
    "buffered_of_one": too_many_bytes,
    "connections": too_many_connections,
    "connections_of_one": too_many_connections,
    "reserve": too_many_connections,
    "regions": too_many_regions,
    "regions_of_one": too_many_regions,
}
IN_TIME = ("head_s", "body_idle_s", "body_total_s", "answer_s")


@pytest.fixture(scope="module")
def services(
    serve: Any, stand_in_weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Any]]:
    """A service that is strict about time, another about the rest, a third about both by TLS."""
    times = {"head_timeout_s": 0.4, "body_idle_s": 0.3, "body_total_s": 0.6, "answer_total_s": 0.4}
    counts = {
        "max_connections": 32,
        "max_pending_per_client": 9,
        "max_body_bytes": 1_000_000,
        "max_buffered_bytes": 2_000_000,
        "max_buffered_bytes_per_client": 1_000_000,
    }
    with ExitStack() as stack:
        made = {}
        key = tmp_path_factory.mktemp("tls") / "key.pem"
        certificate = key.with_name("certificate.pem")
        trusting = issue(key, certificate)
        tls = counts | {"head_timeout_s": 2, "tls_key": key, "tls_certificate": certificate}
        for kind, chosen in (("times", times), ("counts", counts), ("tls", tls)):
            settings = Settings.model_validate(
                {"weights": stand_in_weights, "shared_memory": True} | chosen
            )
            runtime = open_runtime(stand_in_weights, threads=1)
            trusted = {"trusting": trusting} if kind == "tls" else {}
            made[kind] = stack.enter_context(serve(settings, runtime, **trusted)), settings
        kinds = dict.fromkeys(IN_TIME, "times") | {"handshake_s": "tls"}
        yield lambda limit: made[kinds.get(limit, "counts")]


def test_half_open_handshakes_are_connections_and_give_way(services: Callable[[str], Any]) -> None:
    client, settings = services("handshake_s")
    most = settings.max_connections + RESERVE
    with ExitStack() as stack:
        for _ in range(3 * settings.max_connections):
            stack.enter_context(connected(client)).sendall(b"\x16\x03\x01")
        assert client.get("/livez").status_code == 200
        assert gauge(client, "connections") <= most
    until(lambda: gauge(client, "connections") <= 1)


def test_a_request_in_one_piece_with_the_end_of_a_handshake_is_answered(
    services: Callable[[str], Any],
) -> None:
    client, _ = services("handshake_s")
    came, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    plain = ssl.create_default_context()
    plain.check_hostname, plain.verify_mode = False, ssl.CERT_NONE
    talk = plain.wrap_bio(came, sent)
    with connected(client) as wire:
        while True:
            try:
                talk.do_handshake()
                break
            except ssl.SSLWantReadError:
                wire.sendall(sent.read())
                came.write(wire.recv(65_536))
        talk.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        wire.sendall(sent.read())
        answer = b""
        while b"alive" not in answer:
            came.write(wire.recv(65_536))
            with suppress(ssl.SSLWantReadError):
                answer += talk.read(65_536)
        assert answer.startswith(b"HTTP/1.1 200")
        wire.settimeout(10)
        rest(wire)  # closed without our word, within the bound


def until_nothing_is_held(client: httpx.Client) -> None:
    limit = time.monotonic() + 20
    while gauge(client, "buffered_bytes"):
        assert time.monotonic() < limit
        time.sleep(0.05)


@pytest.mark.parametrize("violate", dict.fromkeys(VIOLATIONS.values()))
@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_point_keeps_every_limit(
    services: Callable[[str], Any], entry: Entry, violate: Callable[[EntryPoint], None]
) -> None:
    limit = next(name for name, violation in VIOLATIONS.items() if violation is violate)
    client, settings = services(limit)
    client.headers["Connection"] = "close"  # an idle connection would make room for others
    until_nothing_is_held(client)  # of the test before
    violate(EntryPoint(entry, client, settings))
    unharmed(client)


def test_every_limit_is_tried() -> None:
    assert VIOLATIONS.keys() == {field.name for field in fields(Limits)}
    assert Settings().limits.keys() == set(ENTRIES)
