"""How uvicorn runs the service: our bounds around its protocols, and an end within a limit."""

import asyncio
import logging
import os
from collections.abc import Callable
from socket import AF_INET, AF_INET6, create_server, socket
from ssl import SSLContext
from threading import Timer
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from ..memory.budget import MemoryBudget
from ..settings import Settings
from .connections import BODY_BYTES, Connection, ConnectionLimits, Connections, not_counted
from .http_protocol import GuardedHttp
from .lingering_close import LingerLimits
from .proxies import is_within
from .tls_handshakes import TlsConnection, tls_context
from .websocket_protocol import BoundedWebSocket

LINGER_BODIES = 2  # of the largest allowed: so much of a refused body is read and dropped
CLOSE_S = 5  # to free network and threads, once drained

logger = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """Stops within a limit even if a thread hangs in the network, which no task can end."""

    failed = False

    def give_up(self) -> None:
        """Stop, as one that failed."""
        self.failed = self.should_exit = True

    def stop(self) -> None:
        """Stop in order, as on SIGTERM."""
        self.should_exit = True

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Listen, and log the address: uvicorn's own line ignores TLS."""
        await super().startup(sockets)
        secure = self.config.app.state.tls is not None  # type: ignore[union-attr]
        for listening in (each for server in self.servers for each in server.sockets):
            host, port = listening.getsockname()[:2]
            host = f"[{host}]" if ":" in host else host
            logger.info("answers at http%s://%s:%d", "s" * secure, host, port)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Drain and close, or end the process."""
        limit_s = (self.config.timeout_graceful_shutdown or 0) + CLOSE_S
        end = Timer(limit_s, self._end, [limit_s])
        end.daemon = True  # it is not waited for if all goes well
        end.start()
        await super().shutdown(sockets)

    def _end(self, limit_s: float) -> None:
        logger.error("something hangs %s s after the word to stop; the process ends", limit_s)
        os._exit(1)


def check_listening(settings: Settings) -> None:
    """Raise OSError if the service could not listen."""
    family = AF_INET6 if ":" in settings.host else AF_INET
    create_server((settings.host, settings.port), family=family).close()


def server_config(
    app: ASGIApp, settings: Settings, refused: Callable[[str], None] = not_counted
) -> uvicorn.Config:
    """
    How uvicorn runs the service; raises OSError if the TLS files cannot be read.

    `refused` gets the kind of each refusal that never became a request.
    """
    connections = Connections(connection_limits(app, settings, refused))
    tls = tls_context(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="asyncio" if tls else "auto",  # uvloop reads what `start_tls` should be given
        http=protocol(connections, tls),
        ws=type("BoundedSocket", (BoundedWebSocket,), {"all": connections}),
        ws_per_message_deflate=False,  # a small message could unfold into a large one
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=settings.drain_s,
        server_header=False,
        access_log=False,  # ours knows the outcome
        log_config=None,
        proxy_headers=False,  # a client could claim any address
    )

    def adopt(renewed: Settings) -> None:
        connections.limits = connection_limits(app, renewed, refused)
        config.timeout_keep_alive = renewed.keep_alive_s
        config.timeout_graceful_shutdown = renewed.drain_s

    if state := getattr(app, "state", None):
        state.connections, state.tls, state.adopt = connections, tls, adopt
    return config


def connection_limits(
    app: ASGIApp, settings: Settings, refused: Callable[[str], None]
) -> ConnectionLimits:
    """The bounds of all connections; what an application accounts for is in the same account."""
    limits = settings.limits["form"]
    return ConnectionLimits(
        limits.connections,
        limits.connections_of_one,
        limits.buffered_bytes,
        limits.buffered_of_one,
        limits.answer_s,
        limits.handshake_s,
        LingerLimits(
            LINGER_BODIES * limits.body_bytes,
            limits.body_idle_s,
            limits.body_total_s,
            limits.answer_s,
        ),
        http=limits,
        websocket=settings.limits["websocket"],
        refused=refused,
        is_proxy=lambda peer: is_within(peer, settings.trusted_proxies),
        buffered=getattr(getattr(app, "state", None), "buffered", None) or MemoryBudget(),
    )


def protocol(connections: Connections, tls: SSLContext | None) -> type[asyncio.Protocol]:
    """The protocol of one server's connections; uvicorn takes a buffered one for a plain one."""
    memory = memoryview(bytearray(BODY_BYTES))
    parts: dict[str, Any] = {"http": GuardedHttp, "all": connections, "memory": memory}
    if tls:
        made: type[Connection] = type("Https", (TlsConnection,), parts | {"tls": tls})
    else:
        made = type("Http", (Connection,), parts)
    return cast(type[asyncio.Protocol], made)
