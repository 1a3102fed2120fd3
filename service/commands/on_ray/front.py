"""What stands before Ray's proxy: bounds on bodies, streams that stay, and answers it owes."""

from http import HTTPStatus
from types import SimpleNamespace
from urllib.parse import parse_qs

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...api.problems import problem_response
from ...errors import NotReady, ServiceError
from ...memory.budget import MemoryBudget
from ...server.middleware import BodyLimit, RequestId
from ...settings import load_settings

SESSION = "x-session-id"  # Ray's default header of what stays on a replica
REQUEST_ID = "x-request-id"
PRESENT = "/-/segmif"  # answers if Ray has taken this part in; Ray's own paths begin so
RETRY_S = 1
LOST = "the process that had this request is gone, or there is none yet; send it again"


def middlewares() -> list[Middleware]:
    """What Ray's proxy calls, by RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH."""
    return [Middleware(Front)]


class Front:
    """
    The outermost part of Ray's proxy.

    Ray reads a body as fast as it comes, whatever its size. If a replica dies, Ray sends nothing or
    a bare 500. Its sessions are ours by the query's `stream`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.state = SimpleNamespace(settings=load_settings({}))  # by the environment
        self._buffered = MemoryBudget()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        stay_with_stream(scope)
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        if scope["path"] == PRESENT:
            await Response(status_code=HTTPStatus.NO_CONTENT)(scope, receive, send)
            return
        await RequestId(self._answer)(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = Answer(self._app, send)
        MutableHeaders(scope=scope).setdefault(REQUEST_ID, scope["state"]["request_id"])
        bounded = {**scope, "app": self}
        try:
            await BodyLimit(answer.ask, self._buffered)({**bounded}, receive, send)
        except Exception:
            if answer.begun:
                raise
        if not answer.begun:
            await problem_response(Request(bounded), answer.refused)(bounded, receive, send)


class Answer:
    """What Ray says to one request, and what it should have said."""

    def __init__(self, app: ASGIApp, send: Send) -> None:
        self._app, self._send = app, send
        self.begun = False
        self.refused: ServiceError = NotReady(LOST, retry_s=RETRY_S)

    async def ask(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have Ray answer."""
        del scope["app"]  # the scope travels to the replica

        async def received() -> Message:
            try:
                return await receive()
            except ServiceError as error:  # Ray drops what its reader raises
                self.refused = error
                return {"type": "http.disconnect"}

        await self._app(scope, received, self._noted)

    async def _noted(self, message: Message) -> None:
        self.begun = True
        if message["type"] == "http.response.start" and message["status"] == 503:
            MutableHeaders(scope=message).setdefault("Retry-After", str(RETRY_S))
        await self._send(message)


def stay_with_stream(scope: Scope) -> None:
    """Have Ray send all requests of a stream to one replica, unless the client names a session."""
    headers = MutableHeaders(scope=scope)
    stream = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("stream")
    if stream and SESSION not in headers:
        headers[SESSION] = stream[0]
