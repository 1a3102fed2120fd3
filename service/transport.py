"""uvicorn's protocols with bounds on what they leave open: heads, tiny chunks, connections."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable
from http import HTTPStatus
from socket import AF_INET, AF_INET6, create_server, socket
from threading import Timer
from typing import Any
from uuid import uuid4

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from service.errors import PROBLEM_TYPE, OutOfMemory
from service.settings import Settings

MAX_HEAD_BYTES = 32 * 2**10  # request line and headers together
# Each chunk costs the event loop a call: many are fine when they carry something.
FREE_CHUNKS = 4096
MIN_MEAN_CHUNK = 256  # [bytes] beyond the free ones
LINGER_S = 2  # for a body that still comes: closed with bytes unread, a client loses the answer
READ_BYTES = 256 * 2**10  # at a time
CLOSE_S = 5  # to free network and threads, once drained
RESTARTING = 1012  # RFC 6455's registry: the service goes, come again


logger = logging.getLogger(__name__)
Refused = Callable[[str], None]


def not_counted(kind: str) -> None:
    """Count no refusal: there is nothing yet to count in."""


class GuardedHttp(HttpToolsProtocol):
    """Closes connections that trickle: a head, a body of tiny chunks, or an answer not taken."""

    head_timeout_s = 10.0
    answer_total_s = 60.0
    max_connections = 512
    refused: Refused = staticmethod(not_counted)  # hears of the kind of each refusal

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, unless there are too many."""
        super().connection_made(transport)
        self._patience: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self._ended = False
        self._begin_head()
        if len(self.connections) > self.max_connections:
            self._refuse(503, "busy", f"{self.max_connections} connections are open; try again")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._end_head()
        self._end_taking()
        if self._lingering:
            self._lingering.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Finish what is being answered; who was refused has been answered."""
        if self._ended:
            self.transport.abort()
        else:
            super().shutdown()

    def pause_writing(self) -> None:
        """Start the clock of a client that does not take its answer, which fills our memory."""
        super().pause_writing()
        self._taking = self.loop.call_later(self.answer_total_s, self._cut)

    def resume_writing(self) -> None:
        """Stop the clock."""
        super().resume_writing()
        self._end_taking()

    def data_received(self, data: bytes) -> None:
        """Parse what came, as long as the head is not too long."""
        if self._ended or self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(431, "head_too_large", f"the headers exceed {MAX_HEAD_BYTES} bytes")

    def on_message_begin(self) -> None:
        """Start the clock of a request's head."""
        super().on_message_begin()
        self._chunks = self._body_bytes = 0
        if not self._in_head:
            self._begin_head()

    def on_headers_complete(self) -> None:
        """Stop the clock."""
        self._end_head()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body; the error becomes a 400 of `send_400_response`."""
        self._chunks += 1
        self._body_bytes += len(body)
        tiny = self._body_bytes < MIN_MEAN_CHUNK * (self._chunks - FREE_CHUNKS)
        if tiny:
            raise ValueError("the body comes in too many tiny chunks")
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Say that this is no HTTP, or a body in too many chunks, or one without room for it."""
        error = sys.exc_info()[1]
        if error and isinstance(error.__context__, MemoryError):
            self._refuse(503, OutOfMemory.kind, OutOfMemory.example)
            return
        self._refuse(400, "bad_http", "this is not a request that HTTP/1.1 allows here")

    def _begin_head(self) -> None:
        self._in_head, self._head_bytes = True, 0
        self._patience = self.loop.call_later(
            self.head_timeout_s,
            self._refuse,
            408,
            "too_slow",
            f"the headers took more than {self.head_timeout_s:g} s",
        )

    def _end_head(self) -> None:
        self._in_head = False
        if self._patience:
            self._patience.cancel()

    def _cut(self) -> None:
        self.refused("answer_not_taken")
        self.transport.abort()

    def _end_taking(self) -> None:
        if self._taking:
            self._taking.cancel()

    def _refuse(self, status: int, kind: str, detail: str) -> None:
        self._end_head()
        if self._ended or self.transport.is_closing():
            return
        self._ended = True
        self.refused(kind)
        if self.pipeline:  # an answer now would be taken for that of an earlier request
            self.transport.abort()
            return
        request_id = uuid4().hex
        phrase = HTTPStatus(status).phrase
        body = json.dumps(
            {
                "title": phrase,
                "status": status,
                "detail": detail,
                "kind": kind,
                "request_id": request_id,
            }
        )
        retry = "retry-after: 1\r\n" if status == HTTPStatus.SERVICE_UNAVAILABLE else ""
        head = (
            f"HTTP/1.1 {status} {phrase}\r\ncontent-type: {PROBLEM_TYPE}\r\n{retry}"
            f"content-length: {len(body)}\r\nx-request-id: {request_id}\r\n"
            "connection: close\r\n\r\n"
        )
        open_cycle = self.cycle is not None and not self.cycle.response_complete
        if not open_cycle or not self.cycle.response_started:
            self.transport.write((head + body).encode())
        if open_cycle and self.cycle.more_body:
            self._let_it_end()
        else:
            self.transport.close()

    def _let_it_end(self) -> None:
        """Drop what still comes of a refused body, for a while, so that the answer arrives."""
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        # not `close`: with TLS that would wait for the client to agree
        self._lingering = self.loop.call_later(LINGER_S, self.transport.abort)


