"""The newest raw pair of each stream, for who calibrates the rig that feeds the service."""

from asyncio import to_thread
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from time import monotonic, time_ns
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Header, Path, Request
from fastapi.responses import Response
from numpy.typing import NDArray

from segmif.imaging.codecs import Pixels, encode_png
from segmif.wire.media_types import JSON, MIXED, PNG

from .. import errors
from ..errors import NoPair, PairsWithheld
from ..pipeline.decode import Decoded
from ..schemas import STREAM_NAME, LatestPairInfo, PairOptions
from .openapi import documented, schema_of
from .responses import Part, mixed

KEPT_PAIRS = 4  # one of each stream; the stream longest without one is forgotten first
HELD_S = 10.0  # since its last pair, a stream's name is its client's
KEPT_BYTES = 64 * 2**20  # of all together

router = APIRouter(prefix="/streams", tags=["calibration"])


@dataclass(frozen=True)
class KeptPair:
    """Two frames as their cameras took them."""

    visible: NDArray[np.uint8]  # (H, W, 3) RGB
    infrared: Pixels  # (h, w)
    about: LatestPairInfo
    client: str
    kept_s: float  # on the clock of `time.monotonic`

    @property
    def bytes(self) -> int:
        """How much memory it takes."""
        return self.visible.nbytes + self.infrared.nbytes

    @property
    def tag(self) -> str:
        """What tells this pair from every other of its stream (ETag, RFC 9110, section 8.8.3)."""
        return f'"{self.about.received_ns}"'


class LatestPairs:
    """
    Keeps the newest whole pair of each named stream.

    A name is held by the client that sends pairs under it: those of others under the same name, who
    have a memory of their own, are not handed out.
    """

    def __init__(self) -> None:
        self._pairs: OrderedDict[str, KeptPair] = OrderedDict()
        self._lock = Lock()  # streams are decoded in several threads

    def keep(self, decoded: Decoded, ask: PairOptions, client: str) -> None:
        """Copy a pair in place of its stream's last; a moment without one of its frames is none."""
        if ask.stream is None or self._held_by_another(ask.stream, client):
            return
        if decoded.visible is None or decoded.infrared is None:
            return
        about = LatestPairInfo(
            stream=ask.stream,
            received_ns=time_ns(),
            visible_ns=ask.visible_ns,
            infrared_ns=ask.infrared_ns,
        )
        # Raw frames lie in the request's body, which would live on with them.
        pair = KeptPair(decoded.visible.copy(), decoded.infrared.copy(), about, client, monotonic())
        with self._lock:
            self._pairs[ask.stream] = pair
            self._pairs.move_to_end(ask.stream)
            while len(self._pairs) > KEPT_PAIRS or self._bytes() > KEPT_BYTES:
                self._pairs.popitem(last=False)

    def newest(self, stream: str) -> KeptPair:
        """The last pair of a stream; raises NoPair."""
        pair = self._pairs.get(stream)
        if pair is None:
            raise NoPair(f"no pair of a stream {stream!r} is kept; send some with ?stream={stream}")
        return pair

    def _held_by_another(self, stream: str, client: str) -> bool:
        last = self._pairs.get(stream)
        return bool(last and last.client != client and monotonic() - last.kept_s < HELD_S)

    def _bytes(self) -> int:
        return sum(pair.bytes for pair in self._pairs.values())


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
            NoPair,
            PairsWithheld,
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
    """Hand out the newest pair of a stream as it came, for `python -m calibration live`."""
    tap: LatestPairs | None = request.app.state.dispatcher.tap
    if tap is None:
        raise PairsWithheld
    pair = tap.newest(stream)
    headers = {"ETag": pair.tag, "Cache-Control": "no-store"}
    if if_none_match == pair.tag:
        return Response(status_code=304, headers=headers)
    body, content_type = await to_thread(_encoded, pair)
    return Response(body, media_type=content_type, headers=headers)


def _encoded(pair: KeptPair) -> tuple[bytes, str]:
    return mixed(
        [
            Part("visible", "visible.png", PNG, encode_png(pair.visible)),
            Part("infrared", "infrared.png", PNG, encode_png(pair.infrared)),
            Part("meta", "meta.json", JSON, pair.about.model_dump_json().encode()),
        ]
    )
