"""Events of a rig, and who is told of them, as JSON."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

EventKind = Literal["object", "warm", "temperature", "fault"]
EndReason = Literal["over", "no_results", "stopped"]


class Event(BaseModel):
    """The start or the end of an event; both have the same id."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(description="32 hexadecimal digits, never given twice")
    phase: Literal["start", "end"]
    rig: str
    name: str = Field(description="of the rule, as the settings have it")
    kind: EventKind
    zone: str | None = Field(description="null: the whole view, or a fault")
    fault: str | None = Field(description="of kind fault: such as infrared_frozen; else null")
    classes: tuple[str, ...] = Field(description="names, of kind object; in order of appearance")
    tracks: tuple[int, ...] = Field(description="of objects or warm regions; 32 at most")
    first_ns: int = Field(description="stamp of the visible frame that showed it first")
    last_ns: int = Field(description="stamp of the newest visible frame that shows it")
    stamp_ns: int = Field(description="stamp of the visible frame that decided this phase")
    sent_ns: int = Field(description="when it was decided, since 1970 on this machine's clock")
    area: int = Field(description="largest so far, in pixels of the visible frame; 0 for a fault")
    box: tuple[int, int, int, int] | None = Field(
        description="left, top, width, height of what was largest; null for a fault"
    )
    celsius: float | None = Field(
        description="of kind temperature: the most extreme so far; else null"
    )
    sensors: tuple[str, ...] = Field(description="whose frames the pair of this phase rests on")
    flags: tuple[str, ...] = Field(description="faults of that pair, as in its report")
    reason: EndReason | None = Field(
        description="why it ended: over; no_results: the rig gave none; stopped: the rig was "
        "closed; null at the start"
    )


class ZoneState(BaseModel):
    """A zone of a rig."""

    name: str
    polygon: tuple[tuple[float, float], ...] = Field(description="x, y of each corner")
    units: Literal["relative", "pixels"] = Field(
        description="shares of the visible frame's width and height, or its pixels"
    )


class NotifierState(BaseModel):
    """How one receiver of events fares."""

    name: str
    sent: int = Field(description="events that arrived")
    retried: int = Field(description="tries that failed and were repeated, or will be")
    waiting: int = Field(description="events that are still to be sent")
    dropped: int = Field(description="events that were given up, or refused by the receiver")
    error: str | None = Field(description="what the last try said, if it failed")
