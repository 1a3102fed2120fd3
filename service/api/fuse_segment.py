"""`POST /fuse-segment`: a pair in, pictures, mask and report out."""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from segmif.wire.media_types import JSON, RAW

from .. import errors
from ..scheduler.dispatcher import Dispatcher
from ..schemas.pair_options import Meta, PairOptions
from .disconnects import cancel_on_disconnect
from .negotiation import ALL_OFFERS, choose
from .openapi import documented, header, query_of, schema_of
from .problems import OF_A_PAIR
from .query_parameters import reject_repeated
from .requests import DEADLINE_HEADER, FORM, pair_request, read_pair, refuse_early, validated
from .responses import PartsResponse, ResponseFormat, encode


class DirectRoute(APIRoute):
    """
    A route whose function takes the request alone.

    FastAPI would look for parameters and dependencies, in a tenth of a millisecond.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The function itself."""
        return self.endpoint


router = APIRouter(route_class=DirectRoute)

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
            "encoding": {"meta": {"contentType": JSON}},
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
            "content": {offer: {"schema": FRAME} for offer in ALL_OFFERS},
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
    options = validated(PairOptions, reject_repeated(request.query_params))
    accept = ", ".join(request.headers.getlist("accept")) or "*/*"  # RFC 9110, section 5.3
    choose(accept, options.views)
    dispatcher: Dispatcher = request.app.state.dispatcher
    refuse_early(request, options)
    visible, infrared, options = await read_pair(request, options)
    response_format = ResponseFormat(choose(accept, options.views), options.views)
    pair = pair_request(request, visible, infrared, options, plain=response_format.plain)
    finish = partial(encode, response_format, dispatcher.queues.codecs.both)
    answer = await cancel_on_disconnect(request, dispatcher.process(pair, finish))
    request.state.times = answer.times
    return PartsResponse(answer)
