"""What HTTP asks of every path, and secrets, which reach no log."""

import asyncio
import gzip
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import httpx
import numpy as np
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from segmif.imaging import codecs
from service.errors import TooManyGuesses
from service.observability.logs import JsonLines, TextLines, is_needed
from service.server.token_throttle import FREE, WAITING, TokenThrottle
from tests.service.conftest import wait_until_ready

Start = Callable[..., AbstractContextManager[httpx.Client]]


def pair() -> dict[str, bytes]:
    ramp = np.linspace(20, 220, 32 * 32).reshape(32, 32).astype(np.uint8)
    return {
        "visible": codecs.encode_png(np.dstack([ramp] * 3)),
        "infrared": codecs.encode_png(ramp),
    }


READ = (
    *("/livez", "/readyz", "/classes", "/samples", "/", "/docs", "/openapi.json", "/metrics"),
    *("/v2", "/v2/health/live", "/v2/models/nano", "/v2/models/nano/ready", "/web/page.js"),
    "/samples/day/visible.png",
)


@pytest.mark.parametrize("path", [*READ, "/v2/models/other", "/streams/none/pair", "/nothing"])
def test_head_is_answered_as_get_without_a_body(client: httpx.Client, path: str) -> None:
    wait_until_ready(client)
    whole, head = client.get(path), client.head(path)
    assert head.status_code == whole.status_code
    assert head.content == b""
    assert head.headers["content-type"] == whole.headers["content-type"]
    if path != "/metrics":
        assert head.headers["content-length"] == str(len(whole.content)) or whole.is_error


def test_head_of_a_path_that_is_posted_to(client: httpx.Client) -> None:
    answer = client.head("/fuse-segment")
    assert answer.status_code == 405 and answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        *((path, {"GET", "HEAD", "OPTIONS"}) for path in READ),
        ("/fuse-segment", {"POST", "OPTIONS"}),
        ("/v2/models/nano/infer", {"POST", "OPTIONS"}),
    ],
)
def test_options_tells_the_methods(client: httpx.Client, path: str, methods: set[str]) -> None:
    answer = client.options(path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert set(answer.headers["allow"].split(", ")) == methods


def test_options_of_no_path(client: httpx.Client) -> None:
    assert client.options("/nothing").status_code == 404


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "zstd", "GZIP", "identity, gzip", "x"])
@pytest.mark.parametrize("path", ["/fuse-segment", "/v2/models/nano/infer"])
def test_a_coded_body_is_refused_with_what_is_taken(
    client: httpx.Client, path: str, coding: str
) -> None:
    asked = client.build_request("POST", path, files=pair())
    headers = {"Content-Type": asked.headers["content-type"], "Content-Encoding": coding}
    answer = client.post(path, content=gzip.compress(asked.read()), headers=headers)
    assert (answer.status_code, answer.json()["kind"]) == (415, "coded_body")
    assert answer.headers["accept-encoding"] == "identity"
    plain = client.post("/fuse-segment", files=pair(), headers={"Content-Encoding": "identity"})
    assert plain.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Connection": "keep-alive"},
        {"Upgrade": "websocket"},
        {"Connection": "Upgrade", "Upgrade": "h2c"},
        {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "8"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_socket_without_an_upgrade_is_told_so(
    client: httpx.Client, method: str, headers: dict[str, str]
) -> None:
    answer = client.request(method, "/stream?live=false", headers=headers)
    assert (answer.status_code, answer.json()["kind"]) == (426, "upgrade_needed")
    assert answer.headers["upgrade"] == "websocket"
    assert "upgrade" in answer.headers["connection"].lower()
    assert answer.headers["sec-websocket-version"] == "13"


def test_a_socket_at_another_path_is_told_where(client: httpx.Client) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://127.0.0.1:{client.base_url.port}/fuse-segment")
    told = json.loads(bytes(refused.value.response.body))
    assert (told["status"], told["detail"]) == (404, "WebSockets are spoken at /stream and /live/")


SECRET = "hunter2-hunter2"


def everywhere(client: httpx.Client) -> Iterator[Any]:
    """A secret in all the places that a client may put it in."""
    base = f"ws://127.0.0.1:{client.base_url.port}/stream"
    for given in ({}, {"Authorization": f"Bearer {SECRET}"}, {"Authorization": f"Basic {SECRET}"}):
        for query in (
            f"token={SECRET}",
            f"access_token={SECRET}",
            f"Token={SECRET}",
            f"x={SECRET}",
        ):
            yield client.post(f"/fuse-segment?{query}", files=pair(), headers=given)
            yield client.get(f"/classes?{query}", headers=given)
            try:
                connect(f"{base}?{query}", additional_headers=given).close()
            except InvalidStatus as refused:
                yield httpx.Response(
                    refused.response.status_code, content=bytes(refused.response.body)
                )
        yield client.post("/fuse-segment", files=pair() | {"token": SECRET.encode()}, headers=given)
        yield client.post("/fuse-segment", data={"token": SECRET}, headers=given)
        yield client.get(f"/nothing/{SECRET}", headers=given)
        yield client.get("/classes", headers=given | {"Cookie": SECRET, "X-Token": SECRET})
        yield client.post("/v2/models/nano/infer", json={"token": SECRET}, headers=given)


@pytest.mark.parametrize("token", [SECRET, None])
def test_a_secret_is_in_no_log_trace_metric_or_error(
    start: Start,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    token: str | None,
) -> None:
    monkeypatch.setattr("service.server.token_throttle.DELAY_S", 0.01)
    traces, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(traces))
    monkeypatch.setattr("opentelemetry.trace.get_tracer_provider", lambda: provider)
    with caplog.at_level(logging.INFO), start(token=token) as client:
        answers = list(everywhere(client))
        right = {"Authorization": f"Bearer {SECRET}"}
        answers.append(client.post("/fuse-segment", files=pair(), headers=right))
        answers.append(client.get("/metrics", headers=right))
    assert len(answers) > 40
    for answer in answers:
        assert SECRET.encode() not in answer.content
        assert SECRET not in str(answer.headers)
    ours = ("service", "uvicorn", "segmif", "fastapi", "python_multipart", "asyncio")
    lines = [each for each in caplog.records if each.name.startswith(ours) and is_needed(each)]
    assert len([line for line in lines if line.name == "service.access"]) > 40
    for line in lines:
        assert SECRET not in JsonLines().format(line) + TextLines().format(line)
    spans = [span.to_json() for span in traces.get_finished_spans()]
    assert [span for span in spans if "url.path" in span and "/fuse-segment" in span]
    assert not [span for span in spans if SECRET in span or "url.query" in span]


