"""When a presence becomes an event, and when that is over."""

from typing import Literal

from .rules import FaultRule, ObjectRule, TemperatureRule, WarmRule

SECOND_NS = 10**9
LONGEST_STEP_NS = SECOND_NS  # between two results: what a longer gap hides is no presence

Change = Literal["start", "end"]


class Presence:
    """
    The state of one rule in one zone.

    Seconds of presence add up and seconds of absence are taken off, so that a label that flickers
    delays a start and does not prevent it. `start_s` of them start an event. `end_s` without
    presence end it, and in the `cooldown_s` that follow nothing adds up.
    """

    def __init__(self, rule: ObjectRule | WarmRule | TemperatureRule | FaultRule) -> None:
        self._rule = rule
        self.active = False
        self._evidence_ns = 0
        self._seen = False  # in the last result
        self._last_ns: int | None = None  # time of the last result
        self._absent_since_ns = 0
        self._quiet_until_ns: int | None = None

    @property
    def pending(self) -> bool:
        """Whether something was seen that has not become an event."""
        return not self.active and (self._seen or self._evidence_ns > 0)

    def see(self, now_ns: int, present: bool) -> Change | None:
        """Note whether it is present at a time; gives what begins or ends with it."""
        step_ns = 0 if self._last_ns is None else now_ns - self._last_ns
        if step_ns < 0:  # the stamps began anew
            self._quiet_until_ns = None
            self._absent_since_ns = min(self._absent_since_ns, now_ns)
        step_ns = min(max(step_ns, 0), LONGEST_STEP_NS)
        before, self._seen, self._last_ns = self._seen, present, now_ns
        if self.active:
            return self._go_on(now_ns, present)
        if self._quiet_until_ns is not None and now_ns < self._quiet_until_ns:
            self._seen = False
            return None
        if present and before:
            self._evidence_ns += step_ns
        elif not present:
            self._evidence_ns = max(0, self._evidence_ns - step_ns)
        if not present or self._evidence_ns < self._rule.start_s * SECOND_NS:
            return None
        self.active, self._absent_since_ns = True, now_ns
        return "start"

    def stop(self) -> None:
        """End an event at once."""
        self.active, self._evidence_ns, self._seen = False, 0, False

    def _go_on(self, now_ns: int, present: bool) -> Change | None:
        if present:
            self._absent_since_ns = now_ns
        elif now_ns - self._absent_since_ns >= self._rule.end_s * SECOND_NS:
            self.stop()
            self._quiet_until_ns = now_ns + round(self._rule.cooldown_s * SECOND_NS)
            return "end"
        return None
