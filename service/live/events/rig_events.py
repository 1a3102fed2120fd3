"""The events of one rig: found in its results, kept for the page, handed to its notifiers."""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from threading import Lock
from time import monotonic

from ...schemas.events import Event
from ..live_result import LiveResult
from .delivery import Delivery, Notifier
from .notify_settings import NotifierSettings
from .rules import ObjectRule, Rule, TemperatureRule, WarmRule, Zone
from .view import View
from .watch import EventWatch

RECENT = 20  # events that the page lists
TICK_S = 0.5  # between two looks at the cameras
CLOSE_S = 8.0  # for what notifiers still have to send, when the rig is closed
PATIENCE_S = 5.0  # without a result, after which an event is over

logger = logging.getLogger(__name__)


class RigEvents:
    """Watches the results and the cameras of a rig, and tells of its events."""

    def __init__(
        self,
        rig: str,
        rules: Sequence[Rule],
        zones: Sequence[Zone],
        notifiers: Iterable[tuple[Notifier, NotifierSettings]] = (),
        *,
        lossless: bool = False,
    ) -> None:
        """With `lossless` recordings no camera is taken for lost."""
        self.rules, self.zones = rules, zones
        self.recent: deque[Event] = deque(maxlen=RECENT)
        self.counts: Counter[tuple[str, str]] = Counter()  # by name and phase
        self.deliveries = [
            Delivery(notifier, settings.waiting, settings.give_up_s)
            for notifier, settings in notifiers
        ]
        self._watch = EventWatch(rig, rules, zones)
        self._rig, self._lossless = rig, lossless
        self._size: tuple[int, int] | None = None  # (H, W) of the view
        self._lock = Lock()  # results and cameras are looked at in two threads
        self._seen_s = monotonic()  # when the last result came

    @property
    def need_counts(self) -> bool:
        """Whether a rule reads infrared counts in the visible view."""
        return any(isinstance(rule, TemperatureRule) for rule in self.rules)

    @property
    def need_objects(self) -> bool:
        """Whether a rule reads the objects of a pair."""
        return any(isinstance(rule, ObjectRule | WarmRule) for rule in self.rules)

    @property
    def failed(self) -> bool:
        """Whether an event was lost on its way."""
        return any(delivery.dropped for delivery in self.deliveries)

    async def see(self, result: LiveResult) -> LiveResult:
        """Take a result; gives it with the events that start or end with it."""
        self._seen_s = monotonic()
        return await asyncio.to_thread(self._see, result) if self.rules else result

    def _see(self, result: LiveResult) -> LiveResult:
        with self._lock:
            before = self._watch.active
            try:
                self._check_zones(View(result, {zone.name: zone for zone in self.zones}))
                events = self._watch.see(result)
            except Exception:  # a fault of ours must not cost the result
                logger.exception("%s: events of pair %d", self._rig, result.sequence)
                return result
            self._tell(events)
            in_event = before or self._watch.active or bool(events)
        return replace(result, events=tuple(events), in_event=in_event)

    def _check_zones(self, view: View) -> None:
        """Warn of zones without a pixel of the view, once for each size that it has."""
        if view.size == self._size:
            return
        self._size = height, width = view.size
        for name in view.zones:
            if not view.mask(name, view.size).any():
                words = "lies outside the view, so nothing happens in it: state its corners within"
                logger.warning("%s: zone %s %s %dx%d", self._rig, name, words, width, height)

    async def watch_cameras(self, lost: Callable[[], Mapping[str, bool]]) -> None:
        """Look at the cameras from time to time; never ends. `lost` says which are."""
        while self.rules and not self._lossless:
            await asyncio.sleep(TICK_S)
            await asyncio.to_thread(self._tick, lost())

    def _tick(self, lost: Mapping[str, bool]) -> None:
        with self._lock:
            self._tell(self._watch.see_cameras(lost))
            patience_s = max(PATIENCE_S, self._watch.longest_end_s())
            if self._watch.active and monotonic() - self._seen_s > patience_s:
                self._tell(self._watch.stop("no_results"))

    def close(self) -> bool:
        """End all events and send what waits; gives whether all arrived."""
        with self._lock:
            self._tell(self._watch.stop("stopped"))
        for delivery in self.deliveries:
            delivery.begin_to_close(CLOSE_S)
        arrived = [delivery.closed() for delivery in self.deliveries]
        return all(arrived)

    def _tell(self, events: Iterable[Event]) -> None:
        for event in events:
            logger.info("%s: %s", self._rig, sentence(event))
            self.recent.append(event)
            self.counts[event.name, event.phase] += 1
            for delivery in self.deliveries:
                delivery.put(event)


def sentence(event: Event) -> str:
    """An event in words."""
    place = event.zone or event.fault
    where = f" in {event.zone}" if event.zone else f" ({place})" if place else ""
    what = f": {', '.join(event.classes)}" if event.classes else ""
    return f"event {event.name}{where} {event.phase}s{what}"
