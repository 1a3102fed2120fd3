"""uvicorn's WebSocket protocol with the bounds of a body: bytes, pieces, time and memory."""

import asyncio
import logging
from http import HTTPStatus
from typing import Any, ClassVar, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.exceptions import ProtocolError
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Response
from websockets.server import ServerProtocol

from ..errors import Busy
from ..settings.limits import CONTROL_FRAMES_S, Limits
from .connections import Connection, Connections
from .http_protocol import raw_problem
from .lingering_close import LingeringTransport

MAX_REASON = 120  # [characters] of a close frame, RFC 6455, section 5.5
DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


class BoundedFrames(ServerProtocol):
    """websockets' parser, which bounds the bytes of a message, with bounds on its frames too."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(max_size=limits.body_bytes, logger=logging.getLogger("uvicorn.error"))
        self._pieces = limits.pieces
        self._free = float(limits.pieces.free)  # frames that may still carry nothing
        self._earned_at = asyncio.get_running_loop().time()
        self._fragments = 0  # of the message that is coming

    def recv_frame(self, frame: Frame) -> None:
        """Take a frame; what breaks the bounds ends the connection with the reason."""
        now = asyncio.get_running_loop().time()
        earned = (now - self._earned_at) * CONTROL_FRAMES_S + len(frame.data) / (
            self._pieces.mean_bytes
        )
        self._free = min(self._free + earned, self._pieces.free) - 1
        self._earned_at = now
        if self._free < 0:
            self._break_off("too many frames that carry next to nothing")
        if frame.opcode in DATA:
            self._fragments += 1
            if self._pieces.most and self._fragments > self._pieces.most:
                self._break_off(f"a message of more than {self._pieces.most} fragments")
            if frame.fin:
                self._fragments = 0
        super().recv_frame(frame)

    def earn(self) -> None:
        """Allow a small frame in return for a message that was sent, such as the next request."""
        self._free += 1

    def _break_off(self, reason: str) -> None:
        self.fail(CloseCode.POLICY_VIOLATION, reason)
        raise ProtocolError(reason)  # ends the parsing; the close frame is written already


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """Bounds what a client leaves unfinished, and leaves an open socket to the route at the end."""

    all: ClassVar[Connections]

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.limits = self.all.limits.websocket  # to its end, as it began
        self.conn: BoundedFrames = BoundedFrames(self.limits)
        self._early = b""  # what came before the handshake was complete
        self._held = 0  # bytes that are accounted for
        self._queued = 0  # of them, whole messages that the route has not taken
        self._heard_at = 0.0
        self._running_since: float | None = None  # the clock of a message that is not whole
        self._ran_s = 0.0  # before that, of the same message
        self._check: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the connection of the request that asked for the upgrade."""
        self._connection = cast(Connection, cast(LingeringTransport, transport).owner)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give back what was held."""
        super().connection_lost(exc)
        self._drop()

    def data_received(self, data: Any) -> None:
        """Parse what came, and account for what is not yet a message."""
        if self.handshake_initiated and not self.handshake_complete:
            self._early += data
            self.transport.pause_reading()
            return
        self._heard_at = self.loop.time()
        super().data_received(data)
        if not self.handshake_initiated:
            self._refuse_head()
        self._keep_account()
        self._keep_time()

    async def send(self, message: Any) -> None:
        """Send; what came before the handshake was complete is parsed behind it."""
        await super().send(message)
        if message["type"] == "websocket.send":
            self.conn.earn()
        if self._early and self.handshake_complete and not self.transport.is_closing():
            early, self._early = self._early, b""
            self.transport.resume_reading()
            self.data_received(early)

    async def receive(self) -> Any:
        """Hand a message to the route, which accounts for it from then on."""
        message = await super().receive()
        if message["type"] == "websocket.receive":
            self._queued -= len(message.get("bytes") or (message.get("text") or "").encode())
        self._keep_account()
        self._keep_time()
        return message

    def send_receive_event_to_app(self) -> None:
        """Put a whole message into the queue."""
        self._ran_s, size = 0.0, sum(map(len, self.frames))
        if self._running_since is not None:
            self._running_since = self.loop.time()
        if self.close_sent:
            self.frames = []
            return
        try:
            if self.curr_msg_data_type == "text":
                b"".join(self.frames).decode()
        except UnicodeDecodeError:
            self._break_off(CloseCode.INVALID_DATA, "a text message that is not UTF-8")
            return
        self._queued += size
        super().send_receive_event_to_app()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """Give back what the route has left in the queue."""
        super().on_task_complete(task)
        self._queued = 0
        self._keep_account()

    def keepalive_timeout(self) -> None:
        """Close a socket that answers no ping, unless it is we who do not read."""
        if self.read_paused:
            self.pong_timer = None
            self.schedule_ping()
        else:
            super().keepalive_timeout()

    def shutdown(self) -> None:
        """Let the route answer what it has accepted, and close; uvicorn would cut it."""
        if self.handshake_complete and not self.close_sent:
            self.queue.put_nowait(
                {"type": "websocket.disconnect", "code": CloseCode.SERVICE_RESTART}
            )
        else:
            super().shutdown()

    def handle_parser_exception(self) -> None:
        """Close with the reason, and hold nothing of what came."""
        self._drop()
        self._connection.all.limits.refused("websocket_limit")
        super().handle_parser_exception()

    def _refuse_head(self) -> None:
        """Answer a head that websockets does not parse: its limits are tighter than ours."""
        error = self.conn.handshake_exc
        why = (error.__cause__ or error) if error else "they are not whole"
        headers, body = raw_problem(431, "head_too_large", f"the headers of a WebSocket: {why}")
        response = Response(431, HTTPStatus(431).phrase, Headers(headers), body)
        self.transport.write(response.serialize())
        self.close_sent = self.handshake_complete = self.handshake_initiated = True
        self.transport.close()

    def _keep_account(self) -> None:
        """Bring what is accounted for to what is held; breaks off if that is too much."""
        held = len(self.conn.reader.buffer) + (self.conn.current_size or 0) + self._queued
        limits, client = self._connection.all.limits, self._connection.client
        more, self._held = held - self._held, held
        if more < 0:
            limits.buffered.give(client, -more)
        elif more:
            try:
                limits.buffered.take(client, more, limits.buffered_bytes, limits.buffered_of_one)
            except Busy as error:
                self._break_off(CloseCode.TRY_AGAIN_LATER, error.detail)

    def _keep_time(self) -> None:
        """Run the clock of a message that is not whole, but not while we do not read."""
        unfinished = bool(self.conn.reader.buffer) or self.conn.current_size is not None
        now = self.loop.time()
        if unfinished and not self.read_paused and not self.transport.is_closing():
            if self._running_since is None:
                self._running_since = self._heard_at = now
                self._check = self.loop.call_later(self.limits.body_idle_s, self._see_time)
        elif self._running_since is not None:
            self._ran_s += now - self._running_since
            self._running_since = None
            if self._check:
                self._check.cancel()
        if not unfinished:
            self._ran_s = 0.0

    def _see_time(self) -> None:
        assert self._running_since is not None  # else it was cancelled
        now, limits = self.loop.time(), self.limits
        ran_s = self._ran_s + now - self._running_since
        left_s = min(limits.body_idle_s - (now - self._heard_at), limits.body_total_s - ran_s)
        if left_s > 0:
            self._check = self.loop.call_later(left_s, self._see_time)
            return
        self._break_off(
            CloseCode.POLICY_VIOLATION,
            f"the message is not whole; {limits.body_idle_s:g} s without a byte and "
            f"{limits.body_total_s:g} s in all are waited",
        )

    def _break_off(self, code: CloseCode, reason: str) -> None:
        if self.close_sent or self.transport.is_closing():
            return
        self.conn.fail(code, reason[:MAX_REASON])
        self.handle_parser_exception()

    def _drop(self) -> None:
        self.frames = []
        self.conn.reader.buffer.clear()
        self.conn.current_size = None
        self._keep_account()
        self._keep_time()
