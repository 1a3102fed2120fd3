"""uvicorn's HTTP protocol with bounds on what it leaves open: heads, tiny chunks, early answers."""

import asyncio
import binascii
import json
import sys
from base64 import b64decode
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import httptools
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from ..api.problems import PROBLEM_TYPE
from ..errors import out_of_memory
from ..settings.limits import PROBES, Limits
from .connections import Connection

MAX_HEAD_BYTES = 32 * 2**10  # request line and headers together
OF_AN_UPGRADE = frozenset({b"upgrade", b"http2-settings"})  # headers that end at this hop
WEBSOCKET_VERSION = b"13"
KEY_BYTES = 16  # of Sec-WebSocket-Key, decoded


def raw_problem(status: int, kind: str, detail: str) -> tuple[list[tuple[str, str]], bytes]:
    """Headers and body of a problem that no application answers."""
    request_id = uuid4().hex
    fields = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail, "kind": kind}
    body = json.dumps(fields | {"request_id": request_id}).encode()
    headers = [
        ("content-type", PROBLEM_TYPE),
        ("content-length", str(len(body))),
        ("x-request-id", request_id),
        ("connection", "close"),
    ]
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append(("retry-after", "1"))
    return headers, body


class HeadTooLarge(ValueError):
    """The headers of a request are too long together."""


