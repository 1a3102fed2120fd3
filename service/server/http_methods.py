"""What HTTP asks of every path: HEAD, OPTIONS, bodies that are not coded."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from ..api.problems import problem_response
from ..errors import CodedBody

SOCKETS = ("/stream", "/live/")  # a path, and the beginning of paths
ASKED_OF = ("GET", "POST", "DELETE")  # methods that routes have


class HttpRules:
    """Answers HEAD as GET without its body, OPTIONS by the routes, and 415 to a coded body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._socket(scope, receive, send)
            return
        coding = ", ".join(Headers(scope=scope).getlist("content-encoding")).strip()
        if coding.lower() not in ("", "identity"):
            error = CodedBody(
                f"the body is coded as {coding[:100]!r}; send it as it is, without "
                "Content-Encoding: the frames in it are compressed already"
            )
            await problem_response(Request(scope), error)(scope, receive, send)
        elif scope["method"] == "HEAD":
            await self._head(scope, receive, send)
        elif scope["method"] == "OPTIONS" and (methods := methods_of(scope)):
            allowed = ", ".join([*methods, "OPTIONS"])
            await Response(status_code=204, headers={"Allow": allowed})(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and not is_socket(scope["path"]):
            socket = WebSocket(scope, receive, send)
            error = HTTPException(404, f"WebSockets are spoken at {' and '.join(SOCKETS)}")
            await socket.send_denial_response(problem_response(socket, error))
        else:
            await self.app(scope, receive, send)

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = {**scope, "method": "GET"}

        async def bodiless(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        try:
            await self.app(asked, receive, bodiless)
        finally:
            if "route" in asked:  # for the log
                scope["route"] = asked["route"]


def is_socket(path: str) -> bool:
    """Whether a WebSocket is spoken at a path."""
    return path == SOCKETS[0] or path.startswith(SOCKETS[1])


def methods_of(scope: Scope) -> list[str]:
    """The methods that the routes have for a path; every path, if it is `*`."""
    if scope["path"] == "*":
        return ["GET", "HEAD", "POST", "DELETE"]
    found = [method for method in ASKED_OF if _matches({**scope, "method": method})]
    if "GET" in found:
        found.insert(1, "HEAD")
    return found


def _matches(scope: Scope) -> bool:
    found = (r for r in scope["app"].router.routes if r.matches(scope)[0] == Match.FULL)
    # files are mounted, whatever the method
    return any(scope["method"] == "GET" or not isinstance(route, Mount) for route in found)
