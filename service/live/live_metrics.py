"""Counters of the rigs, for Prometheus; the operator chooses the rigs, so labels are few."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from segmif.sources.frame import Part

from .events.event_metrics import event_metrics

if TYPE_CHECKING:
    from .rig_pipeline import RigPipeline

LATENCY_S = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5, 1, 2, 5)


class LiveMetrics(Collector):
    """Reads the counters where the rigs keep them, so that they cannot drift."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._rigs: dict[str, RigPipeline] = {}
        self._latency = Histogram(
            "segmif_live_latency_seconds",
            "From the arrival of the visible frame to the result",
            ["rig"],
            buckets=LATENCY_S,
            registry=registry,
        )
        registry.register(self)

    def watch(self, rig: "RigPipeline") -> None:
        """Add a rig, or replace the one of its name."""
        self._rigs[rig.settings.name] = rig

    def forget(self, name: str) -> None:
        """Remove a rig."""
        self._rigs.pop(name, None)

    def delivered(self, rig: str, latency_s: float) -> None:
        """Note a result."""
        self._latency.labels(rig).observe(latency_s)

    def collect(self) -> Iterator[Metric]:
        """Give the counters of all rigs."""
        pairs = CounterMetricFamily(
            "segmif_live_pairs",
            "Pairs by outcome: ok, late (a newer one came), skipped, or the kind of the problem",
            labels=["rig", "outcome"],
        )
        connected = GaugeMetricFamily(
            "segmif_live_connected", "1 while a source gives frames", labels=["rig", "camera"]
        )
        flagged = CounterMetricFamily(
            "segmif_live_flagged_pairs", "Results with a fault", labels=["rig", "flag"]
        )
        level = GaugeMetricFamily(
            "segmif_live_level", "What the rig gives up to keep pace; 0: nothing", labels=["rig"]
        )
        dropped = CounterMetricFamily(
            "segmif_live_sink_dropped",
            "Results that a sink was too slow for, or could not write",
            labels=["rig", "sink"],
        )
        for name, rig in list(self._rigs.items()):
            late = rig.cameras.queue.counts.late
            for outcome, count in (rig.outcomes.copy() | {"late": late}).items():
                pairs.add_metric([name, outcome], count)
            for part, camera in rig.cameras.readers.items():
                connected.add_metric([name, part], camera.connected)
            for flag, count in rig.flags.copy().items():
                flagged.add_metric([name, flag], count)
            level.add_metric([name], rig.ladder.place)
            for sink in rig.sinks:
                dropped.add_metric([name, sink.sink.name], sink.dropped)
        yield from (pairs, flagged, connected, level, dropped)
        yield from _of_cameras(self._rigs)
        yield _moved(self._rigs)
        yield from event_metrics({name: rig.events for name, rig in list(self._rigs.items())})


# Counters of each camera, by the end of their names.
OF_CAMERAS: Mapping[str, tuple[str, Callable[["RigPipeline", Part], int]]] = {
    "frames": ("Frames that came", lambda rig, part: rig.cameras.readers[part].frames),
    "unpaired_frames": (
        "Frames that found no partner",
        lambda rig, part: rig.cameras.queue.unpaired[part],
    ),
    "alone_pairs": (
        "Pairs without the other camera, which gave nothing new",
        lambda rig, part: rig.cameras.queue.counts.alone[part],
    ),
    "dropped_frames": (
        "Frames that a source passed over: a newer one was there, or they came late",
        lambda rig, part: rig.cameras.readers[part].source.dropped,
    ),
    "damaged": (
        "Packets or files that could not be decoded",
        lambda rig, part: rig.cameras.readers[part].source.damaged,
    ),
    "reconnects": (
        "Times a source was lost",
        lambda rig, part: rig.cameras.readers[part].reconnects,
    ),
}


def _of_cameras(rigs: Mapping[str, "RigPipeline"]) -> Iterator[Metric]:
    for name, (says, count) in OF_CAMERAS.items():
        family = CounterMetricFamily(f"segmif_live_{name}", says, labels=["rig", "camera"])
        for rig_name, rig in list(rigs.items()):
            for part in rig.cameras.readers:
                family.add_metric([rig_name, part], count(rig, part))
        yield family


def _moved(rigs: Mapping[str, "RigPipeline"]) -> Metric:
    family = GaugeMetricFamily(
        "segmif_live_rig_moved",
        "1 while pairs show that the rig no longer stands as its file says",
        labels=["rig"],
    )
    for name, rig in list(rigs.items()):
        family.add_metric([name], rig.rig_file.moved)
    return family
