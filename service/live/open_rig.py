"""What a rig is made of, opened as its settings state it: sources, rules and sinks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from segmif.sources.frame import Part, Source
from segmif.sources.open_source import open_source

from ..pipeline.align import RigAligner
from ..pipeline.infer import PairRules
from .rig_settings import LiveSettings, RigSettings
from .sinks.open_sinks import open_sinks
from .sinks.sink import Sink


@dataclass(frozen=True)
class OpenRig:
    """A rig's parts."""

    settings: RigSettings
    sources: Mapping[Part, Source]
    sinks: Sequence[Sink]
    aligner: RigAligner | None = None  # None: as the service aligns

    def rules(self, service: PairRules) -> PairRules:
        """The rules for this rig's pairs: those of the service, with the rig's own file."""
        if self.aligner is None:
            return service
        cameras = service.cameras.over(self.aligner.rig.frames)
        return replace(service, rig_aligner=self.aligner, cameras=cameras)


def open_rig(rig: RigSettings, live: LiveSettings) -> OpenRig:
    """Open a rig; raises as `check_rig`, and SinkError."""
    sinks = open_sinks(rig.sinks, rig.name)
    return OpenRig(rig, open_sources(rig, live), sinks, open_aligner(rig))


def check_rig(rig: RigSettings, live: LiveSettings) -> None:
    """Raise ValueError or OSError for a rig file, a source or a sink that cannot be."""
    open_sources(rig, live)
    open_aligner(rig)


def open_aligner(rig: RigSettings) -> RigAligner | None:
    """The rig's own file, if it has one; raises as `RigAligner`."""
    return RigAligner(rig.rig, rig.depth_m) if rig.rig else None


def open_sources(rig: RigSettings, live: LiveSettings) -> dict[Part, Source]:
    """The sources of both cameras; nothing is read yet. Raises SourceError."""
    return {
        "visible": open_source(rig.visible, "visible"),
        "infrared": open_source(rig.infrared, "infrared"),
    }
