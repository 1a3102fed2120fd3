"""What an operator states of zones and events."""

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

from ...schemas.pair_options import STREAM_NAME

MAX_ZONES = MAX_RULES = 32
LARGEST_SIDE = 65_535  # pixels
HOUR = 3600.0
MOVE_S = 2.0  # seconds for the motion of something warm

Seconds = Annotated[float, Field(ge=0, le=HOUR)]
Area = Annotated[int, Field(ge=1, le=LARGEST_SIDE**2)]
Point = tuple[float, float]
Name = Annotated[str, Field(pattern=STREAM_NAME)]
Fault = Literal["frozen", "shutter", "black", "saturated", "lost"]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Zone(_Settings):
    """A part of the visible view."""

    name: Name
    polygon: Annotated[tuple[Point, ...], Field(min_length=3, max_length=64)]
    units: Literal["relative", "pixels"] = "relative"  # 0 to 1 of width and height

    @model_validator(mode="after")
    def _is_an_area(self) -> Self:
        largest = 1.0 if self.units == "relative" else float(LARGEST_SIDE)
        for place in (value for point in self.polygon for value in point):
            if not (math.isfinite(place) and 0 <= place <= largest):
                hint = "; state units = 'pixels'" if self.units == "relative" else ""
                raise ValueError(
                    f"zone {self.name}: {place:g} is outside 0 to {largest:g} ({self.units}){hint}"
                )
        if cv2.contourArea(np.array(self.polygon, np.float32)) <= 0:
            raise ValueError(
                f"zone {self.name}: it has no area: its corners lie on a line, or its edges cross"
            )
        return self


class _Rule(_Settings):
    """What all rules have in common."""

    name: Name
    start_s: Seconds = 0.5  # of presence before it starts
    end_s: Seconds = 2.0  # of absence before it ends
    cooldown_s: Seconds = 5.0  # after its end, in which none of the same rule and zone starts


class _ZonedRule(_Rule):
    zones: Annotated[tuple[Name, ...], Field(max_length=MAX_ZONES)] = ()  # none: the whole view


class ObjectRule(_ZonedRule):
    """An object of some classes in a zone."""

    kind: Literal["object"]
    classes: tuple[str, ...] = ()  # none: all objects of the rig
    min_area: Area = 128  # pixels of the visible frame; half of it keeps the event going
    anchor: Literal["bottom", "centroid"] = "bottom"  # of the object, which must be in the zone


class WarmRule(_ZonedRule):
    """An unknown object: much warmer than its surroundings, it moves and fits no class."""

    kind: Literal["warm"]
    contrast: Annotated[int, Field(ge=1, le=254)] = 40  # levels of 255 above the surroundings
    min_area: Area = 128  # pixels of the visible frame; half of it keeps the event going
    # Share of the view's width by which it moves within `MOVE_S`, beyond the camera's motion.
    min_move: Annotated[float, Field(gt=0, le=1)] = 0.03


class TemperatureRule(_ZonedRule):
    """Pixels hotter or colder than a temperature; only if the camera states what its counts are."""

    kind: Literal["temperature"]
    above_c: Annotated[float, Field(ge=-273, le=5000)] | None = None
    below_c: Annotated[float, Field(ge=-273, le=5000)] | None = None
    min_area: Area = 16  # pixels of the visible frame; half of it keeps the event going

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if (self.above_c is None) == (self.below_c is None):
            raise ValueError(f"event {self.name}: state above_c or below_c, one of them")
        return self


class FaultRule(_Rule):
    """A fault of a sensor that stays."""

    kind: Literal["fault"]
    start_s: Seconds = 2.0  # a shutter is closed for about a second
    faults: Annotated[tuple[Fault, ...], Field(min_length=1)] = (
        "frozen",
        "shutter",
        "black",
        "saturated",
        "lost",
    )


Rule = Annotated[ObjectRule | WarmRule | TemperatureRule | FaultRule, Field(discriminator="kind")]


def check_rules(rules: Sequence[Rule], zones: Sequence[Zone]) -> None:
    """Raise ValueError for two of one name, and for a rule whose zone there is not."""
    for what, names in (("zones", [z.name for z in zones]), ("events", [r.name for r in rules])):
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two {what} have the name {twice[0]}: state another name for one")
    known = {zone.name for zone in zones}
    for rule in rules:
        for name in getattr(rule, "zones", ()):
            if name not in known:
                there = f"there are {', '.join(sorted(known))}" if known else "there are none"
                raise ValueError(f"event {rule.name}: there is no zone {name}; {there}")
