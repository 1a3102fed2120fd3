"""Checks of Host and Origin: which names and which pages may ask."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from segmif.local_host import host_name, is_loopback

from ..api.problems import problem_response
from ..errors import ForeignHost, ForeignOrigin, ServiceError
from ..settings import Settings
from ..settings.limits import PROBES

METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS")
DEFAULT_PORTS = {"http": 80, "https": 443}
# What a page of an allowed origin may read of an answer, besides its body.
SHOWN = (
    *("X-Request-ID", "Retry-After", "ETag", "X-Pair-Flags", "WWW-Authenticate"),
    "Inference-Header-Content-Length",
)


class Origins:
    """
    Refuses a name that is not the service's, and pages of foreign origins.

    A name that an attacker's server points at this machine (DNS rebinding) would make any page in
    a local browser one of ours. `settings_of` gives the settings in force.
    """

    def __init__(self, app: ASGIApp, settings_of: Callable[[Scope], Settings]) -> None:
        self.app = app
        self.settings_of = settings_of
        self._sharing = lru_cache(4)(self._make_sharing)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        settings, headers = self.settings_of(scope), Headers(scope=scope)
        try:
            check_host(headers.getlist("host"), scope["path"], settings)
            check_origin(headers, scope.get("state", {}).get("public_host"), settings)
        except ServiceError as error:
            await refuse(error, scope, receive, send)
            return
        await self._sharing(settings.allowed_origins)(scope, receive, send)

    def _make_sharing(self, origins: tuple[str, ...]) -> ASGIApp:
        """Starlette's CORS for the origins that are allowed: answers preflights, adds headers."""
        if not origins:
            return self.app
        return CORSMiddleware(
            self.app,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=["*"],
            expose_headers=SHOWN,
            allow_private_network=True,
        )


async def refuse(error: ServiceError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request, or a WebSocket before it opens, with a problem."""
    if scope["type"] == "websocket":
        socket = WebSocket(scope, receive, send)
        await socket.send_denial_response(problem_response(socket, error))
        return
    await problem_response(Request(scope), error)(scope, receive, send)


def check_host(hosts: Sequence[str], path: str, settings: Settings) -> None:
    """Raise ForeignHost unless every Host of a request names this service."""
    if not is_loopback(settings.host) and (not settings.allowed_hosts or path in PROBES):
        return  # an orchestrator's probe names the container's address
    allowed = (settings.host.lower(), *settings.allowed_hosts)
    for host in hosts:  # none in HTTP/1.0, which no browser speaks
        name = host_name(host)
        if not is_loopback(name) and not any(fits(name, one) for one in allowed):
            raise ForeignHost(
                f"the request is for the host {host[:100]!r}, which is none of this service's; ask "
                "for localhost, or allow the name with SEGMIF_ALLOWED_HOSTS"
            )


def check_origin(headers: Headers, public_host: str | None, settings: Settings) -> None:
    """Raise ForeignOrigin for a page that is neither of this service nor of an allowed origin."""
    if headers.get("sec-fetch-site") in ("same-origin", "none"):
        return  # in the browser's own words, which no page can change
    asked = public_host or headers.get("host", "")
    for origin in headers.getlist("origin"):
        if {origin.lower(), "*"} & set(settings.allowed_origins):
            continue
        # of whatever scheme: TLS may end before the service
        own = authority(f"{origin.partition(':')[0]}://{asked}") if asked else None
        if own is None or authority(origin) != own:
            raise ForeignOrigin(
                f"a page of the origin {origin[:100]!r} asks, this service is {asked[:100]!r}; "
                "allow it with SEGMIF_ALLOWED_ORIGINS"
            )


def authority(origin: str) -> tuple[str, int | None] | None:
    """Name and port of an origin; None for `null` and what else is none."""
    try:
        split = urlsplit(origin)
        port = split.port or DEFAULT_PORTS.get(split.scheme)
    except ValueError:
        return None
    return (split.hostname, port) if split.scheme in DEFAULT_PORTS and split.hostname else None


def fits(name: str, allowed: str) -> bool:
    """Whether a name is the allowed one, or below it: *.example.org; * is any."""
    if allowed.startswith("*."):
        return name.endswith(allowed[1:])
    return allowed in ("*", name)
