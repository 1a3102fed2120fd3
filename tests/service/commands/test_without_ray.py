"""What `--ray` does without Ray, and what our part of its proxy does, which needs none."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from service.commands.on_ray.draining import EndSockets
from service.commands.on_ray.front import PRESENT, Front

ROOT = Path(__file__).parents[3]
Body = bytes | AsyncIterator[bytes]
NO_RAY = (
    "import sys; sys.modules['ray'] = None; from service.__main__ import main; sys.exit(main())"
)


@pytest.mark.parametrize("words", [("serve",), ("infer", "--visible=v", "--infrared=i", "--out=o")])
def test_ray_that_is_missing_is_named(words: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", NO_RAY, *words, "--ray"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    install = f"pip install --editable '{ROOT}[ray]'"
    assert done.stderr == f"--ray needs Ray, which is not installed: {install}\n"


class Proxy:
    """Stands for Ray's proxy: reads all of a body, and gives one answer or none."""

    def __init__(self, status: int | None) -> None:
        self.status, self.read = status, 0
        self.scope: Scope = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, more = scope, True
        while more:
            message = await receive()
            self.read += len(message.get("body", b""))
            more = message.get("more_body", False)
        if message["type"] == "http.disconnect" or self.status is None:
            return
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def post(proxy: Proxy, content: Body = b"x", path: str = "/fuse-segment") -> httpx.Response:
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(Front(proxy))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.post(path, content=content)

    return asyncio.run(asked())


async def pieces() -> AsyncIterator[bytes]:
    """A body whose length is not stated."""
    for _ in range(10):
        yield bytes(500)


def test_a_replica_that_died_and_a_full_one_are_503_with_the_time_to_try_again() -> None:
    for status in (None, 503):
        given = post(Proxy(status))
        assert (given.status_code, given.headers["Retry-After"]) == (503, "1")
    assert "send it again" in post(Proxy(None)).json()["detail"]
    assert post(Proxy(200)).status_code == 200


def test_a_body_is_bounded_before_ray_has_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGMIF_MAX_BODY_BYTES", "1000")
    for content in (bytes(5000), pieces()):
        given = post(proxy := Proxy(200), content)
        assert (given.status_code, given.json()["kind"]) == (413, "body_too_large")
        assert proxy.read <= 1000


def test_requests_of_a_stream_are_one_session() -> None:
    proxy = Proxy(200)
    for path, session in (("/fuse-segment?stream=rig", b"rig"), ("/fuse-segment", None)):
        post(proxy, path=path)
        assert dict(proxy.scope["headers"]).get(b"x-session-id") == session
        assert "app" not in proxy.scope  # it travels
    assert post(Proxy(None), path=PRESENT).status_code == 204


def test_a_socket_gives_what_came_before_the_replica_ends_and_then_its_end() -> None:
    async def served() -> list[Message]:
        came = asyncio.Queue[Message]()
        drains, taken = asyncio.Event(), list[Message]()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            while (message := await receive())["type"] == "websocket.receive":
                taken.append(message)
            taken.append(message)

        async def ignore(message: Message) -> None:
            """Nobody listens."""

        around = EndSockets(app, drains.is_set)
        socket = asyncio.create_task(around({"type": "websocket"}, came.get, ignore))
        for text in "abc":
            came.put_nowait({"type": "websocket.receive", "text": text})
            await asyncio.sleep(0.01 if text == "a" else 0)
            if text == "a":
                assert len(taken) == 1
                drains.set()
        await asyncio.wait_for(socket, 5)
        return taken

    *messages, end = asyncio.run(served())
    assert [message["text"] for message in messages] == ["a", "b", "c"]
    assert end == {"type": "websocket.disconnect", "code": 1012}
