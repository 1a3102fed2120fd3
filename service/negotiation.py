"""Which form of the answer a client asked for (RFC 9110, section 12.5.1)."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from service.errors import NotAcceptable

View = Literal["fused", "mask", "overlay"]

MIXED, JSON, RAW = "multipart/mixed", "application/json", "application/octet-stream"
PNG, JPEG, WEBP = "image/png", "image/jpeg", "image/webp"
OFFERS: dict[View | None, tuple[str, ...]] = {  # JSON last: base64 is a third larger, and slow
    None: (MIXED, PNG, JPEG, WEBP, RAW, JSON),
    "fused": (PNG, JPEG, WEBP, MIXED, RAW, JSON),
    "overlay": (PNG, JPEG, WEBP, MIXED, RAW, JSON),
    "mask": (PNG, MIXED, RAW, JSON),
}


@lru_cache(256)  # every client sends the same again and again
def choose(accept: str, view: View | None) -> str:
    """
    Pick the media type for an Accept header and the picture asked for (None: no wish).

    Raises NotAcceptable with what could be had. Without a wish, all parts are the first choice;
    with one, the picture alone.
    """
    offered = OFFERS[view]
    qualities = [(quality(accept, offer), -place) for place, offer in enumerate(offered)]
    best, place = max(qualities)
    if best > 0:
        return offered[-place]
    if view == "mask" and max(quality(accept, JPEG), quality(accept, WEBP)) > 0:
        raise NotAcceptable(
            "a mask as JPEG or WebP would no longer hold class ids; accept image/png"
        )
    wish = f" of the {view}" if view else ""
    raise NotAcceptable(f"the answer{wish} can be {', '.join(offered)}; Accept was {accept!r}")


def quality(accept: str, offer: str) -> float:
    """How much the header wants `offer`, 0 to 1: the most specific range that matches decides."""
    kind = offer.split("/")[0]
    ranges = _ranges(accept)
    for wanted in (offer, f"{kind}/*", "*/*"):
        if wanted in ranges:
            return ranges[wanted]
    return 0.0


def _ranges(accept: str) -> dict[str, float]:
    ranges = {}
    for item in accept.split(","):
        media_range, *parameters = (part.strip().lower() for part in item.split(";"))
        if media_range:
            ranges[media_range] = _weight(parameters)
    return ranges or {"*/*": 1.0}


def _weight(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0  # not a number: what cannot be read is not wanted
    return 1.0
