"""Middleware of every request: its id, token, outcome, and bounds on its body."""

import asyncio
import re
from base64 import urlsafe_b64decode
from contextlib import suppress
from hmac import compare_digest
from time import monotonic
from uuid import uuid4

from anyio import fail_after
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import BadParameter, BodyTooLarge, BodyTooSlow, ServiceError, Unauthorized
from ..memory.budget import MemoryBudget, client_key
from ..observability.logs import access, current_request
from ..observability.metrics import Metrics
from ..observability.tracing import trace_id, trace_stages
from ..settings import Settings
from ..settings.limits import PROBES, Limits, entry_of
from .origins import refuse
from .token_throttle import TokenThrottle

REQUEST_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)  # safe to repeat in headers and logs
ANSWER_BEGINS = ("http.response.start", "websocket.accept", "websocket.http.response.start")

QUERY_TOKEN = "a token in the query is not taken: queries end up in the logs of proxies"
TOKEN_PROTOCOL = "segmif.token."
OPEN_PATHS = PROBES | {"/", "/docs"}


def is_open(path: str) -> bool:
    """Whether a path needs no token; the sample pictures are no secret."""
    return path in OPEN_PATHS or path.startswith(("/web/", "/samples/"))


def settings_of(scope: Scope) -> Settings:
    """The settings in force: they may be others than at the start."""
    settings: Settings = scope["app"].state.settings
    return settings


class RequestId:
    """Takes the client's X-Request-ID if it has one, else makes one; the answer repeats it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid4().hex
        scope.setdefault("state", {}).update(request_id=request_id, received=monotonic())
        current_request.set(request_id)

        async def named(message: Message) -> None:
            if message["type"] in ANSWER_BEGINS:
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
        if scope["type"] == "lifespan":
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
        if scope["type"] == "websocket" and "outcome" not in state:
            return  # it was opened, and has logged its own outcome
        route = getattr(scope.get("route"), "path", "none")
        outcome = state.get("outcome", "ok")
        self.metrics.requests.labels(route, outcome).inc()
        if "times" in state:
            trace_stages(state["times"])
        if scope["path"] in PROBES and outcome == "ok":
            return  # a probe a second would fill the log
        fields = {
            "request_id": state["request_id"],
            "trace_id": trace_id(),
            "client": scope["client"][0] if scope.get("client") else None,
            "method": scope.get("method", "WEBSOCKET"),
            "route": route,
            "status": status,
            "outcome": outcome,
            "ms": round((monotonic() - state["received"]) * 1000, 1),
        }
        access.info("answered", extra={"fields": fields})


class BearerAuth:
    """Requires the token, except for probes and pages."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._guesses = TokenThrottle()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan" or is_open(scope["path"]):
            await self.app(scope, receive, send)
            return
        token = settings_of(scope).token
        try:
            if token:
                await self._check(scope, token.get_secret_value().encode())
            elif hidden := scope["state"].get("hidden"):
                raise BadParameter(f"parameter {hidden[0]!r}: {QUERY_TOKEN}")
        except ServiceError as error:
            await refuse(error, scope, receive, send)
            return
        await self.app(scope, receive, send)

    async def _check(self, scope: Scope, wanted: bytes) -> None:
        """Raise Unauthorized, after a while if it is not the first time, or TooManyGuesses."""
        scheme, given = credentials(scope)
        client = (client_of(scope) or "unknown") if scheme else None
        if client:
            self._guesses.check(client)
        if scheme.lower() == "bearer" and compare_digest(given.strip().encode("latin-1"), wanted):
            return
        if client:
            await self._guesses.wrong(client)
        asked = Unauthorized.sentence
        hidden = scope["state"].get("hidden")
        raise Unauthorized(f"{QUERY_TOKEN}: {asked}" if hidden else asked)


def credentials(scope: Scope) -> tuple[str, str]:
    """
    The scheme and the token that a request has; empty if it has none.

    A browser cannot give a WebSocket a header, so a page offers a subprotocol
    `segmif.token.` with the token in URL-safe base64.
    """
    scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
    for offered in scope.get("subprotocols", ()):
        if not scheme and offered.startswith(TOKEN_PROTOCOL):
            coded = offered.removeprefix(TOKEN_PROTOCOL)
            with suppress(ValueError):
                token = urlsafe_b64decode(coded + "=" * (-len(coded) % 4))
                return "bearer", token.decode("latin-1")
    return scheme, given


class BodyLimit:
    """Bounds a body before anything parses it: its bytes, its time, and all bodies together."""

    def __init__(self, app: ASGIApp, buffered: MemoryBudget) -> None:
        self.app = app
        self.buffered = buffered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, client = Headers(scope=scope), client_of(scope)
        entry = entry_of(scope["path"], headers.get("content-type", "").lower())
        # a path that is not there is answered without its body
        limits = settings_of(scope).limits[entry or "page"]
        most, stated = limits.body_bytes, headers.get("content-length", "0")
        latest = asyncio.get_running_loop().time() + limits.body_total_s
        received, more = 0, True

        async def limited() -> Message:
            nonlocal received, more
            if not more:  # what is still to come is the client's leaving, at any time
                return await receive()
            if stated.isdecimal() and int(stated) > most:
                raise too_large(int(stated), most)
            message = await in_time(receive, limits, latest)
            size, more = len(message.get("body", b"")), message.get("more_body", False)
            if received + size > most:  # first: to try again would be of no use
                raise too_large(received + size, most)
            received += size
            self.buffered.take(client, size, limits.buffered_bytes, limits.buffered_of_one)
            return message

        try:
            await self.app(scope, limited, send)
        finally:
            self.buffered.give(client, received)


def client_of(scope: Scope) -> str | None:
    """Whose share of the bytes a request takes."""
    return client_key(scope["client"][0]) if scope.get("client") else None


async def in_time(receive: Receive, limits: Limits, latest: float) -> Message:
    """Receive the next piece soon enough and before `latest`; raises BodyTooSlow."""
    left = latest - asyncio.get_running_loop().time()
    try:
        with fail_after(min(limits.body_idle_s, left)):
            return await receive()
    except TimeoutError:
        raise BodyTooSlow(
            f"the body is not whole; {limits.body_idle_s:g} s without a byte and "
            f"{limits.body_total_s:g} s in all are waited"
        ) from None


def too_large(size: int, most: int) -> BodyTooLarge:
    """The error for a body of `size` bytes or more."""
    return BodyTooLarge(f"a body of at least {size:,} bytes; at most {most:,} are read")
