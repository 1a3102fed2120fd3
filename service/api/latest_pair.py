"""`GET /streams/{stream}/pair`: the newest raw pair of a stream, to calibrate the rig."""

from typing import Annotated

from fastapi import APIRouter, Header, Path, Request
from fastapi.responses import Response

from segmif.imaging.codecs import encode_png
from segmif.wire.media_types import JSON, MIXED, PNG

from .. import errors
from ..scheduler.latest_pairs import KeptPair, LatestPairs
from ..schemas.answers import LatestPairInfo
from ..schemas.pair_options import STREAM_NAME
from .openapi import documented, schema_of
from .responses import Part, mixed

router = APIRouter(prefix="/streams", tags=["calibration"])


PARTS = {
    "type": "object",
    "properties": {
        "visible": {"type": "string", "format": "binary", "description": "PNG, RGB"},
        "infrared": {"type": "string", "format": "binary", "description": "PNG, 8 or 16 bit"},
        "meta": schema_of(LatestPairInfo),
    },
}


@router.get(
    "/{stream}/pair",
    response_class=Response,
    responses={
        200: {
            "description": "The frames as the cameras took them, and their times.",
            "content": {MIXED: {"schema": PARTS}},
        },
        304: {"description": "The pair that If-None-Match names is still the newest."},
        **documented(
            errors.NoPair,
            errors.PairsWithheld,
            errors.BadParameter,
            errors.Unauthorized,
            errors.OutOfMemory,
        ),
    },
)
async def newest_pair(
    request: Request,
    stream: Annotated[str, Path(pattern=STREAM_NAME)],
    if_none_match: Annotated[str | None, Header(description="an ETag of before")] = None,
) -> Response:
    """Give the newest pair of a stream as it came, for `segmif calibrate live`."""
    kept: LatestPairs | None = request.app.state.dispatcher.latest_pairs
    if kept is None:
        raise errors.PairsWithheld
    pair = kept.newest(stream)
    headers = {"ETag": pair.tag, "Cache-Control": "no-store"}
    if if_none_match == pair.tag:
        return Response(status_code=304, headers=headers)
    # Not in the threads of the codecs: who asks again and again would keep all pairs waiting.
    body, content_type = await request.app.state.dispatcher.queues.viewers.run(_encoded, pair)
    return Response(body, media_type=content_type, headers=headers)


def _encoded(pair: KeptPair) -> tuple[bytes, str]:
    return mixed(
        [
            Part("visible", "visible.png", PNG, encode_png(pair.visible)),
            Part("infrared", "infrared.png", PNG, encode_png(pair.infrared)),
            Part("meta", "meta.json", JSON, pair.about.model_dump_json().encode()),
        ]
    )
