"""What the service counts, for Prometheus; every label has few values, none chosen by a client."""

from collections.abc import Callable
from functools import cache, partial

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from segmif.runtime import Runtime

from ..pipeline.pair_checks import Condition
from .hardware import Hardware

CONTENT_TYPE = CONTENT_TYPE_LATEST
STAGES_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
BATCHES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The counters of one service; a registry of its own lets several run in one process."""

    def __init__(self, runtime: Runtime) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.registry.register(Hardware())
        counter = partial(Counter, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)
        self.requests = counter(
            "segmif_requests",
            "Requests by route and outcome: ok, gone (client hung up), or the kind of the error",
            ["route", "outcome"],
        )
        self.stages = histogram(
            "segmif_stage_seconds",
            "Time of each stage of answered pairs",
            ["stage"],
            buckets=STAGES_S,
        )
        self._stage = cache(self.stages.labels)
        self.flags = counter(
            "segmif_flagged_pairs",
            "Pairs answered with a fault: skewed, or sensor and fault",
            ["flag"],
        )
        self.skew = histogram(
            "segmif_skew_seconds", "Time between the two frames of answered pairs", buckets=STAGES_S
        )
        self.batches = histogram(
            "segmif_batch_pairs", "Pairs that went through the network together", buckets=BATCHES
        )
        self.shadow_pairs = counter(
            "segmif_shadow_pairs",
            "Pairs for the candidate: compared, dropped (the network had no time), or failed",
            ["outcome"],
        )
        self.shadow_seconds = histogram(
            "segmif_shadow_seconds", "Time of the candidate for a pair", buckets=STAGES_S
        )
        self._lost = counter(
            "segmif_decoders_lost",
            "Processes that a frame has cost: crashed, overstayed, memory or deadline",
            ["reason"],
        )
        self._engine = Info("segmif_engine", "The network that answers", registry=self.registry)
        self.introduce(runtime)

    def introduce(self, runtime: Runtime) -> None:
        """Set the network that answers from now on."""
        self._engine.info(
            {
                "engine": runtime.name,
                "variant": runtime.manifest.variant,
                "precision": runtime.manifest.precision,
                "weights_sha256": runtime.manifest.sha256,
            }
        )

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Add a gauge that asks for its value when it is read, so that it cannot drift."""
        Gauge(f"segmif_{name}", text, registry=self.registry).set_function(value)

    def answered(self, stages_ms: dict[str, float], condition: Condition) -> None:
        """Note the stages and the condition of a pair that was answered."""
        for stage, ms in stages_ms.items():
            self._stage(stage).observe(ms / 1000)
        for flag in condition.flags:
            self.flags.labels(flag).inc()
        if condition.skew_ms is not None:
            self.skew.observe(abs(condition.skew_ms) / 1000)

    def lost(self, reason: str) -> None:
        """Count a process that decoded and was lost."""
        self._lost.labels(reason).inc()

    def refused(self, kind: str) -> None:
        """Count what never became a request."""
        self.requests.labels("none", kind).inc()

    def text(self) -> bytes:
        """Everything in the Prometheus text format."""
        return generate_latest(self.registry)
