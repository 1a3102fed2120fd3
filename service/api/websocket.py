"""`WS /stream`: binary pairs in, answers out, for a rig that sends faster than it waits."""

import asyncio
import json
import logging
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from time import monotonic
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from websockets.frames import CloseCode

from segmif.wire.binary_pair import RawAnswer
from segmif.wire.media_types import JPEG, PNG, RAW, WEBP

from ..errors import (
    BadParameter,
    Busy,
    NotAcceptable,
    ServiceError,
    Superseded,
    UpgradeNeeded,
    out_of_memory,
)
from ..memory.budget import MemoryBudget
from ..observability.logs import access
from ..observability.tracing import trace_stages
from ..scheduler.dispatcher import Dispatcher
from ..scheduler.pair_request import PairRequest
from ..schemas.pair_options import PairOptions, StreamOptions
from ..settings import Settings
from .negotiation import choose
from .problems import problem, problem_response
from .query_parameters import reject_repeated
from .requests import client_of, read_raw_body, validated
from .responses import ResponseFormat, raw_answer

PICTURES = {"raw": RAW, "png": PNG, "jpeg": JPEG, "webp": WEBP}

logger = logging.getLogger(__name__)
router = APIRouter()


@router.websocket("/stream")
async def stream(socket: WebSocket) -> None:
    """
    Answer raw pairs as docs/wire.md has them, in the order in which they came.

    A newer pair replaces one that still waits, unless the query says live=false.
    """
    try:
        options = validated(StreamOptions, reject_repeated(socket.query_params))
        choose(RAW, options.views)
    except (BadParameter, NotAcceptable) as error:
        await socket.send_denial_response(problem_response(socket, error))
        return
    dispatcher: Dispatcher = socket.app.state.dispatcher
    await socket.accept()
    dispatcher.sockets += 1
    session = Session(socket, dispatcher, socket.app.state.settings, options)
    try:
        await session.run()
    finally:
        dispatcher.sockets -= 1
        access.info("socket closed", extra={"fields": session.summary()})


@router.api_route("/stream", methods=["GET", "POST", "DELETE"], include_in_schema=False)
async def not_upgraded() -> None:
    """Answer a request that lacks the headers of a WebSocket."""
    raise UpgradeNeeded


