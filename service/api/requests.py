"""A request's body and parameters as a pair for the scheduler."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import HTTPConnection, Request

from segmif.parsing import ParseError, json_value
from segmif.wire import binary_pair
from segmif.wire.media_types import RAW
from segmif.wire.raw_frames import Frame, Layout

from ..errors import BadParameter, BadWire, MissingPart
from ..memory.budget import client_key
from ..pipeline.pair_checks import SENSORS
from ..scheduler.dispatcher import Dispatcher
from ..scheduler.pair_request import PairRequest
from ..schemas.pair_options import Meta, PairOptions
from ..settings import Settings
from ..settings.environment import closest
from ..settings.limits import SMALL_BODY
from .multipart import read_form

FORM = "multipart/form-data"
DEADLINE_HEADER = "X-Deadline-Ms"

Model = TypeVar("Model", bound=BaseModel)


def client_of(connection: HTTPConnection) -> str:
    """The client that a request or socket belongs to, as `client_key` names it, in all shares."""
    return client_key(connection.client.host) if connection.client else "unknown"


def refuse_early(request: Request, options: PairOptions) -> None:
    """Refuse what has no chance before its body is read; raises as `Admission.check`."""
    if not options.live:  # which may take the slot of an older pair of its stream
        dispatcher: Dispatcher = request.app.state.dispatcher
        dispatcher.queues.all.check(client_of(request), due(request, options) - monotonic())


def due(request: Request, options: PairOptions) -> float:
    """When the answer is due, on the clock of `time.monotonic`; raises BadParameter."""
    stated = stated_once(request, DEADLINE_HEADER)
    if options.deadline_ms is None and stated is not None:
        options = override(options, {"deadline_ms": stated})
    received: float = request.state.received
    settings: Settings = request.app.state.settings
    return received + (options.deadline_ms or settings.deadline_ms) / 1000


def stated_once(request: Request, name: str) -> str | None:
    """The value of a header; raises BadParameter if it stands there with several."""
    values = dict.fromkeys(request.headers.getlist(name))
    if len(values) > 1:
        raise BadParameter(f"the header {name} has {len(values)} values: state one")
    return next(iter(values), None)


def pair_request(
    request: Request,
    visible: Frame | None,
    infrared: Frame | None,
    options: PairOptions,
    *,
    same_stamps: bool = False,
    plain: bool = False,
) -> PairRequest:
    """A pair of a request for the scheduler; raises BadParameter."""
    received_s = monotonic() - request.state.received
    client, request_id = client_of(request), request.state.request_id
    latest = due(request, options)
    return PairRequest(
        *(visible, infrared, options, client, request_id, latest, received_s, same_stamps),
        plain=plain,
    )


async def read_pair(
    request: Request, options: PairOptions
) -> tuple[Frame | None, Frame | None, PairOptions]:
    """
    Read the frames, and the options: those of the body override those of the query.

    Raises BadForm, BadWire, MissingPart or BadParameter.
    """
    content_type = request.headers.get("content-type", "").lower()
    if content_type.startswith(RAW):
        body = b"".join([chunk async for chunk in request.stream()])
        return read_raw_body(body, options)
    if not content_type.startswith(FORM):
        raise MissingPart(
            f"the body is {content_type or 'of no stated type'}; send {FORM} with the two files "
            f"'visible' and 'infrared', or {RAW} as docs/wire.md has it",
            part="visible",
        )
    return read_form_body(
        await read_form(request.headers["content-type"], request.stream()), options
    )


@contextmanager
def wire_errors() -> Iterator[None]:
    """Within it, a raw pair that cannot be read raises BadWire."""
    try:
        yield
    except binary_pair.WireError as error:
        raise BadWire(str(error)) from error


def read_raw_body(
    body: bytes, options: PairOptions
) -> tuple[Frame | None, Frame | None, PairOptions]:
    """The frames of a raw body, and `options` with what its header overrides."""
    with wire_errors():
        pair = binary_pair.read_pair(
            body[: binary_pair.HEADER_BYTES], memoryview(body)[binary_pair.HEADER_BYTES :]
        )
    return pair.visible, pair.infrared, override(options, pair.ask)


def read_form_body(
    parts: dict[str, bytes], options: PairOptions
) -> tuple[Frame | None, Frame | None, PairOptions]:
    """The frames of a form, and `options` with what its part `meta` overrides."""
    layouts: dict[str, Layout] = {}
    if "meta" in parts:
        meta = validated(
            Meta,
            options.model_dump(by_alias=True, exclude_unset=True) | _json_object(parts["meta"]),
        )
        options = PairOptions.model_validate(
            meta.model_dump(by_alias=True, exclude={"visible", "infrared"})
        )
        for name, layout in (("visible", meta.visible), ("infrared", meta.infrared)):
            if layout:
                layouts[name] = Layout(**layout.model_dump())
    for name in SENSORS:
        wanted = options.sensors in ("both", name)
        if wanted and name not in parts:
            raise MissingPart(
                "no file of this name in the form; send the two files 'visible' and 'infrared', "
                "or say with ?sensors= which one there is",
                part=name,
            )
        if name in parts and not wanted:
            raise BadParameter(f"sensors={options.sensors}, but the form has a frame {name!r} too")
    visible, infrared = (
        Frame(parts[name], layouts.get(name)) if name in parts else None for name in SENSORS
    )
    return visible, infrared, options


def override(options: PairOptions, more: dict[str, Any]) -> PairOptions:
    """Set further fields; raises BadParameter with the reason of their types."""
    if not more:
        return options
    return validated(PairOptions, options.model_dump(by_alias=True, exclude_unset=True) | more)


def validated(model: type[Model], fields: Mapping[str, Any]) -> Model:
    """Build a model; raises BadParameter with the first field at fault."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        said = first["msg"]
        if first["type"] == "extra_forbidden":
            known = [field.alias or own for own, field in model.model_fields.items()]
            close = closest(name, known)
            said = "nobody knows it here" + (f"; is {close} meant?" if close else "; leave it out")
        raise BadParameter(f"parameter {name[:100]!r}: {said}") from error


def _json_object(data: bytes) -> dict[str, Any]:
    if len(data) > SMALL_BODY:
        raise BadParameter(
            f"the part 'meta' has {len(data):,} bytes; at most {SMALL_BODY:,} are read"
        )
    try:
        parsed = json_value(data, finite=False)
    except ParseError as error:
        raise BadParameter(f"the part 'meta': {error}") from None
    if not isinstance(parsed, dict):
        raise BadParameter(f"the part 'meta' is a JSON {type(parsed).__name__}, expected an object")
    return parsed
