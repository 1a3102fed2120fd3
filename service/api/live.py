"""The rigs of `segmif run`: their state, and their newest pictures for the page."""

import asyncio
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Query, Request, WebSocket, WebSocketDisconnect
from websockets.frames import CloseCode

from .. import errors
from ..live.live_result import LiveResult
from ..live.page_message import page_message, requested_parts
from ..live.rig_pipeline import RigPipeline
from ..live.rig_state import rig_state
from ..live.rigs import Rigs
from ..schemas.live_state import LiveState, RigState, SavedRig
from .openapi import documented
from .problems import problem_response
from .query_parameters import reject_repeated

SUBPROTOCOL = "segmif"
MOST_PX = 500  # of a nudge; more is another rig
Pixels = Annotated[float, Query(ge=-MOST_PX, le=MOST_PX, allow_inf_nan=False)]

router = APIRouter()


@router.get("/live", responses=documented(errors.Unauthorized))
async def live(request: Request) -> LiveState:
    """Say how the rigs fare; a service that reads no cameras has none."""
    rigs: Rigs | None = request.app.state.rigs
    return rigs.state() if rigs else LiveState(rigs=[])


@router.get(
    "/live/{rig}",
    responses=documented(
        errors.Unauthorized, errors.BadParameter, errors.UnknownRig, errors.NotReady
    ),
)
async def live_rig(request: Request, rig: str) -> RigState:
    """Say how one rig fares."""
    return rig_state(_find(request.app.state.rigs, rig))


@router.post(
    "/live/{rig}/nudge",
    responses=documented(
        errors.Unauthorized,
        errors.BadParameter,
        errors.UnknownRig,
        errors.NotReady,
        errors.RigKept,
        errors.RigChanged,
        errors.RigNotWritten,
    ),
)
async def nudge(request: Request, rig: str, right: Pixels = 0, down: Pixels = 0) -> SavedRig:
    """
    Move infrared by pixels of the visible frame in the rig file, and go on with it.

    A copy of the old file stays beside it.
    """
    if unknown := reject_repeated(request.query_params).keys() - {"right", "down"}:
        raise errors.BadParameter(f"parameter {min(unknown)!r}: nobody knows it here; leave it out")
    rigs: Rigs | None = request.app.state.rigs
    found = _find(rigs, rig)
    assert rigs is not None  # else `_find` has raised
    return await rigs.nudge(found, right, down)


@router.websocket("/live/{rig}")
async def watch(socket: WebSocket, rig: str) -> None:
    """
    Answer each text message `next` with the newest result that was not sent yet.

    The names of parts may follow, as in `next fused mask`: only those are encoded and sent.
    A viewer asks when it is ready, so a slow one misses results. docs/wire.md has the message.
    """
    try:
        pipeline = _find(socket.app.state.rigs, rig)
    except (errors.UnknownRig, errors.NotReady) as error:
        await socket.send_denial_response(problem_response(socket, error))
        return
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
    viewer = Viewer(socket, pipeline)
    socket.app.state.dispatcher.sockets += 1
    try:
        await viewer.run()
    finally:
        socket.app.state.dispatcher.sockets -= 1


class Viewer:
    """One socket that shows a rig."""

    def __init__(self, socket: WebSocket, rig: RigPipeline) -> None:
        self._socket, self._rig, self._feed = socket, rig, rig.feed
        self._workers = socket.app.state.dispatcher.queues.viewers
        self._asked = asyncio.Event()
        self._names: frozenset[str] = frozenset()  # of the parts it asks for
        self._sent: frozenset[str] = frozenset()  # the same, of what it got last
        self._sequence = -1  # of what it got last

    async def run(self) -> None:
        """Send results until the viewer leaves, or the rig is closed."""
        tasks = [asyncio.create_task(self._hear()), asyncio.create_task(self._show())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                with suppress(WebSocketDisconnect):
                    task.result()
        finally:
            self._feed.leave(self)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _hear(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                if message.get("code") == CloseCode.SERVICE_RESTART:
                    await self._socket.close(CloseCode.SERVICE_RESTART, "the service stops")
                return
            try:
                self._names = requested_parts(message.get("text") or "")
            except ValueError as error:
                await self._socket.close(CloseCode.UNSUPPORTED_DATA, str(error))
                return
            if not self._names <= self._sent:
                self._sequence = -1  # the last result again: it may have what is now asked for
            self._asked.set()
            self._feed.request(self, self._names)

    async def _show(self) -> None:
        while True:
            await self._asked.wait()
            newest = await self._feed.newer(lambda: self._sequence)
            self._asked.clear()
            if newest is None:
                if self._rig.ended:
                    await self._socket.close(CloseCode.NORMAL_CLOSURE, "The recordings have ended")
                else:
                    await self._socket.close(CloseCode.GOING_AWAY, "The rig is read no longer")
                return
            self._sequence, self._sent = newest.sequence, self._names
            await self._socket.send_bytes(await self._message(newest, self._names))

    async def _message(self, result: LiveResult, names: frozenset[str]) -> bytes:
        parts, _ = await asyncio.gather(
            self._feed.parts(result, sorted(names)),
            self._workers.run(lambda: result.report),  # kept with the result
        )
        state = rig_state(self._rig)
        message: bytes = await self._workers.run(page_message, result, state, parts)
        return message


def _find(rigs: Rigs | None, name: str) -> RigPipeline:
    """The rig of a name; raises UnknownRig, or NotReady before it was opened."""
    if rigs is None:
        raise errors.UnknownRig("this service reads no cameras: start it with `segmif run`")
    if found := rigs.get(name):
        return found
    known = [rig.name for rig in rigs.settings.rigs]
    if name in known:
        raise errors.NotReady(f"the rig {name} has not been opened yet", retry_s=1)
    raise errors.UnknownRig(f"there is no rig {name!r:.80} here, only {', '.join(known)}")
