"""Pairs in shared memory for a client on the same machine: only headers cross the socket."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from service import errors, wire
from service.accounts import Buffered, client_key
from service.answers import Wish, headers, raw_answer
from service.disconnects import unless_gone
from service.documents import documented, query_of
from service.line import Line, Submission
from service.negotiation import RAW, choose
from service.queries import once_each
from service.regions import MAX_REGION_BYTES, PREFIX, Regions
from service.schemas import Ask, RegionMade
from service.submissions import amend, client_of, due, validated

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
    if unknown := once_each(request.query_params).keys() - {"bytes"}:
        raise errors.BadParameter(f"parameter {min(unknown)!r}: nobody knows it here; leave it out")
    id = regions_of(request).make(size)
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
    openapi_extra={"parameters": query_of(Ask)},
    responses=documented(
        errors.UnknownRegion,
        errors.NoSharedMemory,
        errors.UnknownType,
        errors.NotAcceptable,
        errors.Superseded,
        *errors.OF_A_PAIR,
    ),
)
async def fuse_segment(request: Request, id: Id) -> Response:
    """
    Fuse the frames that lie in a region, whose raw header is the body.

    Picture, labels and confidence replace them there; header and report are the answer.
    """
    line: Line = request.app.state.line
    regions = regions_of(request)
    ask = validated(Ask, once_each(request.query_params))
    choose(RAW, ask.views)
    header = b"".join([chunk async for chunk in request.stream()])
    size = wire.payload_bytes(header)
    with held(request, min(size, MAX_REGION_BYTES)):
        pair = wire.read_pair(header, memoryview(regions.read(id, size)))
        submission = submitted(request, pair, amend(ask, pair.ask))
        wish = Wish(RAW, ask.views)
        answer, result = await unless_gone(
            request, line.process(submission, lambda result: (raw_answer(wish, result), result))
        )
    regions.write(id, answer.parts)
    request.state.times = result.times
    told = headers(result.times, result.prepared.condition.flags)
    return Response(answer.head() + answer.report, media_type=RAW, headers=told)


def submitted(request: Request, pair: wire.RawPair, ask: Ask) -> Submission:
    """A pair from a region for the line."""
    return Submission(
        pair.visible,
        pair.infrared,
        ask,
        client_of(request),
        request.state.request_id,
        due(request, ask, request.app.state.settings),
        monotonic() - request.state.received,
    )


@contextmanager
def held(request: Request, size: int) -> Iterator[None]:
    """Account for the copy of a region like for a body; raises Busy."""
    buffered: Buffered = request.app.state.buffered
    limits = request.app.state.settings.limits["shared_memory"]
    client = client_key(client_of(request))
    try:
        buffered.take(client, size, limits.buffered_bytes, limits.buffered_of_one)
        yield
    finally:
        buffered.give(client, size)
