"""An answer before the end of a body arrives: the rest is read and dropped, within bounds."""

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import httpx
import pytest

from tests.service.server.test_entry_points import gauge, hasty, until
from tests.service.server.test_safety import connected, problem, rest, unharmed

Start = Callable[..., AbstractContextManager[httpx.Client]]

__all__ = ["hasty"]  # fixtures

EARLY = {  # what is answered before its body is read, and how
    "/nowhere": 404,
    "/livez": 405,
    "/fuse-segment?depth_m=x": 422,
    "/v2/models/none/infer": 404,
    "/classes": 401,
}


def ask_by_urllib(url: str, size: int, token: str = "") -> int:
    """Send a body of so many bytes as a client that reads only once it has sent all."""
    headers = {"Content-Type": "multipart/form-data; boundary=x", "Authorization": token}
    request = urllib.request.Request(url, bytes(size), headers)
    try:
        urllib.request.urlopen(request, timeout=20)
    except urllib.error.HTTPError as error:
        assert error.headers["content-type"] == "application/problem+json"
        assert error.read()
        return error.code
    raise AssertionError("it was not refused")


@pytest.fixture(scope="module")
def guarded(start: Start) -> Iterator[httpx.Client]:
    with start(token="s3cret", max_body_bytes=20_000_000) as client:
        yield client


@pytest.mark.parametrize("size", [600_000, 40_000_000])
@pytest.mark.parametrize("path", EARLY)
def test_an_answer_before_the_end_of_the_body_arrives(
    guarded: httpx.Client, path: str, size: int
) -> None:
    url, token = str(guarded.base_url).rstrip("/") + path, "Bearer s3cret"
    expected = EARLY[path]
    for _ in range(10 if size < 10**6 else 2):
        assert ask_by_urllib(url, size, "" if expected == 401 else token) == expected
        assert ask_by_urllib(url.partition("?")[0], size) in (401, 405, 404)
    too_large = url.partition("/fuse")[0] + "/fuse-segment"
    if size > 20_000_000 and "/fuse" in url:
        assert ask_by_urllib(too_large, size, token) == 413
    guarded.headers["Authorization"] = token
    unharmed(guarded)


@pytest.mark.parametrize(
    "sent",
    [b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000, b"no http\r\n\r\n", b"POST /livez HTTP/1.1\r\n"],
)
def test_a_refusal_below_http_arrives_though_more_is_sent(hasty: httpx.Client, sent: bytes) -> None:
    for _ in range(10):
        with connected(hasty) as wire:
            wire.sendall(sent)
            for _ in range(20):
                wire.sendall(b"a" * 50_000)
            assert problem(rest(wire))[0] in (400, 408, 431)


def test_what_follows_an_early_answer_is_dropped_within_bounds(start: Start) -> None:
    """Neither a body without an end nor one that stops holds the connection."""
    head = b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999\r\n\r\n"
    with start(body_idle_s=0.3, body_total_s=1, max_body_bytes=1_000_000) as client:
        with connected(client) as wire:
            began = time.monotonic()
            wire.sendall(head)
            assert b" 404 " in rest(wire)
            with pytest.raises(ConnectionError):
                while time.monotonic() < began + 20:  # slowly: the time bounds it
                    wire.sendall(b"a")
                    time.sleep(0.05)
        with connected(client) as wire, pytest.raises(ConnectionError):
            wire.sendall(head)
            for _ in range(10_000):  # fast: the bytes bound it
                wire.sendall(b"a" * 10_000)
        with connected(client) as wire:
            wire.sendall(head)
            rest(wire)
            until(lambda: gauge(client, "connections") == 1)
        unharmed(client)


def test_a_connection_that_was_answered_is_not_kept_open_by_empty_lines(start: Start) -> None:
    with start(keep_alive_s=1) as client, connected(client) as wire:
        wire.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while b"alive" not in answer:  # head and body may come apart
            answer += wire.recv(1000)
        wire.sendall(b"\r\n")
        wire.settimeout(10)
        assert rest(wire) == b""


NGINX = """
daemon off; user root; worker_processes 1; error_log stderr; pid {folder}/pid;
events {{ worker_connections 64; }}
http {{
  access_log off; client_max_body_size 100m; client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;
  scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://127.0.0.1:{ours}; proxy_request_buffering off; }}
    location /buffered/ {{ proxy_pass http://127.0.0.1:{ours}/; }}
  }}
}}
"""


@pytest.fixture
def nginx(guarded: httpx.Client, tmp_path: Path) -> Iterator[str]:
    """The address of an nginx before the service."""
    binary = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    if not binary:
        pytest.skip("there is no nginx here")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = tmp_path / "nginx.conf"
    config.write_text(NGINX.format(folder=tmp_path, port=port, ours=guarded.base_url.port))
    with subprocess.Popen([binary, "-c", config, "-p", tmp_path]) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            until(lambda: _answers(url))
            yield url
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"{url}/livez").status_code == 200
    return False


@pytest.mark.parametrize("place", ["", "/buffered"])
@pytest.mark.parametrize("size", [600_000, 40_000_000])
def test_an_early_answer_comes_through_nginx(
    guarded: httpx.Client, nginx: str, place: str, size: int
) -> None:
    for path, expected in EARLY.items():
        for _ in range(10 if size < 10**6 else 2):
            token = "" if expected == 401 else "Bearer s3cret"
            assert ask_by_urllib(nginx + place + path, size, token) == expected
