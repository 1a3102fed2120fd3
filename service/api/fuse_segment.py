"""What can be asked of the service."""

from asyncio import to_thread
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, JSONResponse, Response

from segmif.classes import overlay_palette
from segmif.wire.media_types import RAW

from .. import errors
from ..memory.budget import client_key
from ..observability.metrics import CONTENT_TYPE
from ..scheduler.dispatcher import Dispatcher
from ..scheduler.pair_request import PairRequest
from ..schemas.answers import Class, Classes, Sample, State
from ..schemas.pair_options import Meta, PairOptions
from ..settings import Settings
from .disconnects import cancel_on_disconnect
from .negotiation import ALL_OFFERS, choose
from .openapi import documented, header, query_of, schema_of
from .problems import OF_A_PAIR
from .query_parameters import reject_repeated
from .requests import DEADLINE_HEADER, FORM, client_of, due, read_pair, seconds_left, validated
from .responses import ResponseFormat, encode

WEB = Path(__file__).parents[1] / "web"
SAMPLES = WEB / "samples"

# The pages load nothing from elsewhere, and the browser holds them to it.
PAGE_HEADERS = {"Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:"}

router = APIRouter()


async def dispatcher_of(request: Request) -> Dispatcher:
    """Give a route the dispatcher; `async` spares it a thread."""
    dispatcher: Dispatcher = request.app.state.dispatcher
    return dispatcher


DispatcherDep = Annotated[Dispatcher, Depends(dispatcher_of)]
Picture = {"schema": {"type": "string", "format": "binary"}}


FRAME = {"type": "string", "format": "binary"}
FORM_BODY = {
    "required": True,
    "content": {
        FORM: {
            "schema": {
                "type": "object",
                "required": ["visible", "infrared"],
                "properties": {
                    "visible": FRAME | {"description": "colour frame: JPEG, PNG or TIFF"},
                    "infrared": FRAME
                    | {"description": "thermal frame, white hot, 8 or 16 bit: JPEG, PNG or TIFF"},
                    "meta": schema_of(Meta)
                    | {"description": "the query parameters as JSON, stronger than them"},
                },
            },
            "encoding": {"meta": {"contentType": "application/json"}},
        },
        RAW: {"schema": FRAME | {"description": "header and frames as docs/wire.md has them"}},
    },
}


@router.post(
    "/fuse-segment",
    response_class=Response,
    # The route reads its parameters itself, by the same model: FastAPI takes a millisecond for it.
    openapi_extra={
        "requestBody": FORM_BODY,
        "parameters": [
            *query_of(PairOptions),
            header("accept", "string", ", ".join(ALL_OFFERS)),
            header(DEADLINE_HEADER, "number", "the same as the parameter deadline_ms"),
        ],
    },
    responses={
        200: {
            "description": "All parts (fused PNG, indexed mask PNG, JSON report), or one picture.",
            "content": dict.fromkeys(ALL_OFFERS, Picture),
        },
        **documented(
            errors.BadForm,
            errors.MissingPart,
            errors.UnknownType,
            errors.NotAcceptable,
            errors.Superseded,
            *OF_A_PAIR,
        ),
    },
)
async def fuse_segment(request: Request) -> Response:
    """Fuse an infrared and a visible frame of one moment, and label every pixel."""
    ask = validated(PairOptions, reject_repeated(request.query_params))
    accept = request.headers.get("accept", "*/*")
    choose(accept, ask.views)
    dispatcher: Dispatcher = request.app.state.dispatcher
    settings: Settings = request.app.state.settings
    client = client_of(request)
    if not ask.live:  # what has no chance is refused before its body is read
        dispatcher.queues.all.check(client_key(client), seconds_left(request, ask, settings))
    visible, infrared, ask = await read_pair(request, ask)
    response_format = ResponseFormat(choose(accept, ask.views), ask.views)
    submission = PairRequest(
        visible,
        infrared,
        ask,
        client,
        request.state.request_id,
        due(request, ask, settings),
        monotonic() - request.state.received,
    )
    answer = await cancel_on_disconnect(
        request,
        dispatcher.process(
            submission, partial(encode, response_format, dispatcher.queues.codecs.both)
        ),
    )
    request.state.times = answer.times
    return Response(answer.body, media_type=answer.content_type, headers=answer.headers())


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
        classes=[
            Class(id=id, name=name, color=color, overlay_color=tuple(lifted[id].tolist()))
            for id, (name, color) in named
        ],
    )


@router.get("/samples", responses=documented(errors.Unauthorized))
def samples() -> list[Sample]:
    """List the pairs that the service brings along."""
    names = sorted(folder.name for folder in SAMPLES.iterdir() if folder.is_dir())
    return [
        Sample(
            name=name,
            visible=f"samples/{name}/visible.png",
            infrared=f"samples/{name}/infrared.png",
        )
        for name in names
    ]


@router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> JSONResponse:
    """Describe the interface, at the address that the client has for it."""
    prefix = request.state.public_prefix
    servers = {"servers": [{"url": prefix}]} if prefix else {}
    return JSONResponse(request.app.openapi() | servers)


@router.get("/", include_in_schema=False)
async def index() -> FileResponse:
    """Serve the page for people."""
    return FileResponse(WEB / "index.html", headers=PAGE_HEADERS)


@router.get("/docs", include_in_schema=False)
async def docs() -> FileResponse:
    """Serve the description of the interface; FastAPI's own page needs scripts from elsewhere."""
    return FileResponse(WEB / "docs.html", headers=PAGE_HEADERS)
