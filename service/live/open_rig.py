"""Opens and checks what the settings of a rig name: sources, rig file, sinks and notifiers."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from segmif.classes import Taxonomy
from segmif.sources.frame import Part, Source
from segmif.sources.open_source import is_one_source, local_path, open_source
from segmif.sources.options import SourceOptions
from segmif.sources.pacing import PlaybackClock
from segmif.spared_inputs import check_spared
from segmif.thermal.camera_profile import Cameras

from ..pipeline.align import RigAligner
from ..pipeline.pair_rules import PairRules
from ..pipeline.result_files import FOLDERS
from .events.delivery import Notifier
from .events.notify_settings import LinesSettings
from .events.open_notifiers import open_notifiers
from .events.rules import ObjectRule, TemperatureRule
from .rig_settings import LiveSettings, RigSettings
from .sample_source import SCHEME, SampleSource
from .sinks.collector import FILES
from .sinks.open_sinks import open_sinks
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
from .sinks.sink import Sink

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenRig:
    """The parts of a rig; sinks and notifiers are open, sources are not."""

    settings: RigSettings
    sources: Mapping[Part, Callable[[], Source]]
    sinks: Sequence[Sink]
    notifiers: Sequence[Notifier] = ()  # in the order of `settings.notify`
    clock: PlaybackClock | None = None  # of recordings; None: as fast as they are processed
    aligner: RigAligner | None = None  # None: as the service aligns

    def rules(self, service: PairRules, tolerance_ms: float) -> PairRules:
        """The rules for this rig's pairs: those of the service, with the rig's own file."""
        service = replace(service.paired_within(tolerance_ms), objects=self.settings.object_rules())
        if self.aligner is None:
            return service
        cameras = service.cameras.over(self.aligner.rig.frames)
        return replace(service, rig_aligner=self.aligner, cameras=cameras)


def open_rig(rig: RigSettings, live: LiveSettings) -> OpenRig:
    """Open a rig; raises as `check_rig`, and SinkError."""
    clock = None if live.once else PlaybackClock(live.speed)
    aligner = open_aligner(rig)
    cameras = aligner.rig if aligner else None
    sinks = open_sinks(rig.sinks, rig.name, cameras, lossless=live.once)
    try:
        notifiers = open_notifiers(rig.notify, rig.name)
    except BaseException:
        for sink in sinks:
            sink.close()
        raise
    return OpenRig(rig, openers(rig), sinks, notifiers, clock, aligner)


def check_rig(rig: RigSettings, live: LiveSettings, service: Cameras | None = None) -> None:
    """
    Raise ValueError, OSError or SinkError for a rig file, source or sink that cannot be.

    `service`: what the service's settings state of the cameras; None: that is not known yet.
    """
    if live.once and rig.offset_ms == "motion":
        raise ValueError(
            "--offset-ms motion is for cameras: with --once frames would be lost until the offset "
            "is found; state it in milliseconds"
        )
    sources = {part: open_it() for part, open_it in openers(rig).items()}
    _check_live(rig, live, sources)
    if is_one_source(rig.visible, rig.infrared):
        logger.warning("%s: both sources are %s", rig.name, sources["visible"].address)
    specs = (spec for each in live.rigs for spec in (each.visible, each.infrared))
    check_spared(_files_of((*rig.sinks, *_lines(rig))), filter(None, map(local_path, specs)))
    opened = open_rig(rig, live)
    for sink in opened.sinks:
        sink.close()
    for notifier in opened.notifiers:
        notifier.close()
    if service is not None:
        check_temperatures(rig, service)


def check_fit(rigs: Sequence[RigSettings], taxonomy: Taxonomy, service: Cameras) -> None:
    """
    Raise ValueError for a rig that needs what the network or the service's cameras do not have.

    Raises OSError or SourceError, too, if its rig file or source is gone that might say it.
    """
    for rig in rigs:
        check_classes(rig, taxonomy)
        check_temperatures(rig, service)


def _check_live(rig: RigSettings, live: LiveSettings, sources: Mapping[Part, Source]) -> None:
    """Raise ValueError if a source is live and the settings are for recordings."""
    for part, source in sources.items():
        if live.once and source.live:
            raise ValueError(f"--once is for recordings, and {part} {source.address} is live")
        if rig.offset_ms == "start" and source.live:
            raise ValueError(
                f"--offset-ms start is for recordings, and {part} {source.address} is live: its "
                "first frame may come at any time; state motion, or milliseconds"
            )


def check_temperatures(rig: RigSettings, service: Cameras) -> None:
    """Raise ValueError if an event needs temperatures and nothing states what the counts are."""
    rules = [rule for rule in rig.events if isinstance(rule, TemperatureRule)]
    cameras = rig.cameras().over(service)
    if not rules or cameras.infrared.kelvin_per_count is not None:
        return
    if aligner := open_aligner(rig):
        cameras = cameras.over(aligner.rig.frames)
        if cameras.infrared.kelvin_per_count is not None:
            return
    source = openers(rig)["infrared"]()
    if not source.live and (first := next(iter(source.frames()), None)):  # a recording may say it
        source.close()
        if first.profile.kelvin_per_count is not None:
            return
    raise ValueError(
        f"{rig.name}, event {rules[0].name} needs temperatures, and nothing states what the counts "
        f"of {source.address} are: state infrared_kelvin_per_count and infrared_kelvin_at_zero"
    )


def check_classes(rig: RigSettings, taxonomy: Taxonomy) -> None:
    """Raise ValueError for a class of objects or events that the network does not have."""
    named = [("objects", rig.objects.classes if rig.objects else ())]
    named += [
        (f"event {rule.name}", rule.classes) for rule in rig.events if isinstance(rule, ObjectRule)
    ]
    for place, classes in named:
        for name in classes:
            try:
                taxonomy.id_of(name)
            except ValueError as error:
                raise ValueError(f"{rig.name}, {place}: {error}") from None


def _lines(rig: RigSettings) -> list[JsonlSettings]:
    return [each for each in rig.notify if isinstance(each, LinesSettings)]


def _files_of(sinks: Sequence[SinkSettings]) -> Iterator[Path]:
    """What sinks write: files, and folders in which they replace or delete files."""
    for sink in sinks:
        if isinstance(sink, CollectSettings):
            yield from (sink.path / part for part in FILES)
        elif isinstance(sink, ImagesSettings):
            yield from (sink.path / name for name in (*FOLDERS, "overlay"))
        elif not isinstance(sink, StreamSettings | RosSettings) and _replaces(sink):
            yield sink.path


def _replaces(sink: VideoSettings | McapSettings | JsonlSettings) -> bool:
    return bool(sink.path.suffix in SUFFIXES or sink.keep_gb or sink.keep_days)


def open_aligner(rig: RigSettings) -> RigAligner | None:
    """The rig's own file, if it has one; raises as `RigAligner`."""
    return RigAligner(rig.rig, rig.depth_m) if rig.rig else None


def openers(rig: RigSettings) -> dict[Part, Callable[[], Source]]:
    """What opens the source of each camera; it raises SourceError."""
    return {
        "visible": partial(_opened, rig.visible, "visible", rig.visible_options),
        "infrared": partial(_opened, rig.infrared, "infrared", rig.infrared_options),
    }


def _opened(spec: str, part: Part, options: SourceOptions) -> Source:
    if spec.startswith(SCHEME):
        return SampleSource(spec.removeprefix(SCHEME), part)
    return open_source(spec, part, options)
