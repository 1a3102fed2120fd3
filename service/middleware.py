"""Around every request: a name for it, and a limit on its body before anything reads it."""

import re
from time import monotonic
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooLarge
from service.metrics import Metrics

REQUEST_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)  # safe to repeat in headers and logs


class RequestId:
    """Takes the client's X-Request-ID where it has one, else makes one; the answer repeats it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid4().hex
        scope.setdefault("state", {}).update(request_id=request_id, received=monotonic())

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        await self.app(scope, receive, named)


class Outcomes:
    """Counts how each request ended, by its route."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            await self.app(scope, receive, send)
        except Exception:
            scope["state"]["outcome"] = "internal"  # the handler of bugs stands outside
            raise
        finally:
            route = getattr(scope.get("route"), "path", "none")
            outcome = scope["state"].get("outcome", "ok")
            self.metrics.requests.labels(route, outcome).inc()


class BodyLimit:
    """Stops reading a body beyond `max_bytes`, whether its length was stated or not."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        stated = Headers(scope=scope).get("content-length", "0")
        received = 0

        async def limited() -> Message:
            nonlocal received
            if stated.isdecimal() and int(stated) > self.max_bytes:
                raise self._refusal(int(stated))
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                raise self._refusal(received)
            return message

        await self.app(scope, limited, send)

    def _refusal(self, size: int) -> BodyTooLarge:
        return BodyTooLarge(
            f"a body of at least {size:,} bytes; at most {self.max_bytes:,} are read"
        )
