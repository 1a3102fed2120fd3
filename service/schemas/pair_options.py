"""What a client may say of a pair: the fields of a query, a form's `meta` and a stream."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from segmif.frames import TINTS
from segmif.wire.media_types import View

from .camera_options import CameraFields

Policy = Literal["refuse", "flag"]
STREAM_NAME = r"^[\w.-]{1,64}$"
MAX_NS = 2**63 - 1  # until the year 2262, if counted since 1970
MAX_DEADLINE_MS = 2**32 - 1  # what the raw header holds: 49 days


def _listed(value: object) -> object:
    return tuple(dict.fromkeys(value.split(","))) if isinstance(value, str) else value


class PairOptions(CameraFields):
    """What a client states of a pair, and the answer it asks for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    views: Annotated[tuple[View, ...], BeforeValidator(_listed)] = Field(
        default=(),
        alias="return",
        description="pictures with commas between, else fused,mask; a single one comes alone "
        "unless Accept wants multipart/mixed, raw or JSON, which hold the report too; confidence "
        "is 255 times the probability of the mask's class; visible and infrared are the 8 bit that "
        "the network saw; counts is infrared as it came, of 8 or 16 bit, in the visible view by "
        "nearest pixels, 0 outside the infrared camera's view",
    )
    depth_m: float | None = Field(
        default=None,
        gt=0,
        description="metres to the plane in which both views shall agree; only with a rig",
    )
    refine: bool = Field(
        default=False,
        description="estimate the misalignment left in the pair itself, and correct it if that is "
        "sure; takes one or two seconds of a core",
    )
    tint: float | None = Field(
        default=None,
        ge=TINTS[0],
        le=TINTS[1],
        description="strength of the fused frame's hue, which turns warm things orange and cold "
        "ones blue: 0 is the visible colour alone, 1 the strongest; else as the operator chose",
    )
    objects: bool = Field(
        default=False,
        description="list the connected regions of each class in the report, with their boxes and, "
        "in a stream, track numbers",
    )
    deadline_ms: float | None = Field(
        default=None,
        gt=0,
        le=MAX_DEADLINE_MS,
        description="milliseconds from the request's arrival after which it is useless",
    )
    stream: str | None = Field(
        default=None,
        pattern=STREAM_NAME,
        description="name of the rig; pairs of one stream keep their order",
    )
    live: bool = Field(
        default=False,
        description="a newer pair of the stream replaces this one while it waits",
    )
    memory: bool | None = Field(
        default=None,
        description="whether earlier pairs of the stream steady labels, confidence and luma; else "
        "as the operator chose",
    )
    registration: bool = Field(
        default=False,
        description="keep infrared in place by what the pairs of the stream show: the whole view "
        "as the rig moves, parts of it by their depth; takes about ten milliseconds of a core",
    )
    visible_ns: int | None = Field(
        default=None, ge=0, le=MAX_NS, description="nanoseconds: when the visible frame was taken"
    )
    infrared_ns: int | None = Field(
        default=None,
        ge=0,
        le=MAX_NS,
        description="nanoseconds on the same clock: when the infrared frame was taken",
    )
    shutter: bool = Field(
        default=False, description="the infrared camera says that its shutter is closed (FFC)"
    )
    sensors: Literal["both", "visible", "infrared"] = Field(
        default="both", description="the sensor that is left if one gives no frame"
    )
    degraded: Policy | None = Field(
        default=None,
        description="refuse a pair with a fault, or answer it and flag the fault; else as the "
        "operator chose",
    )


class RawLayout(BaseModel):
    """Layout of a part that is raw pixels instead of a file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["rgb8", "bgr8", "nv12", "y8", "y16"]
    width: int = Field(ge=1, le=65_535, description="pixels")
    height: int = Field(ge=1, le=65_535, description="pixels")
    stride: int = Field(default=0, ge=0, le=2**20, description="bytes a row; 0: without gaps")


class Meta(PairOptions):
    """The part `meta` of a form: all that the query may say, and the layout of raw frames."""

    visible: RawLayout | None = None
    infrared: RawLayout | None = None


class StreamOptions(PairOptions):
    """What the query of a WebSocket may say: for all of its pairs."""

    picture: Literal["raw", "png", "jpeg", "webp"] = "raw"
