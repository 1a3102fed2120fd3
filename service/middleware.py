"""Around every request: its name, who may ask, how it ended, and bounds on its body."""

import asyncio
import re
from hmac import compare_digest
from time import monotonic
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from service.errors import BodyTooLarge, BodyTooSlow, Busy, Unauthorized, problem_response
from service.logs import access, current_request
from service.metrics import Metrics
from service.tracing import trace_id, trace_stages

REQUEST_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)  # safe to repeat in headers and logs

# What a probe or a browser needs before anybody could give a token; none of it works or tells.
OPEN_PATHS = frozenset({"/livez", "/readyz", "/v2/health/live", "/v2/health/ready"})


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
        current_request.set(request_id)

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        await self.app(scope, receive, named)


class Outcomes:
    """Counts, logs and traces how each request ended, by its route."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 0

        async def noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except Exception:
            scope["state"]["outcome"] = "internal"  # the handler of bugs stands outside
            raise
        finally:
            self._note(scope, status)

    def _note(self, scope: Scope, status: int) -> None:
        state = scope["state"]
        route = getattr(scope.get("route"), "path", "none")
        outcome = state.get("outcome", "ok")
        self.metrics.requests.labels(route, outcome).inc()
        if "times" in state:
            trace_stages(state["times"])
        if scope["path"] in OPEN_PATHS and outcome == "ok":
            return  # a probe a second says nothing
        fields = {
            "request_id": state["request_id"],
            "trace_id": trace_id(),
            "client": scope["client"][0] if scope.get("client") else None,
            "method": scope["method"],
            "route": route,
            "status": status,
            "outcome": outcome,
            "ms": round((monotonic() - state["received"]) * 1000, 1),
        }
        access.info("answered", extra={"fields": fields})


class Bearer:
    """Lets only those in who know the token, but tells anyone whether the service lives."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app = app
        self.token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan" or scope["path"] in OPEN_PATHS:
            await self.app(scope, receive, send)
            return
        scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and compare_digest(given.strip().encode(), self.token):
            await self.app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await WebSocketClose(1008, "the bearer token is missing or wrong")(scope, receive, send)
            return
        error = Unauthorized("send the operator's token as 'Authorization: Bearer TOKEN'")
        await problem_response(Request(scope), error)(scope, receive, send)


class Buffered:
    """The bytes of all bodies that are held at a time."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0

    def take(self, size: int) -> None:
        """Account for bytes; raises Busy where they are too many together."""
        self.bytes += size
        if self.bytes > self.max_bytes:
            raise Busy(f"bodies of {self.bytes:,} bytes are held already; try again", retry_s=1)


class BodyLimit:
    """Bounds a body before anything parses it: its bytes, its time, and all bodies together."""

    def __init__(
        self, app: ASGIApp, max_bytes: int, buffered: Buffered, idle_s: float, total_s: float
    ) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.buffered = buffered
        self.idle_s = idle_s
        self.total_s = total_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        stated = Headers(scope=scope).get("content-length", "0")
        latest = asyncio.get_running_loop().time() + self.total_s
        received, more = 0, True

        async def limited() -> Message:
            nonlocal received, more
            if not more:  # what is still to come is the client's leaving, at any time
                return await receive()
            if stated.isdecimal() and int(stated) > self.max_bytes:
                raise self._too_large(int(stated))
            message = await self._in_time(receive, latest)
            size, more = len(message.get("body", b"")), message.get("more_body", False)
            received += size
            self.buffered.take(size)
            if received > self.max_bytes:
                raise self._too_large(received)
            return message

        try:
            await self.app(scope, limited, send)
        finally:
            self.buffered.bytes -= received

    async def _in_time(self, receive: Receive, latest: float) -> Message:
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(min(now + self.idle_s, latest)):
                return await receive()
        except TimeoutError:
            raise BodyTooSlow(
                f"the body is not whole; {self.idle_s:g} s without a byte and {self.total_s:g} s "
                "in all are waited"
            ) from None

    def _too_large(self, size: int) -> BodyTooLarge:
        return BodyTooLarge(
            f"a body of at least {size:,} bytes; at most {self.max_bytes:,} are read"
        )