class Session:
    """One socket's pairs, from the first to its end."""

    def __init__(
        self, socket: WebSocket, dispatcher: Dispatcher, settings: Settings, options: StreamOptions
    ) -> None:
        self._socket = socket
        self._dispatcher = dispatcher
        self._deadline_ms = settings.deadline_ms
        self._format = ResponseFormat(PICTURES[options.picture], options.views)
        self._id: str = socket.state.request_id
        fields = options.model_dump(by_alias=True, exclude_unset=True, exclude={"picture"})
        self._options = PairOptions.model_validate({"stream": self._id, "live": True} | fields)
        self._client = client_of(socket)
        # Beyond so many pairs in work the socket is not read, and TCP holds the client.
        self._limits = settings.limits["websocket"]
        self._room = asyncio.Semaphore(self._limits.outstanding)
        self._buffered: MemoryBudget = socket.app.state.buffered
        self._held = 0  # bytes of messages in work and answers that wait
        self._answers: asyncio.Queue[asyncio.Task[RawAnswer | None]] = asyncio.Queue()
        self._tasks: set[asyncio.Task[object]] = set()
        self._answered = self._dropped = self._failed = 0

    async def run(self) -> None:
        """
        Read and answer until the client leaves; pairs in work are then cancelled. If the service
        stops, they are answered first.

        The sending task may notice the end first, while the reading one waits for room.
        """
        ends = [asyncio.create_task(self._send()), asyncio.create_task(self._receive())]
        for end in ends:
            self._keep(end)
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in done:
                with suppress(WebSocketDisconnect):
                    end.result()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._give(self._held)
            # Its own stream's name is never used again. One that the query names goes on elsewhere.
            self._dispatcher.end_stream(self._client, self._id)

    def summary(self) -> dict[str, Any]:
        """How many pairs were answered, dropped and refused, for the log."""
        return {
            "request_id": self._id,
            "client": self._socket.client.host if self._socket.client else "unknown",
            "route": "/stream",
            "answered": self._answered,
            "dropped": self._dropped,
            "failed": self._failed,
        }

    async def _receive(self) -> None:
        sequence = 0
        while (data := await self._next(sequence)) is not None:
            size = len(data)
            try:
                self._take(size)
                await self._room.acquire()
                task = asyncio.create_task(self._answer(sequence, data))
            except Busy as error:
                self._give(size)
                await self._room.acquire()
                task = asyncio.create_task(self._refuse(sequence, error))
            self._keep(task)
            self._answers.put_nowait(task)
            sequence += 1

    async def _next(self, taken: int) -> bytes | None:
        """
        The message after `taken` others. None once the socket is closed, or closes because it sends
        others than binary ones.
        """
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            if message.get("code") == CloseCode.SERVICE_RESTART:
                await self._answers.join()
                # A client may have sent more: those pairs it must send again.
                reason = f"the service stops; pairs taken: {taken}"
                await self._socket.close(CloseCode.SERVICE_RESTART, reason)
            return None
        data: bytes | None = message.get("bytes")
        if data is None:
            await self._socket.close(CloseCode.UNSUPPORTED_DATA, "pairs are binary messages")
        return data

    def _take(self, size: int) -> None:
        """Account for bytes; raises Busy if they are too many, and holds them even then."""
        self._held += size
        limits = self._limits
        self._buffered.take(self._client, size, limits.buffered_bytes, limits.buffered_of_one)

    def _give(self, size: int) -> None:
        self._held -= size
        self._buffered.give(self._client, size)

    def _keep(self, task: asyncio.Task[RawAnswer | None] | asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, sequence: int, message: bytes) -> RawAnswer | None:
        """The answer to one message, or a problem; None if a newer pair came."""
        outcome, request_id = "ok", f"{self._id}-{sequence}"
        received = monotonic()
        try:
            visible, infrared, options = read_raw_body(message, self._options)
            due = received + (options.deadline_ms or self._deadline_ms) / 1000
            pair = PairRequest(
                *(visible, infrared, options, self._client, request_id, due),
                own_stream=options.stream == self._id,
            )
            answer, result = await self._dispatcher.process(
                pair, lambda result: (raw_answer(self._format, result), result)
            )
            trace_stages(result.times)
            self._hold(answer)
            return replace(answer, sequence=sequence, visible_ns=options.visible_ns or 0)
        except Superseded as error:
            outcome = error.kind
            return None
        except (ServiceError, MemoryError) as error:
            shown = error if isinstance(error, ServiceError) else out_of_memory()
            outcome, refusal = shown.kind, _refusal(shown, request_id, sequence)
            if refusal.status == HTTPStatus.INTERNAL_SERVER_ERROR:
                logger.error("%s: %s", request_id, shown, exc_info=shown)
            return refusal
        finally:
            self._give(len(message))
            self._dispatcher.metrics.requests.labels("/stream", outcome).inc()

    async def _refuse(self, sequence: int, error: Busy) -> RawAnswer:
        """The answer to a message for which there is no room."""
        self._dispatcher.metrics.requests.labels("/stream", error.kind).inc()
        return _refusal(error, f"{self._id}-{sequence}", sequence)

    def _hold(self, answer: RawAnswer) -> None:
        """Account for an answer until it is sent; raises Busy."""
        try:
            self._take(answer.size)
        except Busy:
            self._give(answer.size)
            raise

    async def _send(self) -> None:
        while True:
            await self._deliver(await (await self._answers.get()))
            self._answers.task_done()
            self._room.release()

    async def _deliver(self, answer: RawAnswer | None) -> None:
        if answer is None:
            self._dropped += 1
            return
        self._failed += answer.status >= 300
        counted = replace(answer, dropped=self._dropped, failed=self._failed)
        await self._socket.send_bytes(self._message(counted))
        self._give(answer.size)
        self._answered += answer.status < 300

    def _message(self, answer: RawAnswer) -> bytes:
        try:
            return answer.to_bytes()
        except MemoryError:
            refusal = _refusal(out_of_memory(), f"{self._id}-{answer.sequence}", answer.sequence)
            return replace(refusal, dropped=answer.dropped, failed=answer.failed).to_bytes()


def _refusal(error: ServiceError, request_id: str, sequence: int) -> RawAnswer:
    fields = problem(error, request_id)
    report = json.dumps(fields).encode()
    return RawAnswer(status=fields["status"], report=report, sequence=sequence)
