"""What bounds each entry point: one table, whose values the code reads."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from .settings import Settings

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

# What a probe or a browser needs before anybody could give a token; none of it works or tells.
PROBES = frozenset({"/livez", "/readyz", "/v2/health/live", "/v2/health/ready"})
PAIR_PATH = "/fuse-segment"
RAW_TYPE = "application/octet-stream"

# The first that a path equals, or begins with if it ends in a slash, says which entry it is.
PATHS: tuple[tuple[str, Entry], ...] = (
    (PAIR_PATH, "form"),
    ("/stream", "websocket"),
    ("/streams/", "latest_pair"),
    ("/shared-memory", "shared_memory"),
    ("/shared-memory/", "shared_memory"),
    *((path, "probe") for path in sorted(PROBES)),
    ("/v2", "page"),
    ("/v2/models/", "open_inference"),
    *((path, "page") for path in ("/", "/docs", "/openapi.json", "/classes", "/metrics")),
    *((path, "page") for path in ("/samples", "/samples/", "/web", "/web/")),
)

SMALL_BODY = 2**16  # [bytes] of a request that is a header: what is a little longer is told so


@dataclass(frozen=True)
class Pieces:
    """Of what a body or message may be made: many pieces are fine if they carry something."""

    free: int  # pieces of any size
    mean_bytes: int  # of all that come beyond those
    most: int | None = None  # in one message; None: as many as its bytes allow

    def too_small(self, pieces: int, size: int) -> bool:
        """Tell whether so many pieces carry too few bytes."""
        return size < self.mean_bytes * (pieces - self.free)


# Each costs the event loop a call, a frame of a WebSocket about ten times that of a chunk.
CHUNKS = Pieces(free=4096, mean_bytes=256)
FRAMES = Pieces(free=512, mean_bytes=256, most=8192)
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


def table(settings: "Settings") -> Mapping[Entry, Limits]:
    """The limits of every entry point as an operator has set them."""

    def limits(
        body_bytes: int,
        *,
        pieces: Pieces = CHUNKS,
        outstanding: int = 1,
        pairs: bool = False,
        heavy: bool = False,
        reserve: bool = False,
    ) -> Limits:
        return Limits(
            body_bytes,
            settings.head_timeout_s,
            settings.head_timeout_s,
            settings.body_idle_s,
            settings.body_total_s,
            settings.answer_total_s,
            pieces,
            outstanding,
            settings.pending_of_one if pairs else 0,
            settings.max_heavy_pending if heavy else 0,
            settings.max_buffered_bytes,
            settings.buffered_of_one,
            settings.max_connections,
            settings.connections_of_one,
            reserve,
        )

    large = settings.max_body_bytes
    return {
        "form": limits(large, pairs=True, heavy=True),
        "raw": limits(large, pairs=True, heavy=True),
        "websocket": limits(large, pieces=FRAMES, outstanding=8, pairs=True, heavy=True),
        "shared_memory": limits(SMALL_BODY, pairs=True, heavy=True),
        "open_inference": limits(large, pairs=True, heavy=True),
        "latest_pair": limits(0),
        "probe": limits(0, reserve=True),
        "page": limits(0),
    }


def entry_of(path: str, content_type: str = "") -> Entry | None:
    """Which entry point a path is; None for a path that the service does not have."""
    for known, entry in PATHS:
        if _is_at(path, known):
            if entry == "form" and content_type.startswith(RAW_TYPE):
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
            raise LookupError(f"{route.path} is no entry point of service.limits: add it there")
