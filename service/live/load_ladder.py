"""What a rig gives up when the machine is too slow for it: first its rate, then its size."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

WINDOW_S = 2.0  # between two decisions
LATE_SHARE = 0.1  # of the pairs that came, beyond which a step is gone down
IDLE_SHARE = 0.4  # of the time in work, below which twice the work fits
CALM_WINDOWS = 3  # in a row before a step is gone up
MOST_CALM_WINDOWS = 30  # the same after steps up that had to be taken back


@dataclass(frozen=True)
class Level:
    """How much of what comes is processed."""

    name: str
    every: int = 1  # nth pair is taken
    half_size: bool = False  # the network sees half the width and height


# Each has about half the work of the one before it.
LEVELS = (
    Level("full rate"),
    Level("half rate", 2),
    Level("quarter rate", 4),
    Level("half rate, half size", 2, half_size=True),
    Level("quarter rate, half size", 4, half_size=True),
)


class LoadLadder:
    """Goes down a level if pairs come late, and up again once there is room for twice the work."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self.place = 0  # in `LEVELS`
        self._calm, self._waits = 0, CALM_WINDOWS
        self._climbed = False  # the last change was a level up, which is not proved yet
        self._offered = 0
        self._since, self._starting = clock(), True
        self._late, self._busy_s = 0, 0.0

    @property
    def level(self) -> Level:
        """The level in force."""
        return LEVELS[self.place]

    def takes(self) -> bool:
        """Count a pair that came; gives whether it is to be processed."""
        self._offered += 1
        return (self._offered - 1) % self.level.every == 0

    def decide(self, late: int, busy_s: float) -> bool:
        """
        Go a level up or down if it is time to; gives whether the level changed.

        `late`: pairs that came too late, and `busy_s`: seconds in which one was in work, both since
        the start.
        """
        now = self._clock()
        if (passed_s := now - self._since) < WINDOW_S:
            return False
        if self._starting:  # the first pairs wait for threads, caches and the self-test
            self._starting, self._since, self._late, self._busy_s = False, now, late, busy_s
            self._offered = 0
            return False
        share = (late - self._late) / max(self._offered, 1)
        busy = (busy_s - self._busy_s) / passed_s
        self._since, self._late, self._busy_s, self._offered = now, late, busy_s, 0
        if share > LATE_SHARE:
            return self._go_down()
        self._calm = self._calm + 1 if busy < IDLE_SHARE else 0
        if self._climbed and self._calm >= CALM_WINDOWS:
            self._climbed, self._waits = False, CALM_WINDOWS  # the level proved right
        if not self.place or self._calm < self._waits:
            return False
        self._calm, self._climbed = 0, True
        self.place -= 1
        return True

    def _go_down(self) -> bool:
        if self._climbed:  # too early: wait longer next time
            self._waits = min(2 * self._waits, MOST_CALM_WINDOWS)
        self._calm, self._climbed = 0, False
        if self.place == len(LEVELS) - 1:
            return False
        self.place += 1
        return True
