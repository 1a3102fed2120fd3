"""WebSockets of a replica that is about to end: they close in order, as with our own server."""

import asyncio
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from websockets.frames import CloseCode

POLL_S = 0.2  # between two questions whether the replica ends
LAST_S = 1.0  # for a client that never pauses


class EndSockets:
    """
    Tells each WebSocket that the service stops, once `draining` says so.

    Ray waits for open sockets as for requests, and kills the replica in the end with pairs in work.
    """

    def __init__(self, app: ASGIApp, draining: Callable[[], bool]) -> None:
        self._app, self._draining = app, draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        messages = Messages(receive, self._draining)
        try:
            await self._app(scope, messages.next, send)
        finally:
            messages.close()


class Messages:
    """What a client sends, until the replica drains."""

    def __init__(self, receive: Receive, draining: Callable[[], bool]) -> None:
        self._receive, self._draining = receive, draining
        self._coming: asyncio.Task[Message] | None = None
        self._until: float | None = None  # so long messages are taken, once it drains

    async def next(self) -> Message:
        """The next message; once all that came are taken, the end as uvicorn gives it."""
        self._coming = self._coming or asyncio.create_task(self._received())
        while not self._coming.done():
            wait_s = 0.0 if self._drains() else POLL_S
            await asyncio.wait([self._coming], timeout=wait_s)
            if not wait_s:
                break
        if not self._coming.done() or self._is_over():
            return {"type": "websocket.disconnect", "code": CloseCode.SERVICE_RESTART}
        message, self._coming = self._coming.result(), None
        return message

    def close(self) -> None:
        """Wait for nothing more."""
        if self._coming:
            self._coming.cancel()

    def _drains(self) -> bool:
        if self._until is None and self._draining():
            self._until = time.monotonic() + LAST_S
        return self._until is not None

    def _is_over(self) -> bool:
        return self._drains() and time.monotonic() > (self._until or 0)

    async def _received(self) -> Message:
        return await self._receive()


def replica_drains() -> bool:
    """Whether Ray is about to end the replica that this process is; Ray has no public word."""
    from ray._private.worker import global_worker

    actor = global_worker.actors[global_worker.actor_id]
    return bool(actor._replica_impl._shutting_down)
