"""A request's body and parameters as a pair for the line."""

import json
from time import monotonic
from typing import Any

from pydantic import ValidationError
from starlette.requests import Request

from service.bodies import read_form
from service.condition import SENSORS
from service.errors import BadParameter, MissingPart
from service.schemas import Ask
from service.settings import Settings

FORM = "multipart/form-data"
DEADLINE_HEADER = "X-Deadline-Ms"


def client_of(request: Request) -> str:
    """Whose share of the line a request takes: that of its address."""
    return request.client.host if request.client else "unknown"


def due(request: Request, ask: Ask, settings: Settings) -> float:
    """When the answer is due, on the clock of `time.monotonic`; raises BadParameter."""
    stated = request.headers.get(DEADLINE_HEADER)
    if ask.deadline_ms is None and stated is not None:
        ask = amend(ask, {"deadline_ms": stated})
    received: float = request.state.received
    return received + (ask.deadline_ms or settings.deadline_ms) / 1000


def seconds_left(request: Request, ask: Ask, settings: Settings) -> float:
    """Seconds until the answer is due."""
    return due(request, ask, settings) - monotonic()


async def read_pair(request: Request, ask: Ask) -> tuple[bytes | None, bytes | None, Ask]:
    """
    Read the frames, and what the part `meta` says over the query.

    Raises BadForm, MissingPart or BadParameter.
    """
    content_type = request.headers.get("content-type", "")
    if not content_type.lower().startswith(FORM):
        raise MissingPart(
            f"the body is {content_type or 'of no stated type'}; send {FORM} with the two files "
            "'visible' and 'infrared'",
            part="visible",
        )
    parts = await read_form(content_type, request.stream())
    if "meta" in parts:
        ask = amend(ask, _json_object(parts["meta"]))
    for name in SENSORS:
        wanted = ask.sensors in ("both", name)
        if wanted and name not in parts:
            raise MissingPart(
                "no file of this name in the form; send the two files 'visible' and 'infrared', "
                "or say with ?sensors= which one there is",
                part=name,
            )
        if name in parts and not wanted:
            raise BadParameter(f"sensors={ask.sensors}, but the form has a frame {name!r} too")
    return parts.get("visible"), parts.get("infrared"), ask


def amend(ask: Ask, more: dict[str, Any]) -> Ask:
    """Set further fields; raises BadParameter in the words of their types."""
    try:
        return Ask.model_validate(ask.model_dump(by_alias=True, exclude_unset=True) | more)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise BadParameter(f"parameter {name!r}: {first['msg']}") from error


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        told = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadParameter(f"the part 'meta' is not JSON: {error}") from error
    if not isinstance(told, dict):
        raise BadParameter(f"the part 'meta' is a JSON {type(told).__name__}, expected an object")
    return told
