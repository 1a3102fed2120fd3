"""The answers while the network is still being made: alive, and its progress."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socket import socket

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..api.problems import problem_response
from ..errors import NotReady
from ..schemas.answers import State
from ..settings import Settings
from .middleware import RequestId
from .transport import server_config

METHODS = ["GET", "POST", "PUT", "DELETE", "OPTIONS"]


def create_startup_app(reason: Callable[[], str]) -> Starlette:
    """An application that is alive; everything else is 503 with the reason."""

    async def livez(request: Request) -> Response:
        return JSONResponse(State(status="alive").model_dump())

    async def refuse(request: Request) -> Response:
        return problem_response(request, NotReady(reason(), retry_s=5))

    return Starlette(
        routes=[
            Route("/livez", livez),
            Route("/v2/health/live", livez),
            Route("/{path:path}", refuse, methods=METHODS),
        ],
        middleware=[Middleware(RequestId)],
    )


@contextmanager
def startup_responder(
    settings: Settings, listening: socket, reason: Callable[[], str]
) -> Iterator[None]:
    """Answer at a listening socket, which is closed in the end."""
    server = uvicorn.Server(server_config(create_startup_app(reason), settings))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