class GuardedHttp(HttpToolsProtocol):
    """Closes connections that trickle, and reads or drops whatever belongs to a body."""

    def __init__(self, connection: Connection, **given: Any) -> None:
        super().__init__(**given)
        self._connection = connection
        self._head_timer: asyncio.TimerHandle | None = None
        self._in_head = False
        self._upgrade_ignored = False
        self._ended = False
        self._running: RequestResponseCycle | None = None  # the oldest request without an answer

    @property
    def _limits(self) -> Limits:
        """The limits in force: they may be others than at the start."""
        return self._connection.all.limits.http

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin with the clock of the first head."""
        super().connection_made(transport)
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks and the work."""
        self._end_head()
        self._unset_keepalive_if_required()
        # uvicorn tells only the newest request of a pipeline that its client is gone.
        for cycle in (self._running, *(waiting for waiting, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Finish what is being answered; who was refused has been answered."""
        if self._ended:
            self.transport.abort()
        else:
            super().shutdown()

    def data_received(self, data: Any) -> None:
        """Parse what came, as long as the head is not too long."""
        if self._ended or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        if self._in_head:
            self._head_bytes += len(data)
        self._parse(data)
        if self._ended or self.transport.is_closing():
            return
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse_long()
        elif not self._in_head and self._answered() and not self._connection.unread:
            self._wait_for_next()  # an empty line begins no request

    def _parse(self, data: Any) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as stop:
            rest = bytes(data[stop.args[0] :])
            if self._upgrade_ignored:
                self._go_on(rest)
            else:
                self._begin_websocket(rest)
        except httptools.HttpParserError:
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """Start the clock of a request's head."""
        super().on_message_begin()
        self._connection.all.busy(self._connection)
        self._chunks = self._body_bytes = 0
        if not self._in_head:
            self._begin_head()

    def on_headers_complete(self) -> None:
        """Begin to answer; the errors become a 400 of `send_400_response`."""
        self._end_head()
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > MAX_HEAD_BYTES:  # it came in one piece
            raise HeadTooLarge
        if self.parser.get_method() == b"CONNECT":
            raise ValueError("this is no proxy")
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts != 1 and (hosts or self.parser.get_http_version() == "1.1"):
            raise ValueError("HTTP/1.1 wants one Host")  # RFC 9112, section 3.2
        self._upgrade_ignored = self.parser.should_upgrade() and not self._should_upgrade()
        if not self._upgrade_ignored:
            self._connection.unread = True
            self._connection.to_come = int(dict(self.headers).get(b"content-length", b"0"))
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body; the error becomes a 400 of `send_400_response`."""
        self._chunks += 1
        self._body_bytes += len(body)
        self._connection.to_come -= len(body)
        if self._limits.pieces.too_small(self._chunks, self._body_bytes):
            raise ValueError("the body comes in too many tiny chunks")
        held = self.cycle.body
        if not held:
            self.cycle.body = b""  # type: ignore[assignment]  # plus `body` it is `body`, uncopied
        elif isinstance(held, bytes):  # would be copied for each further piece
            self.cycle.body = bytearray(held)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the body is whole."""
        if not self._upgrade_ignored:
            self._connection.unread, self._connection.to_come = False, 0
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        if self._answered() and not self.transport.is_closing():
            self._connection.all.idle(self._connection)

    def send_400_response(self, msg: str) -> None:
        """Say that this is no HTTP, or a body in too many chunks, or one without room for it."""
        error = sys.exc_info()[1]
        cause = error.__context__ if error else None
        if isinstance(cause, MemoryError):
            refusal = out_of_memory()
            self._refuse(503, refusal.kind, refusal.detail)
        elif isinstance(cause, HeadTooLarge):
            self._refuse_long()
        else:
            self._refuse(400, "bad_http", "this is not a request that HTTP/1.1 allows here")

    def _should_upgrade(self) -> bool:
        """
        Whether a request opens a WebSocket.

        A server ignores every other upgrade, and answers in HTTP/1.1 (RFC 9110, section 7.8).
        """
        stated = dict(self.headers)
        bodiless = stated.get(b"content-length", b"0").strip(b"0") == b"" and (
            b"transfer-encoding" not in stated
        )
        return (
            super()._should_upgrade()
            and bodiless
            and self.parser.get_method() == b"GET"
            and self.parser.get_http_version() == "1.1"
            and stated.get(b"sec-websocket-version") == WEBSOCKET_VERSION
            and _is_key(stated.get(b"sec-websocket-key", b""))
        )

    def _go_on(self, rest: bytes) -> None:
        """
        Read on behind a head with an upgrade that is ignored: its body, in HTTP/1.1.

        The parser takes what follows such a head for another protocol. A new one gets the same
        head without the headers of the upgrade, so that it knows how long the body is.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version()
        head = b"%b %b HTTP/%b\r\n" % (method, self.url, version.encode())
        for name, value in self.headers:
            if name == b"connection":
                kept = (token.strip() for token in value.split(b","))
                value = b", ".join(token for token in kept if token.lower() not in OF_AN_UPGRADE)
            if name not in OF_AN_UPGRADE:
                head += b"%b: %b\r\n" % (name, value)
        self.parser = httptools.HttpRequestParser(self)
        self._parse(head + b"\r\n")
        if rest and not self._ended:
            self._parse(rest)

    def _begin_websocket(self, rest: bytes) -> None:
        if not self._connection.all.admit(self._connection):
            self._refuse(503, "busy", self._crowded())
            return
        self._unset_keepalive_if_required()
        self.handle_websocket_upgrade()
        if rest:
            self._connection.pass_on(rest)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Answer a request; on a connection of the reserve, a probe alone."""
        self._running = cycle
        asked: ASGIApp = app
        if not self._connection.all.admit(self._connection):
            cycle.keep_alive = False
            if cycle.scope["path"] not in PROBES:
                asked = self._turn_away

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            async def closing_if_early(message: Message) -> None:
                if cycle.more_body and message["type"] == "http.response.start":
                    cycle.keep_alive = False  # what still comes is dropped as it ends
                await send(message)

            await asked(scope, receive, closing_if_early)

        super()._start_asgi_task(cycle, answer)  # type: ignore[arg-type]

    async def _turn_away(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._connection.all.limits.refused("busy")
        headers, body = raw_problem(503, "busy", self._crowded())
        coded = [(name.encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": 503, "headers": coded})
        await send({"type": "http.response.body", "body": body})

    def _crowded(self) -> str:
        limits = self._connection.all.limits
        return (
            f"{len(self._connection.all)} connections are open, {limits.most} may be and "
            f"{limits.of_one} of one client; try again"
        )

    def _answered(self) -> bool:
        return self.cycle is not None and self.cycle.response_complete and not self.pipeline

    def _wait_for_next(self) -> None:
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _begin_head(self) -> None:
        self._in_head, self._head_bytes = True, 0
        self._head_timer = self.loop.call_later(
            self._limits.head_s,
            self._refuse_slow,
        )

    def _refuse_long(self) -> None:
        self._refuse(431, "head_too_large", f"the headers exceed {MAX_HEAD_BYTES} bytes")

    def _refuse_slow(self) -> None:
        if self._connection.reserved:
            self._refuse(503, "busy", self._crowded())
        else:
            self._refuse(408, "too_slow", f"the headers took more than {self._limits.head_s:g} s")

    def _end_head(self) -> None:
        self._in_head = False
        if self._head_timer:
            self._head_timer.cancel()

    def _refuse(self, status: int, kind: str, detail: str) -> None:
        self._end_head()
        if self._ended or self.transport.is_closing():
            return
        self._ended = True
        self._connection.all.limits.refused(kind)
        if self.pipeline:  # an answer now would be taken for that of an earlier request
            self.transport.abort()
            return
        open_cycle = self.cycle is not None and not self.cycle.response_complete
        if not open_cycle or not self.cycle.response_started:
            headers, body = raw_problem(status, kind, detail)
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
            head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{lines}\r\n"
            self.transport.write(head.encode() + body)
        if open_cycle:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()


def _is_key(value: bytes) -> bool:
    try:
        return len(b64decode(value, validate=True)) == KEY_BYTES
    except binascii.Error:
        return False