@pytest.mark.parametrize("token", ["s3cret", None])
def test_a_token_in_a_query_is_refused_in_words(start: Start, token: str | None) -> None:
    with start(token=token) as client:
        answer = client.get(f"/classes?token={token}")
        assert answer.status_code == (401 if token else 422)
        assert "a token in the query is not taken" in answer.json()["detail"]


def test_a_token_of_other_letters_is_compared_as_it_is_sent(start: Start) -> None:
    with start(token="geheim-ä-ß") as client:
        right = {b"Authorization": "Bearer geheim-ä-ß".encode()}
        assert client.get("/classes", headers=right).status_code == 200


def test_wrong_tokens_cost_time_and_harm_nobody_else(start: Start) -> None:
    with start(token="s3cret") as client:
        wrong, right = ({"Authorization": f"Bearer {text}"} for text in ("wrong", "s3cret"))
        for _ in range(FREE):
            assert client.get("/classes", headers=wrong).status_code == 401
        began = time.monotonic()
        assert client.get("/classes", headers=wrong).status_code == 401
        assert time.monotonic() - began > 0.9
        began = time.monotonic()
        assert client.get("/livez", headers=wrong).status_code == 200
        assert client.get("/classes", headers=right).status_code == 200
        assert client.get("/classes").status_code == 401  # no token is no guess
        assert time.monotonic() - began < 0.9


@pytest.mark.anyio
async def test_guesses_of_an_address_wait_in_bounded_numbers() -> None:
    guesses = TokenThrottle()
    for _ in range(FREE):
        await guesses.wrong("198.51.100.7")
    waiting = [asyncio.create_task(guesses.wrong("198.51.100.7")) for _ in range(WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyGuesses):
        guesses.check("198.51.100.7")
    guesses.check("198.51.100.8")
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    guesses.check("198.51.100.7")
    for number in range(5000):
        await guesses.wrong(f"address {number}")
    assert len(guesses._wrong) <= 4096 and not guesses._waiting
