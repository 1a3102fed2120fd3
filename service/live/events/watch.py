"""Watches the results of a rig for the events of its rules."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from ...schemas.events import EndReason, Event
from ..live_result import LiveResult
from .detectors import Detector, detector_of
from .presence import Presence
from .rules import FaultRule, Rule, Zone
from .view import WHOLE_VIEW, Evidence, View

MOST_TRACKS = 32  # that an event lists


@dataclass
class _Case:
    """One rule in one zone, or for one fault, and what was seen of it."""

    presence: Presence
    id: str = ""
    first_ns: int = 0
    last_ns: int = 0
    area: int = 0
    box: tuple[int, int, int, int] | None = None
    celsius: float | None = None
    classes: dict[str, None] = field(default_factory=dict)  # in order of appearance
    tracks: dict[int, None] = field(default_factory=dict)

    def add(self, evidence: Evidence, stamp_ns: int, coldest: bool) -> None:
        """Note what a result shows."""
        if not self.id:
            self.id, self.first_ns = uuid4().hex, stamp_ns
        self.last_ns = stamp_ns
        if evidence.area > self.area or self.box is None:
            self.area, self.box = evidence.area, evidence.box
        if evidence.celsius is not None:
            extreme = min if coldest else max
            known = evidence.celsius if self.celsius is None else self.celsius
            self.celsius = extreme(known, evidence.celsius)
        self.classes.update(dict.fromkeys(evidence.classes))
        for track in evidence.tracks:
            if len(self.tracks) < MOST_TRACKS:
                self.tracks[track] = None

    def cleared(self) -> "_Case":
        """The same, without what was seen."""
        return _Case(self.presence)


@dataclass(frozen=True)
class _Watched:
    rule: Rule
    detector: Detector
    cases: dict[str, _Case] = field(default_factory=dict)  # by zone or fault

    @property
    def active(self) -> set[str]:
        return {key for key, case in self.cases.items() if case.presence.active}


class EventWatch:
    """
    Finds events in the results of one rig.

    Time is that of the stamps, so a recording has the same events at any speed. Only the loss of a
    camera is timed by this machine's clock: no result comes with it.
    """

    def __init__(self, rig: str, rules: Sequence[Rule], zones: Sequence[Zone]) -> None:
        self._rig = rig
        self._zones = {zone.name: zone for zone in zones}
        self._watched = [_Watched(rule, detector_of(rule)) for rule in rules]
        self._lost = [
            _Watched(rule, detector_of(rule))
            for rule in rules
            if isinstance(rule, FaultRule) and "lost" in rule.faults
        ]
        self._last: LiveResult | None = None

    @property
    def active(self) -> bool:
        """Whether an event goes on that results show."""
        return any(watched.active for watched in self._watched)

    def see(self, result: LiveResult) -> list[Event]:
        """Take a result; gives the events that start or end with it."""
        self._last = result
        view = View(result, self._zones)
        events: list[Event] = []
        for watched in self._watched:
            found = watched.detector.look(view, watched.active)
            events += self._judge(watched, found, result.stamp_ns, result)
        return events

    def see_cameras(self, lost: Mapping[str, bool]) -> list[Event]:
        """Take which cameras are lost now; gives the events that start or end with it."""
        # How long a camera is lost is timed by a clock that nobody sets.
        now_ns, passed_ns = time.time_ns(), time.monotonic_ns()
        found = {f"{part}_lost": Evidence() for part, is_lost in lost.items() if is_lost}
        events: list[Event] = []
        for watched in self._lost:
            events += self._judge(watched, found, now_ns, None, passed_ns)
        return events

    def stop(self, reason: EndReason) -> list[Event]:
        """End what results show; if the rig is closed, also what the cameras show."""
        events = list(self._stopped(self._watched, reason, self._last))
        if reason == "stopped":
            events += self._stopped(self._lost, reason, None)
        return events

    def longest_end_s(self) -> float:
        """The longest absence that ends an event of an active rule."""
        return max((each.rule.end_s for each in self._watched if each.active), default=0.0)

    def _judge(
        self,
        watched: _Watched,
        found: Mapping[str, Evidence],
        stamp_ns: int,
        result: LiveResult | None,
        passed_ns: int | None = None,
    ) -> Iterator[Event]:
        """`passed_ns` times the rule; None: the stamp does."""
        for key in watched.cases.keys() | found.keys():
            case = watched.cases.setdefault(key, _Case(Presence(watched.rule)))
            if evidence := found.get(key):
                case.add(evidence, stamp_ns, getattr(watched.rule, "below_c", None) is not None)
            timed_ns = stamp_ns if passed_ns is None else passed_ns
            change = case.presence.see(timed_ns, evidence is not None)
            if change:
                yield self._event(watched.rule, key, case, stamp_ns, change == "end", result)
            if not (case.presence.active or case.presence.pending):
                watched.cases[key] = case.cleared()

    def _stopped(
        self, everything: Iterable[_Watched], reason: EndReason, last: LiveResult | None
    ) -> Iterator[Event]:
        """`last`: the result that shows the end; without, it has this machine's time."""
        for watched in everything:
            for key in watched.active:
                case = watched.cases[key]
                case.presence.stop()
                stamp_ns = last.stamp_ns if last else time.time_ns()
                yield self._event(watched.rule, key, case, stamp_ns, True, last, reason)
                watched.cases[key] = case.cleared()

    def _event(
        self,
        rule: Rule,
        key: str,
        case: _Case,
        stamp_ns: int,
        ended: bool,
        result: LiveResult | None,
        reason: EndReason = "over",
    ) -> Event:
        condition = result.result.prepared.condition if result else None
        fault = isinstance(rule, FaultRule)
        return Event(
            id=case.id,
            phase="end" if ended else "start",
            rig=self._rig,
            name=rule.name,
            kind=rule.kind,
            zone=None if fault or key == WHOLE_VIEW else key,
            fault=key if fault else None,
            classes=tuple(case.classes),
            tracks=tuple(case.tracks),
            first_ns=case.first_ns,
            last_ns=case.last_ns,
            stamp_ns=stamp_ns,
            sent_ns=time.time_ns(),
            area=case.area,
            box=case.box,
            celsius=case.celsius,
            sensors=condition.sensors if condition else (),
            flags=condition.flags if condition else (),
            reason=reason if ended else None,
        )