class Reader(asyncio.BufferedProtocol):
    """
    Has the event loop read into memory that is there already.

    A loop that must find new memory for what came drops the connection where there is none; here
    it is the protocol that does not find it, and says so. The connections of one event loop, but
    not of two, share the memory: a loop reads and hands over in one step.
    """

    http: type[GuardedHttp]
    memory: memoryview

    def __init__(self, **given: Any) -> None:
        self._http = self.http(**given)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Pass on that a client is there."""
        self._http.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on that it has gone."""
        self._http.connection_lost(exc)

    def eof_received(self) -> None:
        """Pass on that it has nothing more to say."""
        self._http.eof_received()

    def pause_writing(self) -> None:
        """Pass on that it does not take its answer."""
        self._http.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that it takes it again."""
        self._http.resume_writing()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say where to read to."""
        return self.memory

    def buffer_updated(self, nbytes: int) -> None:
        """Hand over what was read."""
        self._http.data_received(self.memory[:nbytes])  # type: ignore[arg-type]  # any buffer does


class PatientSocket(WebSocketsSansIOProtocol):
    """Leaves an open socket to the route when the service stops: uvicorn would cut it at once."""

    def shutdown(self) -> None:
        """Tell the route, which answers what it has taken up and closes."""
        if self.handshake_complete and not self.close_sent:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": RESTARTING})
        else:
            super().shutdown()


class Server(uvicorn.Server):
    """Stops within a limit also where a thread hangs in the network, which no task can end."""

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Drain and close, or end the process."""
        limit_s = (self.config.timeout_graceful_shutdown or 0) + CLOSE_S
        end = Timer(limit_s, self._end, [limit_s])
        end.daemon = True  # it is not waited for where all goes well
        end.start()
        await super().shutdown(sockets)

    def _end(self, limit_s: float) -> None:
        logger.error("something hangs %s s after the word to stop; the process ends", limit_s)
        os._exit(1)


def check_door(settings: Settings) -> None:
    """Raise OSError where the service could not listen."""
    family = AF_INET6 if ":" in settings.host else AF_INET
    create_server((settings.host, settings.port), family=family).close()


def server_config(
    app: ASGIApp, settings: Settings, refused: Refused = not_counted
) -> uvicorn.Config:
    """
    How uvicorn runs the service; raises OSError where the TLS files cannot be read.

    `refused` hears of the kind of each refusal of what never became a request.
    """
    bounds = {
        "head_timeout_s": settings.head_timeout_s,
        "answer_total_s": settings.answer_total_s,
        "max_connections": settings.max_connections,
        "refused": staticmethod(refused),
    }
    http = type("BoundedHttp", (GuardedHttp,), bounds)
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=type("Http", (Reader,), {"http": http, "memory": memoryview(bytearray(READ_BYTES))}),
        ws=PatientSocket,
        ws_max_size=settings.max_body_bytes,
        ws_per_message_deflate=False,  # a small message could unfold into a large one
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        timeout_graceful_shutdown=settings.drain_s,
        server_header=False,
        access_log=False,  # ours knows the outcome
        log_config=None,
        proxy_headers=False,  # a client could claim any address
    )
