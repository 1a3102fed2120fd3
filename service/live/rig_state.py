"""The state of a rig, read from its parts."""

from ..schemas.events import NotifierState, ZoneState
from ..schemas.live_state import RigState, SinkState, SourceState
from .camera_reader import CameraReader
from .events.delivery import Delivery
from .pair_queue import PairQueue
from .rig_pipeline import RigPipeline


def rig_state(rig: RigPipeline) -> RigState:
    """How a rig fares."""
    condition = rig.last.result.prepared.condition if rig.last else None
    queue, cameras = rig.cameras.queue, rig.cameras.readers
    pairs = {**rig.outcomes, "late": queue.counts.late}
    skew_ns, latency_s = queue.skew_ns, rig.latency_s
    return RigState(
        name=rig.settings.name,
        rate=round(rig.rate, 2),
        latency_ms=None if latency_s is None else round(latency_s * 1000, 1),
        skew_ms=None if skew_ns is None else round(skew_ns / 1e6, 2),
        flags=list(condition.flags) if condition else [],
        flagged=dict(rig.flags),
        pairs=pairs,
        dropped=sum(pairs.values()) - pairs.get("ok", 0),
        level=rig.ladder.level.name,
        lone=rig.cameras.lone,
        error=rig.last_error,
        savable=rig.rig_file.savable,
        sources={part: _source_state(camera, queue) for part, camera in cameras.items()},
        sinks=[
            SinkState(
                name=thread.sink.name,
                dropped=thread.dropped,
                error=thread.error,
            )
            for thread in rig.sinks
        ],
        zones=[ZoneState(**zone.model_dump()) for zone in rig.events.zones],
        events=list(rig.events.recent),
        notify=[_notifier_state(delivery) for delivery in rig.events.deliveries],
    )


def summary(state: RigState) -> str:
    """What became of a rig's pairs, in a sentence."""
    parts = [", ".join(f"{count} {what}" for what, count in sorted(state.pairs.items())) or "none"]
    if state.flagged:
        parts.append("flagged: " + ", ".join(f"{n} {flag}" for flag, n in state.flagged.items()))
    unpaired = ", ".join(f"{s.unpaired} {part}" for part, s in state.sources.items() if s.unpaired)
    if unpaired:
        parts.append(f"without a partner: {unpaired}")
    for part, source in state.sources.items():
        for what in ("damaged", "dropped"):
            if count := getattr(source, what):
                parts.append(f"{part}: {count} {what}")
    parts += [f"{sink.name}: {sink.dropped} dropped" for sink in state.sinks if sink.dropped]
    return f"pairs: {'; '.join(parts)}"


def _notifier_state(delivery: Delivery) -> NotifierState:
    return NotifierState(
        name=delivery.name,
        sent=delivery.sent,
        retried=delivery.retried,
        waiting=delivery.waiting,
        dropped=delivery.dropped,
        error=delivery.error,
    )


def _source_state(camera: CameraReader, queue: PairQueue) -> SourceState:
    return SourceState(
        address=camera.source.address,
        state=camera.state,
        rate=round(camera.rate, 2),
        frames=camera.frames,
        unpaired=queue.unpaired[camera.part],
        alone=queue.counts.alone[camera.part],
        dropped=camera.source.dropped,
        damaged=camera.source.damaged,
        reconnects=camera.reconnects,
        error=camera.error,
    )
