"""The limits of each entry point: one table, whose values the code reads."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from segmif.wire.media_types import RAW

Entry = Literal[
    "form",
    "raw",
    "websocket",
    "shared_memory",
    "open_inference",
    "latest_pair",
    "probe",
    "page",
]

# Paths without a token: they cost little and reveal nothing.
PROBES = frozenset({"/livez", "/readyz", "/v2/health/live", "/v2/health/ready"})
PAIR_PATH = "/fuse-segment"

# The first that a path equals, or begins with if it ends in a slash, says which entry it is.
PATHS: tuple[tuple[str, Entry], ...] = (
    (PAIR_PATH, "form"),
    ("/stream", "websocket"),
    ("/streams/", "latest_pair"),
    ("/live", "page"),
    ("/live/", "websocket"),
    ("/shared-memory", "shared_memory"),
    ("/shared-memory/", "shared_memory"),
    *((path, "probe") for path in sorted(PROBES)),
    ("/v2", "page"),
    ("/v2/models/", "open_inference"),
    *((path, "page") for path in ("/", "/docs", "/openapi.json", "/classes", "/metrics")),
    ("/shadow", "page"),
    *((path, "page") for path in ("/samples", "/samples/", "/web", "/web/")),
)

SMALL_BODY = 2**16  # [bytes] of a request that is a header: a little more is refused with its size


@dataclass(frozen=True)
class Pieces:
    """Limits on the pieces of a body or message: many are fine if they carry enough bytes."""

    free: int  # pieces of any size
    mean_bytes: int  # of all that come beyond those
    most: int | None = None  # in one message; None: as many as its bytes allow

    def too_small(self, pieces: int, size: int) -> bool:
        """Whether so many pieces carry too few bytes."""
        return size < self.mean_bytes * (pieces - self.free)


# Each costs the event loop a call, a frame of a WebSocket about ten times that of a chunk.
CHUNKS = Pieces(free=4096, mean_bytes=256)
FRAMES = Pieces(free=512, mean_bytes=256, most=8192)
REGIONS = 10  # of shared memory; one client may have eight
CONTROL_FRAMES_S = 10.0  # pings and the like that a socket may send in a second, beyond the free


@dataclass(frozen=True)
class Limits:
    """What one connection may ask of an entry point, and what is held for one client and all."""

    body_bytes: int  # of a body or message; of a body that is not read, 0
    handshake_s: float  # of TLS, before it
    head_s: float
    body_idle_s: float  # without a byte of a body or message
    body_total_s: float  # for all of it
    answer_s: float  # until the client has read the answer
    pieces: Pieces  # chunks of a body, frames of a message
    outstanding: int  # answers that one connection may wait for at a time
    pending: int  # pairs in work of one client
    heavy: int  # pairs in work that order more than others, of all clients
    buffered_bytes: int  # held for all clients together, of all entry points
    buffered_of_one: int
    connections: int
    connections_of_one: int
    reserve: bool  # answers also on the connections beyond those
    regions: int = 0  # of shared memory, of all clients
    regions_of_one: int = 0


def share_of(most: int) -> int:
    """What one client may have of `most`: three quarters, but all of very little."""
    return max(1, most - most // 4)


def limits_by_entry(pairs: Limits) -> Mapping[Entry, Limits]:
    """The limits of every entry point, made from those of a body that holds a pair."""
    page = replace(pairs, body_bytes=0, pending=0, heavy=0)
    return {
        "form": pairs,
        "raw": pairs,
        "websocket": replace(pairs, pieces=FRAMES, outstanding=8),
        "shared_memory": replace(
            pairs, body_bytes=SMALL_BODY, regions=REGIONS, regions_of_one=share_of(REGIONS)
        ),
        "open_inference": pairs,
        "latest_pair": page,
        "probe": replace(page, reserve=True),
        "page": page,
    }


def entry_of(path: str, content_type: str = "") -> Entry | None:
    """Which entry point a path is; None for a path that the service does not have."""
    for known, entry in PATHS:
        if _is_at(path, known):
            if entry == "form" and content_type.startswith(RAW):
                return "raw"
            return entry
    return None


def known_path(path: str) -> str:
    """What of a path stands in the table: all, or its beginning; empty if nothing does."""
    return next((known for known, _ in PATHS if _is_at(path, known)), "")


def _is_at(path: str, known: str) -> bool:
    return path == known or (known.endswith("/") and known != "/" and path.startswith(known))


def check_entries(routes: Iterable[Any]) -> None:
    """Raise LookupError for a route that no entry of the table bounds."""
    for route in routes:
        if included := getattr(route, "original_router", None):  # FastAPI's, of `include_router`
            check_entries(included.routes)
        elif entry_of(route.path) is None:
            raise LookupError(
                f"{route.path} is no entry point of service.settings.limits: add it there"
            )
