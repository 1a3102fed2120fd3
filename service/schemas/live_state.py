"""How the rigs of `segmif run` fare, as JSON."""

from typing import Literal

from pydantic import BaseModel, Field

from .events import Event, NotifierState, ZoneState


class SourceState(BaseModel):
    """One camera of a rig."""

    address: str = Field(description="without a password")
    state: str = Field(description="connecting, connected, lost or ended")
    rate: float = Field(description="frames a second over the last 30")
    frames: int
    unpaired: int = Field(description="frames that found no partner")
    alone: int = Field(
        default=0, description="pairs without the other camera, which gave nothing new"
    )
    dropped: int = Field(
        default=0, description="frames passed over: a newer one was there, or they came late"
    )
    damaged: int = Field(default=0, description="packets or files that could not be decoded")
    reconnects: int = Field(description="times the source was lost")
    error: str | None = Field(description="why it was lost last")


class SinkState(BaseModel):
    """One recording or stream out."""

    name: str
    dropped: int = Field(description="results that it was too slow for")
    error: str | None = Field(description="what it said last")


class RigState(BaseModel):
    """One rig."""

    name: str
    rate: float = Field(description="results a second over the last 30")
    latency_ms: float | None = Field(
        description="milliseconds from the arrival of the visible frame to the last result"
    )
    skew_ms: float | None = Field(description="that infrared of the last pair was taken later")
    flags: list[str] = Field(description="faults of the last pair")
    flagged: dict[str, int] = Field(
        description="results with each fault, such as infrared_frozen or infrared_shutter"
    )
    pairs: dict[str, int] = Field(
        description="pairs by outcome: ok, late, skipped, or the kind of the error"
    )
    dropped: int = Field(description="pairs that were late, skipped or failed")
    level: str = Field(description="what the rig gives up to keep pace, or `full rate`")
    lone: Literal["visible", "infrared"] | None = Field(
        default=None,
        description="the camera that goes on alone, since the other one gives nothing new",
    )
    error: str | None = Field(description="what is wrong since the last result")
    savable: bool = Field(
        default=False, description="whether POST /live/NAME/nudge may write its rig file"
    )
    sources: dict[str, SourceState] = Field(description="by camera: visible, infrared")
    sinks: list[SinkState]
    zones: list[ZoneState] = []
    events: list[Event] = Field(default=[], description="the newest 20, the oldest first")
    notify: list[NotifierState] = Field(default=[], description="who is told of events")


class SavedRig(BaseModel):
    """A rig file that was written anew."""

    sha256: str = Field(description="of the rig file, as reports have it from now on")
    backup: str = Field(description="name of the copy of the old file, beside it")


class LiveState(BaseModel):
    """All rigs of this process; none if it was not started by `segmif run`."""

    rigs: list[RigState]
