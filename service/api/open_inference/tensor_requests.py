"""
The JSON of a request of the Open Inference Protocol v2, with its binary data extension.

Every field is obeyed or refused: an unknown parameter is an error.
"""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    model_validator,
)
from typing_extensions import Self

from ...errors import BadWire
from ...schemas.camera_options import CAMERA_FIELDS
from ...schemas.pair_options import MAX_DEADLINE_MS

# What may be said of all pairs of a request, as in the query of /fuse-segment.
PAIR_PARAMETERS = (
    *("stream", "visible_ns", "infrared_ns", "shutter"),
    *("depth_m", "refine", "registration", "tint", "memory", "objects", "degraded", "deadline_ms"),
    *CAMERA_FIELDS,
)
CLASSIFICATION = "classes are not listed here: labels hold the id of each pixel, /classes its name"
SHARED_MEMORY = "this shared memory is not offered: send binary tensors, or see docs/wire.md"
SEQUENCE = "the network knows no sequences: `stream` names what belongs together"
UNKNOWN = "nobody knows it here; leave it out"
NOT_OFFERED = {
    "class_count": CLASSIFICATION,
    "classification": CLASSIFICATION,
    "shared_memory_region": SHARED_MEMORY,
    "shared_memory_byte_size": SHARED_MEMORY,
    "shared_memory_offset": SHARED_MEMORY,
    "sequence_id": SEQUENCE,
    "sequence_start": SEQUENCE,
    "sequence_end": SEQUENCE,
    "priority": "pairs have no priorities: `deadline_ms` says how long one may take",
}


def _offered(value: Any) -> Any:
    for name in value if isinstance(value, dict) else ():
        if name in NOT_OFFERED:
            raise ValueError(f"parameter {name!r}: {NOT_OFFERED[name]}")
    return value


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TensorParameters(_Strict):
    """Parameters of an input."""

    binary_data_size: StrictInt | None = Field(default=None, ge=0, le=2**32)


class OutputParameters(_Strict):
    """Parameters of an output; None: as `binary_data_output` says."""

    binary_data: StrictBool | None = None


class RequestParameters(BaseModel):
    """Parameters of a request and of its pairs; the latter are validated with `PairOptions`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    timeout: StrictInt | None = Field(
        default=None, ge=0, le=MAX_DEADLINE_MS * 1000, description="microseconds; 0: none"
    )
    binary_data_output: StrictBool = False

    @model_validator(mode="after")
    def _known(self) -> Self:
        for name in self.model_extra or {}:
            if name not in PAIR_PARAMETERS:
                raise ValueError(f"parameter {name!r}: {UNKNOWN}")
        return self

    def of_the_pairs(self) -> dict[str, Any]:
        """The fields of `schemas.PairOptions` that were stated."""
        return dict(self.model_extra or {})


class Tensor(_Strict):
    """An input as a request describes it."""

    name: Literal["visible", "infrared", "tint"]
    datatype: Literal["UINT8", "UINT16", "FP32"]
    shape: list[Annotated[StrictInt, Field(ge=1, le=65_535)]] = Field(min_length=1, max_length=4)
    parameters: Annotated[TensorParameters, BeforeValidator(_offered)] = TensorParameters()
    data: list[Any] | None = None


class Output(_Strict):
    """An output that a request wants."""

    name: Literal["fused", "labels", "confidence"]
    parameters: Annotated[OutputParameters, BeforeValidator(_offered)] = OutputParameters()


def _once_each(outputs: list[Output]) -> list[Output]:
    names = [output.name for output in outputs]
    if len(set(names)) < len(names):
        raise ValueError("an output is named twice")
    return outputs


class InferRequest(_Strict):
    """The JSON of a request, without its binary tensors."""

    id: str = Field(default="", max_length=64)
    inputs: list[Tensor] = Field(
        min_length=2, max_length=3, description="visible, infrared and, if it is stated, tint [B]"
    )
    outputs: Annotated[list[Output], AfterValidator(_once_each)] = Field(
        default=[], max_length=3, description="none: all there are"
    )
    parameters: Annotated[RequestParameters, BeforeValidator(_offered)] = Field(
        default=RequestParameters(),
        description="timeout in microseconds, binary_data_output; of all pairs, as in the query "
        f"of /fuse-segment: {', '.join(PAIR_PARAMETERS)}",
    )


def read_request(parsed: object) -> InferRequest:
    """Build a request from its JSON; raises BadWire with the first field at fault."""
    try:
        return InferRequest.model_validate(parsed)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            said = UNKNOWN
        raise BadWire(f"{place}: {said}" if place else said) from error
