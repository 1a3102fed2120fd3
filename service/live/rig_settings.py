"""What an operator states of the rigs that `segmif run` reads: two sources each, and the sinks."""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from typing_extensions import Self

from segmif.addresses import masked
from segmif.files import shown
from segmif.frames import TINTS
from segmif.sources.options import SourceOptions

from ..pipeline.objects import UNKNOWN, ObjectRules, UnknownRules
from ..schemas.camera_options import CameraFields
from ..schemas.pair_options import STREAM_NAME, PairOptions
from .events.notify_settings import MAX_NOTIFIERS, NotifierSettings
from .events.rules import (
    MAX_RULES,
    MAX_ZONES,
    MOVE_S,
    ObjectRule,
    Rule,
    WarmRule,
    Zone,
    check_rules,
)
from .sinks.open_sinks import parse_sink
from .sinks.ros_types import LATCHED, namespace_of, published, topic_name, type_of
from .sinks.rotation import SUFFIXES
from .sinks.settings import (
    CollectSettings,
    ImagesSettings,
    JsonlSettings,
    McapSettings,
    RosSettings,
    SinkSettings,
    StreamSettings,
    VideoSettings,
)

MAX_OFFSET_MS = 86_400_000.0  # a day
MAX_RIGS = 64


def _from_word(stated: object) -> object:
    return parse_sink(stated) if isinstance(stated, str) else stated


