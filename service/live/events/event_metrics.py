"""Counters of events and of who is told of them, for Prometheus."""

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from .rig_events import RigEvents


def event_metrics(rigs: Mapping[str, RigEvents]) -> Iterator[Metric]:
    """The counters of rigs, by the names of the rigs."""
    events = CounterMetricFamily(
        "segmif_live_events",
        "Events by the name and kind of their rule; phase: start or end",
        labels=["rig", "event", "kind", "phase"],
    )
    deliveries = CounterMetricFamily(
        "segmif_live_event_deliveries",
        "Events handed to a notifier: sent, retried (a try that failed) or dropped",
        labels=["rig", "notifier", "outcome"],
    )
    waiting = GaugeMetricFamily(
        "segmif_live_events_waiting", "Events that are still to be sent", labels=["rig", "notifier"]
    )
    for name, rig in rigs.items():
        kinds = {rule.name: rule.kind for rule in rig.rules}
        for (event, phase), count in rig.counts.copy().items():
            events.add_metric([name, event, kinds[event], phase], count)
        for each in rig.deliveries:
            for outcome in ("sent", "retried", "dropped"):
                deliveries.add_metric([name, each.name, outcome], getattr(each, outcome))
            waiting.add_metric([name, each.name], each.waiting)
    yield from (events, deliveries, waiting)
