"""Which form of the answer a client asked for (RFC 9110, section 12.5.1)."""

import math
from collections.abc import Sequence
from functools import lru_cache

from segmif.wire.media_types import JPEG, JSON, MIXED, NUMBERS, PNG, PREPARED, RAW, WEBP, View

from ..errors import NotAcceptable

ALL_OFFERS = (MIXED, PNG, JPEG, WEBP, RAW, JSON)  # JSON last: base64 is a third larger, and slow


def offers(views: tuple[View, ...]) -> tuple[str, ...]:
    """Media types in which these pictures (none: any) can be had, the first choice first."""
    if not views:
        return ALL_OFFERS
    together = (MIXED, RAW, JSON) if _fits_raw(views) else (MIXED, JSON)
    if len(views) > 1:
        return together
    return (PNG, *together) if views[0] in NUMBERS else (PNG, JPEG, WEBP, *together)


def _fits_raw(views: tuple[View, ...]) -> bool:
    """The raw form has room for one picture beside labels and confidence."""
    return not ({"fused", "overlay"} <= set(views) or set(views) & set(PREPARED))


@lru_cache(256)  # every client sends the same again and again
def choose(accept: str, views: tuple[View, ...]) -> str:
    """
    Pick the media type for an Accept header and the pictures asked for (none: any).

    Raises NotAcceptable with what could be had. One picture comes alone if that is accepted.
    """
    offered = offers(views)
    qualities = [(quality(accept, offer), -place) for place, offer in enumerate(offered)]
    best, place = max(qualities)
    if best > 0:
        return offered[-place]
    exact = len(views) == 1 and views[0] in NUMBERS
    if exact and max(quality(accept, JPEG), quality(accept, WEBP)) > 0:
        raise NotAcceptable(
            f"{views[0]} as JPEG or WebP would no longer hold its numbers; accept image/png"
        )
    of_what = f" of {', '.join(views)}" if views else ""
    raise NotAcceptable(f"the answer{of_what} can be {', '.join(offered)}; Accept was {accept!r}")


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
                weight = float(value)
            except ValueError:
                return 0.0  # what cannot be read is not wanted
            return min(max(weight, 0.0), 1.0) if math.isfinite(weight) else 0.0
    return 1.0
