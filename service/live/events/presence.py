"""When a presence becomes an event, and when that is over."""

from typing import Literal

from .rules import FaultRule, ObjectRule, TemperatureRule, WarmRule

LONGEST_STEP_S = 1.0  # between two results: what a longer gap hides is no presence

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
        self._evidence_s = 0.0
        self._seen = False  # in the last result
        self._last_s: float | None = None  # time of the last result
        self._absent_since_s = 0.0
        self._quiet_until_s = -float("inf")

    @property
    def pending(self) -> bool:
        """Whether something was seen that has not become an event."""
        return not self.active and (self._seen or self._evidence_s > 0)

    def see(self, now_s: float, present: bool) -> Change | None:
        """Note whether it is present at a time in seconds; gives what begins or ends with it."""
        step_s = 0.0 if self._last_s is None else now_s - self._last_s
        if step_s < 0:  # the stamps began anew
            self._quiet_until_s = -float("inf")
            self._absent_since_s = min(self._absent_since_s, now_s)
        step_s = min(max(step_s, 0.0), LONGEST_STEP_S)
        before, self._seen, self._last_s = self._seen, present, now_s
        if self.active:
            return self._go_on(now_s, present)
        if now_s < self._quiet_until_s:
            self._seen = False
            return None
        if present and before:
            self._evidence_s += step_s
        elif not present:
            self._evidence_s = max(0.0, self._evidence_s - step_s)
        if not present or self._evidence_s < self._rule.start_s:
            return None
        self.active, self._absent_since_s = True, now_s
        return "start"

    def stop(self) -> None:
        """End an event at once."""
        self.active, self._evidence_s, self._seen = False, 0.0, False

    def _go_on(self, now_s: float, present: bool) -> Change | None:
        if present:
            self._absent_since_s = now_s
        elif now_s - self._absent_since_s >= self._rule.end_s:
            self.stop()
            self._quiet_until_s = now_s + self._rule.cooldown_s
            return "end"
        return None
