"""What the service answers as JSON."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from segmif.thermal.gain_control import Method

from .scene_objects import SceneObjects


class LatestPairInfo(BaseModel):
    """Stream and times of the pair, in nanoseconds."""

    stream: str
    received_ns: int = Field(description="on the service's clock, since 1970")
    visible_ns: int | None = Field(description="as the client stated; null if not stated")
    infrared_ns: int | None = Field(description="as the client stated; null if not stated")


class RegionMade(BaseModel):
    """A region of shared memory that the service made."""

    id: str
    name: str = Field(description="of the POSIX shared memory, for shm_open")
    bytes: int


class Size(BaseModel):
    """Size of a frame as it came in."""

    width: int = Field(description="pixels")
    height: int = Field(description="pixels")


class ClassShare(BaseModel):
    """How much of the picture one class covers."""

    id: int = Field(description="pixel value in the mask")
    name: str
    share: float = Field(description="share of all pixels, 0 to 1")
    confidence: float | None = Field(
        description="mean of its pixels, 0 to 1; null without pixels, or return=confidence"
    )


class Gain(BaseModel):
    """How the counts of a 16-bit infrared frame became 8 bit."""

    method: Method
    low: float = Field(description="counts shown as black; as white if the camera is black hot")
    high: float = Field(description="counts shown as white; as black if the camera is black hot")
    invalid_share: float = Field(
        description="share of the pixels that are no measurement: they have no part in the window, "
        "and are filled from their neighbours, or black"
    )
    smoothing: float = Field(description="share of the stream's last window in this one")
    clip_limit: float | None = Field(description="of clahe; else null")


class FarObjects(BaseModel):
    """Objects far beyond the rest of the scene, which take a quarter of the levels."""

    above: float | None = Field(
        description="counts from which on they lie above gain.high, or null"
    )
    below: float | None = Field(description="counts up to which they lie below gain.low, or null")


class CamerasUsed(BaseModel):
    """What client, operator and rig file state of the cameras, as it was applied."""

    visible: dict[str, Any] = Field(description="such as bits and crop")
    infrared: dict[str, Any] = Field(
        description="such as crop, polarity and kelvin_per_count; temperatures in kelvin are "
        "kelvin_per_count * counts + kelvin_at_zero"
    )


class Fitness(BaseModel):
    """Whether the two frames were a pair worth fusing."""

    stream: str | None
    sensors: list[Literal["visible", "infrared"]] = Field(
        description="whose frames the answer rests on; one means that the other showed nothing"
    )
    skew_ms: float | None = Field(
        description="milliseconds that infrared was taken later; null without timestamps"
    )
    skew: Literal["within", "beyond", "unknown"] = Field(description="against the operator's limit")
    flags: list[str] = Field(
        description="skewed, or SENSOR_FAULT; faults of a frame: missing, black, saturated, "
        "shutter, frozen, invalid (more pixels than SEGMIF_MAX_INVALID are no measurement), "
        "telemetry (its size is that of a sensor and some rows), bits_guessed; of its time stamp: "
        "late, repeated, jump, unit (no nanoseconds); also in the header X-Pair-Flags"
    )


class RigUse(BaseModel):
    """How the rig file brought infrared into the visible view."""

    sha256: str = Field(description="of the rig file")
    depth_m: float | None = Field(
        description="metres to the plane that is aligned; null: infinity, or a homography's plane"
    )
    covered: float = Field(description="share of the visible view that infrared sees, 0 to 1")
    near_m: float | None = Field(description="metres: half the plane's depth, or 10")
    near_parallax_px: float | None = Field(description="pixels that an object at near_m is off")
    far_parallax_px: float | None = Field(description="pixels that an object far away is off")
    residual_px: float | None = Field(
        description="pixels that the sensors were apart across the parallax when last checked"
    )
    moved: bool | None = Field(
        description="whether the rig no longer stands as its file says; null: not known yet"
    )


class Refined(BaseModel):
    """What misalignment the pair itself showed."""

    residual_px: float = Field(description="mean over the view, before it was corrected")
    confidence: float = Field(description="0 to 1: how far that place stands out from all others")
    applied: bool = Field(description="false if the confidence is below a half")


class RegistrationUsed(BaseModel):
    """Where infrared lay off the visible frame, by what the pairs of the stream show."""

    shift_px: tuple[float, float] = Field(
        description="of infrared in the middle of the view, to the right and down"
    )
    displacement_px: float = Field(description="mean over the view")
    parallax_px: float = Field(description="largest shift of a part beyond that of the whole view")
    confidence: float = Field(
        description="0 to 1: that the frames agree so by more than chance, in this pair and those "
        "before"
    )
    standing: Literal["found", "kept", "none"] = Field(
        description="kept: earlier pairs showed it, these do not; none: nothing is known yet, and "
        "nothing is corrected"
    )
    applied: bool = Field(description="false if it is too little to correct, or unknown")
    reset: Literal["start", "size", "cut", "jump", "shutter", "sensors", "rig"] | None = Field(
        description="why the evidence of earlier pairs does not count: there is none; another "
        "size; another scene; a jump of the time stamps; the shutter closed; a sensor was blind; "
        "another rig file or depth. null: it counts"
    )


class MemoryUsed(BaseModel):
    """The part that earlier pairs of the stream have in the result."""

    reset: Literal["start", "size", "cut", "jump", "shutter", "sensors", "network"] | None = Field(
        description="why they have none: no earlier pair is remembered; another size; another "
        "scene; a jump of the time stamps; the shutter closed; a sensor fails or is back; another "
        "network. null: they have"
    )
    used: float = Field(description="share of the picture in which they have one, 0 to 1")


class Report(BaseModel):
    """How an answer was made."""

    request_id: str
    visible: Size | None = Field(description="null if it is missing")
    visible_grey: bool = Field(
        description="whether it came with one channel, or live without colour: from a grey camera, "
        "or an infrared frame that was sent in its place"
    )
    infrared: Size | None = Field(description="null if it is missing")
    pair: Fitness
    alignment: Literal["none", "resized", "rig"] = Field(
        description="what was done to infrared to bring it into the visible camera's view"
    )
    rig: RigUse | None = Field(description="null if the service has no rig file")
    refinement: Refined | None = Field(description="null unless asked for with refine=true")
    registration: RegistrationUsed | None = Field(
        description="null unless asked for with registration=true, or if a sensor shows nothing"
    )
    gain: Gain | None = Field(description="null if infrared came with 8 bit")
    memory: MemoryUsed | None = Field(
        description="null if it is off, or if the pair is of no stream"
    )
    far_objects: FarObjects | None = Field(description="null if there are none")
    cameras: CamerasUsed | None = Field(description="null if nothing is stated of them")
    tint: float | None = Field(
        description="strength of the fused frame's hue, 0 to 1; null: the network's own, fixed"
    )
    classes: list[ClassShare]
    objects: SceneObjects | None = Field(description="null unless objects=true asked for them")
    batch: int = Field(description="pairs that went through the network together")
    times_ms: dict[str, float] = Field(
        description="milliseconds: receive; decode; align (checks, 8 bit, size); queue (waiting); "
        "infer; steady (memory of the stream); objects; unknown (objects); encode"
    )
    engine: str
    variant: str
    precision: str
    weights_sha256: str = Field(description="of the file in service, an .onnx or .engine")
    source_sha256: str | None = Field(
        description="of what that file was made from: an engine from its ONNX, an ONNX from its "
        "weights; null if its manifest does not say"
    )


class Class(BaseModel):
    """One class of the mask."""

    id: int = Field(description="pixel value in the mask")
    name: str
    color: tuple[int, int, int] = Field(description="RGB, as in the mask's palette")
    overlay_color: tuple[int, int, int] = Field(description="RGB, lighter, as in the overlay")


class Classes(BaseModel):
    """What the ids in the mask mean."""

    taxonomy: str
    background: int = Field(description="id of the class that overlays leave out")
    classes: list[Class]


class Sample(BaseModel):
    """A pair that the service brings along."""

    name: str
    visible: str = Field(description="path of the picture")
    infrared: str = Field(description="path of the picture")


class State(BaseModel):
    """Whether the service lives, or is ready."""

    status: Literal["alive", "ready"]


class Problem(BaseModel):
    """An error in words (RFC 9457)."""

    title: str
    status: int
    detail: str = Field(description="what came, what was expected")
    kind: str = Field(description="stable name of the error, for programs")
    part: str | None = Field(
        default=None, description="the frame that is at fault: visible or infrared"
    )
    request_id: str
