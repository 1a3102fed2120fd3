"""What monitors and clients ask of the service itself: probes, metrics and classes."""

from asyncio import to_thread
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from segmif.classes import overlay_palette

from .. import errors
from ..observability.metrics import CONTENT_TYPE
from ..scheduler.dispatcher import Dispatcher
from ..schemas.answers import Class, Classes, State
from .openapi import documented

router = APIRouter()


async def dispatcher_of(request: Request) -> Dispatcher:
    """Give a route the dispatcher; `async` spares it a thread."""
    dispatcher: Dispatcher = request.app.state.dispatcher
    return dispatcher


DispatcherDep = Annotated[Dispatcher, Depends(dispatcher_of)]


@router.get("/livez", responses=documented())
async def livez() -> State:
    """Say that the process is alive."""
    return State(status="alive")


@router.get("/readyz", responses=documented(errors.NotReady))
async def readyz(dispatcher: DispatcherDep) -> State:
    """Say that the network has passed its self-test and is ready for pairs."""
    dispatcher.self_test.check_ready()
    return State(status="ready")


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **documented(errors.Unauthorized, errors.OutOfMemory),
    },
)
async def metrics(dispatcher: DispatcherDep) -> Response:
    """Give the counters in the text format of Prometheus."""
    text = await to_thread(dispatcher.metrics.text)  # sensors may take their time
    return Response(text, headers={"Content-Type": CONTENT_TYPE})


@router.get("/classes", responses=documented(errors.Unauthorized))
async def classes(dispatcher: DispatcherDep) -> Classes:
    """List what the ids in a mask mean."""
    taxonomy = dispatcher.runtime.manifest.classes
    lifted = overlay_palette(taxonomy)
    named = enumerate(zip(taxonomy.names, taxonomy.palette, strict=True))
    return Classes(
        taxonomy=taxonomy.name,
        background=taxonomy.background,
        classes=[
            Class(id=id, name=name, color=color, overlay_color=tuple(lifted[id].tolist()))
            for id, (name, color) in named
        ],
    )
