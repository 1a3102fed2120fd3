"""Browsers and proxies: whose pages may ask, and who a request really comes from."""

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import httpx
import numpy as np
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from segmif.imaging import codecs

Start = Callable[..., AbstractContextManager[httpx.Client]]


def pair(level: int = 0) -> dict[str, bytes]:
    ramp = np.linspace(20, 220, 32 * 32).reshape(32, 32).astype(np.uint8) ^ np.uint8(level)
    return {
        "visible": codecs.encode_png(np.dstack([ramp] * 3)),
        "infrared": codecs.encode_png(ramp),
    }


def kind_of(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return str(answer.json()["kind"])


def handshake(client: httpx.Client, path: str = "/stream", **headers: str) -> httpx.Response:
    """The answer to an opening handshake; 101 if the socket opened."""
    url = f"ws://localhost:{client.base_url.port}{path}"
    port = client.base_url.port or 0
    with socket.create_connection(("127.0.0.1", port)) as wire:
        try:
            with connect(url, sock=wire, additional_headers=headers, origin=None):
                return httpx.Response(101)
        except InvalidStatus as refused:
            told = refused.response
            return httpx.Response(
                told.status_code, headers=dict(told.headers.raw_items()), content=bytes(told.body)
            )


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost:80", "localhost.", "127.0.0.1:1", "127.8.0.1", "[::1]:8000"]
)
def test_a_local_service_answers_to_the_names_of_this_machine(
    client: httpx.Client, host: str
) -> None:
    assert client.get("/classes", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example"),
        *("192.168.1.5", "[2001:db8::1]", "localhost@evil.example", "[", "", "localhostx", "::1"),
    ],
)
def test_a_name_that_was_pointed_at_this_machine_is_refused(
    client: httpx.Client, host: str
) -> None:
    for path in ("/", "/classes", "/livez", "/openapi.json", "/nothing", "/streams/rig/pair"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code == 403 and kind_of(answer) == "foreign_host"
    answer = client.post("/fuse-segment", files=pair(), headers={"Host": host})
    assert answer.status_code == 403 and "SEGMIF_ALLOWED_HOSTS" in answer.json()["detail"]


def test_names_can_be_allowed(start: Start) -> None:
    with start(allowed_hosts="rig.example, *.cams.example") as client:
        for host in ("rig.example:8000", "a.cams.example", "localhost"):
            assert client.get("/classes", headers={"Host": host}).status_code == 200
        for host in ("b.rig.example", "cams.example", "evilcams.example", "10.0.0.1"):
            assert client.get("/classes", headers={"Host": host}).status_code == 403
    with start(host="0.0.0.0", open_to_all=True) as client:
        assert client.get("/classes", headers={"Host": "anything.example"}).status_code == 200
    with start(host="0.0.0.0", open_to_all=True, allowed_hosts=["rig.example"]) as client:
        assert client.get("/classes", headers={"Host": "anything.example"}).status_code == 403
        # an orchestrator probes by the container's address
        assert client.get("/livez", headers={"Host": "10.1.2.3:8000"}).status_code == 200


FOREIGN = ("http://evil.example", "https://localhost.evil.example", "null", "http://localhost:1")


@pytest.mark.parametrize("origin", [*FOREIGN, "file://", "nonsense", "http://["])
def test_a_foreign_page_is_refused(client: httpx.Client, origin: str) -> None:
    answer = client.post("/fuse-segment", files=pair(), headers={"Origin": origin})
    assert answer.status_code == 403 and kind_of(answer) == "foreign_origin"
    assert "SEGMIF_ALLOWED_ORIGINS" in answer.json()["detail"]
    assert "access-control-allow-origin" not in answer.headers
    assert client.get("/classes", headers={"Origin": origin}).status_code == 403
    asking = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    assert client.options("/fuse-segment", headers=asking).status_code == 403
    answer = handshake(client, Origin=origin)
    assert answer.status_code == 403 and kind_of(answer) == "foreign_origin"


def test_the_pages_of_the_service_may_ask(client: httpx.Client) -> None:
    own = f"http://127.0.0.1:{client.base_url.port}"
    assert client.post("/fuse-segment", files=pair(), headers={"Origin": own}).status_code == 200
    own_socket = f"http://localhost:{client.base_url.port}"
    assert handshake(client, Origin=own_socket).status_code == 101
    # TLS that ends before the service, in the browser's own words
    fetched = {"Origin": "https://rig.example", "Sec-Fetch-Site": "same-origin"}
    assert client.get("/classes", headers=fetched).status_code == 200


def test_origins_can_be_allowed_and_get_cors(start: Start) -> None:
    page = "https://rig.example:8443"
    with start(allowed_origins=page, token="s3cret") as client:
        asking = {
            "Origin": page,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,x-deadline-ms",
        }
        answer = client.options("/fuse-segment", headers=asking)  # no token: a browser sends none
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == page
        assert "POST" in answer.headers["access-control-allow-methods"]
        assert "authorization" in answer.headers["access-control-allow-headers"].lower()
        given = {"Origin": page, "Authorization": "Bearer s3cret"}
        answer = client.post("/fuse-segment", files=pair(), headers=given)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == page
        assert "X-Request-ID" in answer.headers["access-control-expose-headers"]
        answer = client.get("/classes", headers={"Origin": page})  # refusals can be read too
        assert answer.status_code == 401
        assert answer.headers["access-control-allow-origin"] == page
        assert handshake(client, **given).status_code == 101
        for origin in (*FOREIGN, "https://rig.example"):
            assert client.get("/classes", headers=given | {"Origin": origin}).status_code == 403


@contextmanager
def from_address(client: httpx.Client, address: str) -> Iterator[httpx.Client]:
    """A client of another address of this machine."""
    transport = httpx.HTTPTransport(local_address=address)
    with httpx.Client(base_url=client.base_url, transport=transport, timeout=20) as other:
        yield other


def faults(client: httpx.Client, level: int) -> str:
    answer = client.post("/fuse-segment?stream=rig", files=pair(level))
    assert answer.status_code == 200, answer.text
    return str(answer.headers.get("x-pair-flags", ""))


def test_a_streams_name_belongs_to_who_holds_it(start: Start) -> None:
    with start(hand_out_pairs=True) as client, from_address(client, "127.0.0.7") as other:
        assert faults(client, 0) == ""
        held = client.get("/streams/rig/pair").headers["etag"]
        assert faults(other, 0) == ""  # it has a memory of its own
        assert client.get("/streams/rig/pair").headers["etag"] == held
        assert "frozen" in faults(client, 0)
        assert faults(client, 1) == ""
        assert client.get("/streams/rig/pair").headers["etag"] != held
        assert "frozen" in faults(other, 0)


def test_many_streams_of_one_client_do_not_take_the_memory_of_another(client: httpx.Client) -> None:
    with from_address(client, "127.0.0.8") as crowd:
        assert faults(client, 0) == ""
        for number in range(70):
            answer = crowd.post(f"/fuse-segment?stream=s{number}", files=pair())
            assert answer.status_code == 200
        assert "frozen" in faults(client, 0)
