"""The application, made of its settings and a runtime."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from segmif.install import version
from segmif.runtime import Runtime

from .api import fuse_segment, latest_pair, live, pages, shadow, shared_memory, status, websocket
from .api.disconnects import ClientGone
from .api.open_inference import routes as open_inference
from .api.problems import problem_response
from .api.query_parameters import hide_secrets
from .errors import BadParameter, ServiceError, out_of_memory
from .live.rig_settings import LiveSettings
from .live.rigs import Rigs
from .memory.budget import MemoryBudget
from .memory.process_limit import return_after_peaks
from .memory.shared_regions import Regions, remove_leftovers
from .observability.metrics import Metrics
from .observability.tracing import WithAddress, hide_address
from .pipeline.align import RigAligner
from .samples import SAMPLES
from .scheduler.dispatcher import Dispatcher
from .scheduler.model_loading import Candidate, LoadedModel
from .server.http_methods import HttpRules
from .server.middleware import BearerAuth, BodyLimit, Outcomes, RequestId, settings_of
from .server.origins import Origins
from .server.proxies import BehindProxies
from .server.reload import reload_on_sighup
from .server.systemd import keep_systemd_informed, notify
from .settings import Settings
from .settings.limits import check_entries

logger = logging.getLogger(__name__)


class Application(FastAPI):
    """FastAPI, without the paths and queries that could put a secret into traces and logs."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        hide_secrets(scope)
        hide_address(scope)
        await super().__call__(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """Give the application, within FastAPI's own traces, the address again."""
        return WithAddress(super().build_middleware_stack())


def create_app(
    settings: Settings,
    runtime: Runtime,
    rig_aligner: RigAligner | None = None,
    reference: Runtime | None = None,
    reopen: Callable[[], LoadedModel] | None = None,
    rigs: LiveSettings | None = None,
    candidate: Candidate | None = None,
) -> FastAPI:
    """
    Build the service around an open runtime, which it closes when it stops.

    Without a rig aligner the frames come aligned. The runtime must agree with the reference, if
    there is one. On SIGHUP, what `reopen` opens replaces all of them. `rigs` are read from the
    start to the end. The candidate sees a share of the pairs.
    """
    app = Application(
        title="SegMiF",
        version=version(),
        description=(
            "An infrared and a visible frame in, one fused colour image and a semantic mask out."
        ),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,  # our own route knows the public address behind a proxy
        redirect_slashes=False,  # the address would be the one that a proxy asked for
    )
    set_state(app, LoadedModel(settings, runtime, rig_aligner, reference, candidate), reopen)
    if rigs:
        app.state.rigs = Rigs(rigs, app.state.dispatcher)
    for entry in (
        fuse_segment,
        status,
        pages,
        websocket,
        open_inference,
        latest_pair,
        live,
        shadow,
    ):
        app.include_router(entry.router)
    if settings.shared_memory:
        remove_leftovers()
        app.include_router(shared_memory.router)
    app.mount("/samples", StaticFiles(directory=SAMPLES))
    app.mount("/web", pages.PageFiles(directory=pages.WEB))
    check_entries(app.routes)
    add_middlewares(app, app.state.dispatcher.metrics)
    add_error_handlers(app)
    return app


def set_state(app: FastAPI, model: LoadedModel, reopen: Callable[[], LoadedModel] | None) -> None:
    """Give the application what its routes share."""
    app.state.settings = model.settings
    app.state.dispatcher = Dispatcher(model)
    app.state.reopen = reopen
    app.state.rigs = None  # that are read, if there are any
    app.state.reopen_rigs = None  # gives their settings anew
    app.state.give_up = None  # ends the server, if there is one
    app.state.buffered = MemoryBudget()
    app.state.connections = None  # the server's, if there is one
    app.state.tls = None  # the server's, if there is one
    app.state.adopt = None  # gives the server new limits
    app.state.regions = Regions()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Start the self-test with the service; free everything when it stops."""
    testing = asyncio.create_task(run_self_test(app))
    if app.state.reopen:
        reload_on_sighup(app, app.state.reopen)
    # the thread that reads metrics starts now: when memory is short, there is none for its stack
    await asyncio.to_thread(app.state.dispatcher.metrics.text)
    trimming = asyncio.create_task(
        return_after_peaks(
            app.state.buffered,
            app.state.dispatcher.queues.all,
            lambda: app.state.dispatcher.runtime.trim(),  # a reload may have changed it
        )
    )
    informing = asyncio.create_task(keep_systemd_informed(testing))
    yield
    notify("STOPPING=1")
    trimming.cancel()
    await testing
    if app.state.rigs:
        await app.state.rigs.close()
    app.state.regions.close()
    await app.state.dispatcher.shadow.close()
    app.state.dispatcher.close()
    informing.cancel()  # last: the watchdog also waits while recordings end


async def run_self_test(app: FastAPI) -> None:
    """
    Test the network, then start the processes that decode files.

    A network that hangs, now or in a later test, ends the service, which would never be ready.
    """
    dispatcher: Dispatcher = app.state.dispatcher
    if app.state.give_up:
        dispatcher.self_test.on_hang = app.state.give_up
    await dispatcher.self_test.run()
    if app.state.rigs:
        await app.state.rigs.start()
    await dispatcher.start_decoders()
    await dispatcher.start_shadow()


def add_middlewares(app: FastAPI, metrics: Metrics) -> None:
    """Put the middleware around the application, the innermost first."""
    buffered = app.state.buffered
    metrics.watch(
        "buffered_bytes",
        "Bytes held of bodies, WebSocket messages and answers that are not taken",
        lambda: buffered.bytes,
    )
    metrics.watch("shared_memory_bytes", "Bytes of regions", app.state.regions.reserved)
    metrics.watch("connections", "Open connections", lambda: len(app.state.connections or ()))
    app.add_middleware(HttpRules)
    app.add_middleware(BodyLimit, buffered=buffered)
    app.add_middleware(BearerAuth)
    app.add_middleware(Origins, settings_of=settings_of)
    app.add_middleware(Outcomes, metrics=metrics)
    app.add_middleware(RequestId)
    app.add_middleware(BehindProxies, settings_of=settings_of)


def add_error_handlers(app: FastAPI) -> None:
    """Register the answer to each error."""
    for kind, handler in (
        (ServiceError, handle_error),
        (HTTPException, handle_error),
        (RequestValidationError, handle_invalid_parameters),
        (ClientGone, handle_disconnect),
        (ClientDisconnect, handle_disconnect),
        (MemoryError, handle_out_of_memory),
        (RuntimeError, handle_thread_limit),
        (Exception, handle_unexpected),
    ):
        app.add_exception_handler(kind, handler)


async def handle_error(request: Request, error: Exception) -> Response:
    """Answer an error, ours or the framework's, as problem+json."""
    assert isinstance(error, (ServiceError, HTTPException))
    response = problem_response(request, error)
    if response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR:  # 503 is news of the load
        route = getattr(request.scope.get("route"), "path", "none")
        logger.error("%s %s: %s", request.method, route, error, exc_info=error)
    return response


async def handle_invalid_parameters(request: Request, error: Exception) -> Response:
    """Answer a request whose parameters are not as documented."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    wrong = BadParameter(f"parameter {first['loc'][-1]!r}: {first['msg']}")
    return await handle_error(request, wrong)


async def handle_disconnect(request: Request, error: Exception) -> Response:
    """End a request whose client hung up; access logs usually call it 499."""
    request.state.outcome = "gone"
    return Response(status_code=499)


async def handle_out_of_memory(request: Request, error: Exception) -> Response:
    """Answer a request whose memory was refused on the event loop, such as for a body."""
    return await handle_error(request, out_of_memory())


async def handle_thread_limit(request: Request, error: Exception) -> Response:
    """Answer a request that found no memory for a thread; Python then raises RuntimeError."""
    if "can't start new thread" not in str(error):
        raise error
    return await handle_out_of_memory(request, error)


async def handle_unexpected(request: Request, error: Exception) -> Response:
    """Answer an unforeseen error without its details, which may hold secrets."""
    return await handle_error(request, ServiceError())
