"""Pairs in shared memory for a client on the same machine: only headers cross the socket."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from segmif.wire import binary_pair
from segmif.wire.media_types import RAW

from .. import errors
from ..memory.budget import MemoryBudget
from ..memory.shared_regions import MAX_REGION_BYTES, PREFIX, Regions
from ..scheduler.dispatcher import Dispatcher
from ..schemas.answers import RegionMade
from ..schemas.pair_options import PairOptions
from .disconnects import cancel_on_disconnect
from .negotiation import choose
from .openapi import documented, query_of
from .problems import OF_A_PAIR
from .query_parameters import reject_repeated
from .requests import client_of, override, pair_request, refuse_early, validated, wire_errors
from .responses import ResponseFormat, headers, raw_answer

Id = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]

router = APIRouter(prefix="/shared-memory", tags=["shared memory"])


def regions_of(request: Request) -> Regions:
    """The regions of the service."""
    regions: Regions = request.app.state.regions
    return regions


@router.post(
    "",
    status_code=201,
    responses=documented(
        errors.Unauthorized, errors.BadParameter, errors.Busy, errors.NoSharedMemory
    ),
)
async def make(
    request: Request,
    size: Annotated[int, Query(alias="bytes", ge=1, le=MAX_REGION_BYTES)],
) -> RegionMade:
    """Make a region; its file on Linux is /dev/shm/NAME."""
    if unknown := reject_repeated(request.query_params).keys() - {"bytes"}:
        raise errors.BadParameter(f"parameter {min(unknown)!r}: nobody knows it here; leave it out")
    limits = request.app.state.settings.limits["shared_memory"]
    id = regions_of(request).make(client_of(request), size, limits)
    return RegionMade(id=id, name=f"{PREFIX}{id}", bytes=size)


@router.delete(
    "/{id}",
    status_code=204,
    responses=documented(errors.Unauthorized, errors.BadParameter, errors.UnknownRegion),
)
async def drop(request: Request, id: Id) -> None:
    """Free a region."""
    regions_of(request).drop(id)


@router.post(
    "/{id}/fuse-segment",
    response_class=Response,
    openapi_extra={"parameters": query_of(PairOptions)},
    responses=documented(
        errors.UnknownRegion,
        errors.NoSharedMemory,
        errors.UnknownType,
        errors.NotAcceptable,
        errors.Superseded,
        *OF_A_PAIR,
    ),
)
async def fuse_segment(request: Request, id: Id) -> Response:
    """
    Fuse the frames that lie in a region, whose raw header is the body.

    Picture, labels and confidence replace them there; header and report are the answer.
    """
    dispatcher: Dispatcher = request.app.state.dispatcher
    regions = regions_of(request)
    options = validated(PairOptions, reject_repeated(request.query_params))
    choose(RAW, options.views)
    refuse_early(request, options)
    header = b"".join([chunk async for chunk in request.stream()])
    with wire_errors():
        size = binary_pair.payload_bytes(header)
    with held(request, min(size, MAX_REGION_BYTES)):
        with wire_errors():
            raw = binary_pair.read_pair(header, memoryview(regions.read(id, size)))
        response_format = ResponseFormat(RAW, options.views)
        asked = override(options, raw.ask)
        pair = pair_request(request, raw.visible, raw.infrared, asked, plain=response_format.plain)
        working = dispatcher.process(
            pair, lambda result: (raw_answer(response_format, result), result)
        )
        answer, result = await cancel_on_disconnect(request, working)
    regions.write(id, answer.parts)
    request.state.times = result.times
    response_headers = headers(result.times, result.prepared.condition.flags)
    return Response(answer.head() + answer.report, media_type=RAW, headers=response_headers)


@contextmanager
def held(request: Request, size: int) -> Iterator[None]:
    """Account for the copy of a region like for a body; raises Busy."""
    buffered: MemoryBudget = request.app.state.buffered
    limits = request.app.state.settings.limits["shared_memory"]
    client = client_of(request)
    try:
        buffered.take(client, size, limits.buffered_bytes, limits.buffered_of_one)
        yield
    finally:
        buffered.give(client, size)