class ObjectSettings(BaseModel):
    """What counts as an object in the pairs of a rig."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: tuple[str, ...] = ()  # none: all but the background and areas such as road and sky
    min_area: int = Field(default=64, ge=1, le=2**32)  # pixels of the visible frame
    unknown: bool = UNKNOWN  # also what is warm, moves and fits no class


class RigSettings(CameraFields):
    """One rig: the sources of its two cameras, how they pair, and where results go."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default="rig", pattern=STREAM_NAME, description="in pages, files and metrics")
    # An address may hold a password, which no log of this object may show.
    visible: str = Field(min_length=1, repr=False, description="source of the colour camera")
    infrared: str = Field(min_length=1, repr=False, description="source of the thermal camera")
    visible_options: SourceOptions = SourceOptions()
    infrared_options: SourceOptions = SourceOptions()
    rig: Path | None = Field(default=None, description="rig.yaml; else frames come aligned")
    depth_m: float = Field(
        default=math.inf, gt=0, le=math.inf, description="metres to the plane that the rig aligns"
    )
    offset_ms: (
        Annotated[float, Field(ge=-MAX_OFFSET_MS, le=MAX_OFFSET_MS)] | Literal["start", "motion"]
    ) = Field(
        default=0,
        description="milliseconds to add to infrared stamps, to bring them to the visible "
        "clock; start: the first frames of both are of one moment; motion: found from the "
        "motion that both cameras see",
    )
    tolerance_ms: float | None = Field(
        default=None,
        gt=0,
        le=MAX_OFFSET_MS,
        description="largest milliseconds between the frames of a pair [half the faster period]",
    )
    max_rate: float = Field(
        default=math.inf, gt=0, le=math.inf, description="pairs a second that are taken at most"
    )
    alone_after_s: float = Field(
        default=3,
        ge=0,
        le=86_400,
        description="seconds without a new picture of one camera, after which the other one goes "
        "on alone; 0: never",
    )
    refine: bool = Field(default=False, description="correct the misalignment that pairs show")
    registration: bool = Field(
        default=False, description="keep infrared in place by what all pairs show, while it runs"
    )
    tint: float | None = Field(
        default=None,
        ge=TINTS[0],
        le=TINTS[1],
        description="strength of the fused frame's hue; else that of the service",
    )
    memory: bool | None = Field(
        default=None, description="earlier pairs steady the result [as the service does]"
    )
    sinks: tuple[Annotated[SinkSettings, BeforeValidator(_from_word)], ...] = Field(
        default=(), description="recordings and streams out: tables, or words such as out.mkv"
    )
    objects: ObjectSettings | Literal[False] = Field(
        default=ObjectSettings(), description="regions in the report; false: none"
    )
    zones: Annotated[tuple[Zone, ...], Field(max_length=MAX_ZONES)] = ()
    events: Annotated[tuple[Rule, ...], Field(max_length=MAX_RULES)] = ()
    notify: Annotated[tuple[NotifierSettings, ...], Field(max_length=MAX_NOTIFIERS)] = Field(
        default=(), repr=False
    )

    @model_validator(mode="after")
    def _depth_needs_a_rig(self) -> Self:
        if self.rig is None and self.depth_m != math.inf:
            raise ValueError(f"depth_m is {self.depth_m:g}, but there is no rig: state rig as well")
        return self

    @model_validator(mode="after")
    def _one_corrects(self) -> Self:
        if self.refine and self.registration:
            raise ValueError("refine and registration both correct what pairs show: state one")
        return self

    @model_validator(mode="after")
    def _events_can_be(self) -> Self:
        check_rules(self.events, self.zones)
        around = any(getattr(sink, "around_events", None) for sink in self.sinks)
        if not self.events and (self.notify or around):
            what = "notify" if self.notify else "around_events"
            raise ValueError(f"{what} needs [[rigs.events]], and there are none")
        for rule in self.events:
            if isinstance(rule, ObjectRule | WarmRule) and not self.objects:
                raise ValueError(f"event {rule.name} needs objects, and objects is false")
            if isinstance(rule, ObjectRule):
                self._check_objects_of(rule)
        return self

    def _check_objects_of(self, rule: ObjectRule) -> None:
        assert self.objects
        if rule.min_area < self.objects.min_area:
            raise ValueError(
                f"event {rule.name}: min_area {rule.min_area} is below that of the rig's objects, "
                f"{self.objects.min_area}: lower min_area of [rigs.objects] too"
            )
        known = self.objects.classes
        if known and (missing := [name for name in rule.classes if name not in known]):
            raise ValueError(
                f"event {rule.name}: {missing[0]} is not among the classes of [rigs.objects], "
                f"{', '.join(known)}"
            )

    @property
    def offset_ns(self) -> int | None:
        """The stated offset of the clocks; None: it is to be found."""
        return None if isinstance(self.offset_ms, str) else round(self.offset_ms * 1e6)

    def pair_options(self) -> PairOptions:
        """What every pair of this rig states."""
        stated = self.model_dump(include=set(CameraFields.model_fields), exclude_unset=True)
        objects = bool(self.objects)
        return PairOptions(
            stream=self.name,
            refine=self.refine,
            registration=self.registration,
            tint=self.tint,
            memory=self.memory,
            objects=objects,
            **stated,
        )

    def object_rules(self) -> ObjectRules:
        """What counts as an object."""
        objects = self.objects or ObjectSettings()
        return ObjectRules(objects.classes, objects.min_area, self._unknown_rules())

    def _unknown_rules(self) -> UnknownRules | None:
        """What counts as unknown, so that every `warm` event finds what it watches for."""
        warm = [rule for rule in self.events if isinstance(rule, WarmRule)]
        rules = [
            UnknownRules(each.contrast, max(1, each.min_area // 2), each.min_move / MOVE_S)
            for each in warm
        ]
        if self.objects and self.objects.unknown:
            rules.append(UnknownRules())
        return UnknownRules.loosest(rules) if rules else None


PACED = {"max_rate", "alone_after_s"}  # what only cameras and recordings at their pace heed


class LiveSettings(BaseModel):
    """All rigs of a process, and how recordings are read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rigs: Annotated[tuple[RigSettings, ...], Field(min_length=1, max_length=MAX_RIGS)]
    # Recordings: every pair is processed, as fast as possible, and the process ends with them.
    once: bool = False
    speed: float = Field(default=1.0, gt=0, le=1000)  # of recordings without `once`

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [rig.name for rig in self.rigs]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two rigs have the name {twice[0]}: state another name for one")
        return self

    @model_validator(mode="after")
    def _once_takes_every_pair(self) -> Self:
        stated = {name for rig in self.rigs for name in rig.model_fields_set & PACED}
        if self.speed != 1:
            stated.add("speed")
        if self.once and stated:
            what = min(stated)
            raise ValueError(f"{what} has no effect with --once, which takes every pair: leave out")
        return self

    @model_validator(mode="after")
    def _outputs_differ(self) -> Self:
        """
        No two sinks write to one folder of pictures, to one file, one stream or one topic.

        Pictures are named by their stamps: those of two recordings may begin at 0. Of one file,
        the sink that comes second would write another, and nothing would say which is whose.
        """
        owners: dict[tuple[str, str], str] = {}
        for rig in self.rigs:
            for sink in (*rig.sinks, *rig.notify):
                for target, name, shares in _claimed(sink, rig.name):
                    if owner := owners.get(target):
                        who = f"{owner} and {rig.name}" if owner != rig.name else f"two of {owner}"
                        raise ValueError(f"{who} {shares}, {name}: name another for one")
                    owners[target] = rig.name
        return self

    @model_validator(mode="after")
    def _frames_in_ros_differ(self) -> Self:
        """Rigs name their cameras' frames differently, or one's transform would hold for both."""
        owners: dict[str, str] = {}
        for rig in self.rigs:
            if any(isinstance(sink, RosSettings) for sink in rig.sinks):
                name = topic_name(rig.name)
                if (owner := owners.setdefault(name, rig.name)) != rig.name:
                    raise ValueError(
                        f"{owner} and {rig.name} give their frames one name in ROS 2, "
                        f"{name}_visible: state another name for one"
                    )
        return self


def _claimed(
    sink: SinkSettings | NotifierSettings, rig: str
) -> Iterator[tuple[tuple[str, str], str, str]]:
    """What is one sink's alone, how to show it, and what two of them would do."""
    match sink:
        case ImagesSettings() | CollectSettings():
            target = sink.kind, os.path.realpath(sink.path)
            yield target, shown(sink.path), "write pictures to one folder"
        case VideoSettings() | McapSettings() | JsonlSettings() if sink.path.suffix in SUFFIXES:
            yield ("file", os.path.realpath(sink.path)), shown(sink.path), "record to one file"
        case StreamSettings():
            url = sink.url.get_secret_value()
            yield ("stream", url), masked(url), "send to one address"
        case RosSettings():
            # What is sent once is the same from both, or of a rig by its frames.
            for topic in sink.topics:
                if (type := type_of(topic, sink.images)) not in LATCHED:
                    name = published(f"{sink.namespace or namespace_of(rig)}/{topic}", type)
                    yield ("topic", name), name, "publish one topic of ROS 2"
    # Recordings in a folder have the rig's name.
