"""The attacks of `benchmarks.service.attacks`: functions of the service's port and an end."""

import base64
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import httpx
import numpy as np

from benchmarks.service.request_forms import raw_pair
from benchmarks.service.servers import SAMPLE

ADDRESS = "127.0.0.1"
KEY = base64.b64encode(bytes(16)).decode()
OPENING = (
    f"GET /stream?live=false HTTP/1.1\r\nHost: {ADDRESS}\r\nConnection: Upgrade\r\n"
    f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
).encode()
BINARY, CONTINUATION, PING, FIN = 2, 0, 9, 0x80
WAIT_S = 5.0
Attack = Callable[[int, float], None]


def frame(first: int, payload: bytes = b"", announced: int | None = None) -> bytes:
    """A masked frame with a mask of zeros; it may announce more bytes than it has."""
    head = struct.pack("!BBQ", first, 0xFF, len(payload) if announced is None else announced)
    return head + bytes(4) + payload


def empty_frame(first: int) -> bytes:
    """A masked frame without a byte."""
    return struct.pack("!BB", first, 0x80) + bytes(4)


def pixels() -> bytes:
    """A raw pair of noise."""
    random = np.random.default_rng()
    visible, infrared = (random.integers(0, 256, (480, 640, n), np.uint8) for n in (3, 1))
    return raw_pair(visible, infrared[..., 0], stamp_ns=0)


def form() -> tuple[bytes, str]:
    """A form with the sample pair, and its media type."""
    files = {name: (SAMPLE / f"{name}.png").read_bytes() for name in ("visible", "infrared")}
    request = httpx.Request("POST", f"http://{ADDRESS}", files=files)
    return request.read(), request.headers["content-type"]


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.socket() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.settimeout(WAIT_S)
        wire.connect((ADDRESS, port))
        yield wire


@contextmanager
def opened(port: int) -> Iterator[socket.socket]:
    with connected(port) as wire:
        wire.sendall(OPENING)
        wire.recv(1000)
        yield wire


def repeatedly(step: Callable[[int], None], clients: int) -> Attack:
    """An attack of `clients` threads that repeat a step and ignore errors."""

    def attack(port: int, until: float) -> None:
        def repeat() -> None:
            while time.monotonic() < until:
                with suppress(OSError, httpx.HTTPError):
                    step(port)

        threads = [threading.Thread(target=repeat, daemon=True) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, until + WAIT_S - time.monotonic()))

    return attack


def frames_of(data: bytes, port: int) -> None:
    """Send frames to a WebSocket until it closes."""
    with opened(port) as wire:
        while True:
            wire.sendall(data)


def unfinished_message(port: int) -> None:
    with opened(port) as wire:
        wire.sendall(frame(FIN | BINARY, bytes(31 * 2**20), 31 * 2**20 + 1))
        wire.recv(1000)


def sends_and_never_reads(port: int) -> None:
    message = frame(FIN | BINARY, pixels())
    with opened(port) as wire:
        while True:
            wire.sendall(message)


def answer_not_read(port: int) -> None:
    body = pixels()
    octets = "application/octet-stream"
    head = f"POST /fuse-segment HTTP/1.1\r\nHost: {ADDRESS}\r\nContent-Type: {octets}\r\n"
    head += f"Accept: {octets}\r\nContent-Length: {len(body)}\r\n\r\n"
    with connected(port) as wire:
        for _ in range(4):
            wire.sendall(head.encode() + body)
        time.sleep(WAIT_S)


def held(sent: bytes, port: int, until: float) -> None:
    """520 connections, each reopened if the service closes it."""
    with ExitStack() as stack:
        wires = [stack.enter_context(connected(port)) for _ in range(520)]
        while time.monotonic() < until:
            for number, wire in enumerate(wires):
                with suppress(OSError):
                    wire.setblocking(False)
                    if sent and wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO):
                        wire.send(sent)
                try:
                    gone = wire.recv(1000) == b""
                except BlockingIOError:
                    gone = False
                except OSError:
                    gone = True
                if gone and time.monotonic() < until:
                    wire.close()
                    with suppress(OSError):
                        wires[number] = stack.enter_context(connected(port))
            time.sleep(0.2)


def upgrade(port: int) -> None:
    inner = b"GET /classes HTTP/1.1\r\n\r\n" * 1000
    head = f"POST /fuse-segment HTTP/1.1\r\nHost: {ADDRESS}\r\nConnection: Upgrade\r\n"
    head += f"Upgrade: h2c\r\nContent-Length: {len(inner)}\r\n\r\n"
    with connected(port) as wire:
        wire.sendall(head.encode() + inner)
        wire.recv(1000)


def body_to_nowhere(port: int) -> None:
    head = f"POST /nowhere HTTP/1.1\r\nHost: {ADDRESS}\r\nContent-Length: 999999999\r\n\r\n"
    with connected(port) as wire:
        wire.sendall(head.encode())
        while True:
            wire.sendall(bytes(65_536))


def cut_region(port: int) -> None:
    message = pixels()
    with httpx.Client(base_url=f"http://{ADDRESS}:{port}", timeout=WAIT_S) as client:
        answer = client.post("/shared-memory", params={"bytes": len(message)})
        made = answer.raise_for_status().json()
        file = Path("/dev/shm", made["name"])
        file.write_bytes(message[64:])
        cutting = threading.Timer(0.005, partial(os.truncate, file, 0))
        cutting.start()
        client.post(f"/shared-memory/{made['id']}/fuse-segment", content=message[:64])
        cutting.join()
        client.delete(f"/shared-memory/{made['id']}")


def pair(query: str, port: int) -> None:
    body, kind = form()
    with httpx.Client(base_url=f"http://{ADDRESS}:{port}", timeout=60) as client:
        client.post(f"/fuse-segment{query}", content=body, headers={"Content-Type": kind})


def many_parts(port: int) -> None:
    tensors = json.dumps({"inputs": [{"name": "visible"}] * 1000}).encode()
    with httpx.Client(base_url=f"http://{ADDRESS}:{port}", timeout=WAIT_S) as client:
        client.post("/v2/models/nano/infer", content=tensors)


ATTACKS: dict[str, Attack] = {
    "empty fragments": repeatedly(partial(frames_of, empty_frame(CONTINUATION) * 10_000), 8),
    "empty messages": repeatedly(partial(frames_of, empty_frame(FIN | BINARY) * 10_000), 8),
    "pings": repeatedly(partial(frames_of, empty_frame(FIN | PING) * 10_000), 8),
    "small fragments": repeatedly(
        partial(frames_of, (frame(BINARY, b"x" * 300) + frame(CONTINUATION, b"x" * 300) * 100)), 8
    ),
    "40 unfinished messages of 31 MiB": repeatedly(unfinished_message, 40),
    "a socket that is never read": repeatedly(sends_and_never_reads, 8),
    "answers that are never read": repeatedly(answer_not_read, 24),
    "520 idle connections": partial(held, b""),
    "520 heads without an end": partial(held, b"G"),
    "upgrade to h2c": repeatedly(upgrade, 8),
    "a body to nowhere": repeatedly(body_to_nowhere, 8),
    "a region that is cut": repeatedly(cut_region, 4),
    "refine": repeatedly(partial(pair, "?refine=true"), 8),
    "24 greedy clients": repeatedly(partial(pair, ""), 24),
    "lists of tensors": repeatedly(many_parts, 8),
}
