"""Pairs in shared memory for a client on the same machine: only headers cross the socket."""

from multiprocessing.shared_memory import SharedMemory
from secrets import token_hex
from time import monotonic
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from service import errors, wire
from service.answers import Wish, headers, raw_answer
from service.disconnects import unless_gone
from service.documents import documented, query_of
from service.errors import BadWire, Busy, UnknownRegion
from service.line import Line, Submission
from service.negotiation import RAW, choose
from service.schemas import Ask, RegionMade
from service.submissions import amend, client_of, due, validated

MAX_REGIONS = 8
MAX_REGION_BYTES = 64 * 2**20
IDLE_S = 60.0  # after which a region may be taken from its client for another

Id = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]

router = APIRouter(prefix="/shared-memory", tags=["shared memory"])


class Regions:
    """
    Regions made by the service, each under a name that nobody can guess.

    A client never names memory of its own: it could name somebody else's. What it writes is
    copied before it is looked at, so it cannot change under the hands of a decoder.
    """

    def __init__(self) -> None:
        self._regions: dict[str, SharedMemory] = {}
        self._used: dict[str, float] = {}

    def make(self, size: int) -> str:
        """Make a region, readable by this user only; raises Busy where there are too many."""
        for id in [id for id, used in self._used.items() if used < monotonic() - IDLE_S]:
            self.drop(id)
        if len(self._regions) >= MAX_REGIONS:
            raise Busy(f"{MAX_REGIONS} regions are in use; try again", retry_s=int(IDLE_S))
        id = token_hex(16)
        self._regions[id] = SharedMemory(f"segmif-{id}", create=True, size=size)
        self._used[id] = monotonic()
        return id

    def read(self, id: str, size: int) -> bytes:
        """Copy the first bytes of a region; raises UnknownRegion or BadWire."""
        return bytes(self._view(id, size))

    def write(self, id: str, data: bytes) -> None:
        """Put bytes at the start of a region; raises UnknownRegion or BadWire."""
        self._view(id, len(data))[:] = data

    def drop(self, id: str) -> None:
        """Free a region; raises UnknownRegion."""
        region = self._region(id)
        del self._regions[id], self._used[id]
        region.close()
        region.unlink()

    def close(self) -> None:
        """Free all."""
        for id in list(self._regions):
            self.drop(id)

    def _region(self, id: str) -> SharedMemory:
        if id not in self._regions:
            raise UnknownRegion("there is no such region; regions unused for a minute may be gone")
        return self._regions[id]

    def _view(self, id: str, size: int) -> memoryview:
        region = self._region(id)
        self._used[id] = monotonic()
        if size > region.size:
            raise BadWire(f"{size} bytes do not fit the region of {region.size}")
        assert region.buf is not None  # it is until the region is closed, which forgets it
        return region.buf[:size]


def regions_of(request: Request) -> Regions:
    """The regions of the service."""
    regions: Regions = request.app.state.regions
    return regions


@router.post(
    "",
    status_code=201,
    responses=documented(errors.Unauthorized, errors.BadParameter, errors.Busy),
)
async def make(
    request: Request,
    size: Annotated[int, Query(alias="bytes", ge=1, le=MAX_REGION_BYTES)],
) -> RegionMade:
    """Make a region; its file on Linux is /dev/shm/NAME."""
    id = regions_of(request).make(size)
    return RegionMade(id=id, name=f"segmif-{id}", bytes=size)


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
    ask = validated(Ask, dict(request.query_params))
    choose(RAW, ask.views)
    header = b"".join([chunk async for chunk in request.stream()])
    pair = wire.read_pair(header, memoryview(regions.read(id, wire.payload_bytes(header))))
    ask = amend(ask, pair.ask)
    submission = Submission(
        pair.visible,
        pair.infrared,
        ask,
        client_of(request),
        request.state.request_id,
        due(request, ask, request.app.state.settings),
        monotonic() - request.state.received,
    )
    wish = Wish(RAW, ask.views)
    answer, result = await unless_gone(
        request, line.process(submission, lambda result: (raw_answer(wish, result), result))
    )
    regions.write(id, b"".join(answer.parts))
    request.state.times = result.times
    told = headers(result.times, result.prepared.condition.flags)
    return Response(answer.head() + answer.report, media_type=RAW, headers=told)
