"""What a rig gives up when the machine is too slow: memory and objects, then rate, then size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

WINDOW_S = 2.0  # between two decisions
LATE_SHARE = 0.1  # of the pairs that its level takes, beyond which a step is gone down
MOST_OCCUPIED = 0.9  # of the time, by the network, that a step up may lead to
CALM_WINDOWS = 3  # without a late pair, in a row, before a step is gone up
MOST_CALM_WINDOWS = 30  # the same after steps up that had to be taken back


@dataclass(frozen=True)
class Level:
    """How much of what comes is processed."""

    name: str
    every: int = 1  # one of so many pairs is taken
    half_size: bool = False  # the network sees half the width and height
    extras: bool = True  # temporal memory, and objects unless an event needs them

    @property
    def work(self) -> float:
        """The work of the network, as a share of that at full rate."""
        return (0.25 if self.half_size else 1.0) / self.every


FULL = Level("full rate")


def levels(*, memory: bool, objects: bool) -> tuple[Level, ...]:
    """The levels of a rig that can go without its temporal memory, its objects, both or neither."""
    spared = [name for name, is_spared in (("memory", memory), ("objects", objects)) if is_spared]
    without = f", without {' and '.join(spared)}" if spared else ""
    first = (Level(f"full rate{without}", extras=False),) if spared else ()
    # Each has half the work of the one before it.
    slower = (
        Level(f"half rate{without}", 2, extras=False),
        Level(f"quarter rate{without}", 4, extras=False),
        Level(f"half rate, half size{without}", 2, half_size=True, extras=False),
        Level(f"quarter rate, half size{without}", 4, half_size=True, extras=False),
    )
    return (FULL, *first, *slower)


@dataclass(frozen=True)
class Occupied:
    """Seconds in which the network computed, since the start."""

    all_s: float = 0.0
    own_s: float = 0.0  # of them for this rig


class LoadLadder:
    """Goes down a level if pairs come late, and up again once none do and the network has room."""

    def __init__(
        self, known: Sequence[Level] | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        """`known`: the levels, from the full rate down."""
        self._levels = known or levels(memory=True, objects=True)
        self._clock = clock
        self.place = 0  # in the levels, from 0: the full rate
        self._calm, self._waits = 0, CALM_WINDOWS
        self._climbed = False  # the last change was a level up, which is not proved yet
        self._offered = 0
        self._since, self._starting = clock(), True
        self._late, self._occupied = 0, Occupied()

    @property
    def level(self) -> Level:
        """The level in force."""
        return self._levels[self.place]

    def takes(self) -> bool:
        """Count a pair that came; gives whether it is to be processed."""
        self._offered += 1
        return (self._offered - 1) % self.level.every == 0

    def decide(self, late: int, occupied: Occupied) -> bool:
        """
        Go a level up or down if it is time to; gives whether the level changed.

        `late`: pairs that came too late since the start.
        """
        now = self._clock()
        if (passed_s := now - self._since) < WINDOW_S:
            return False
        wanted = max(self._offered / self.level.every, 1)
        before, late_share = self._occupied, (late - self._late) / wanted
        busy_share = (occupied.all_s - before.all_s) / passed_s
        own_share = (occupied.own_s - before.own_s) / passed_s
        self._since, self._late, self._occupied, self._offered = now, late, occupied, 0
        if self._starting:  # the first pairs wait for threads, caches and the self-test
            self._starting = False
            return False
        if late_share > LATE_SHARE:
            return self._go_down()
        self._calm = 0 if late_share else self._calm + 1
        if self._climbed and self._calm >= CALM_WINDOWS:
            self._climbed, self._waits = False, CALM_WINDOWS  # the level proved right
        if not self.place or self._calm < self._waits or not self._has_room(busy_share, own_share):
            return False
        self._calm, self._climbed = 0, True
        self.place -= 1
        return True

    def _has_room(self, busy_share: float, own_share: float) -> bool:
        """
        Whether the network can do the work of the level above; a try shows the rest.

        It computed for `busy_share` of the time since the last decision, for `own_share` for this
        rig.
        """
        more = self._levels[self.place - 1].work / self.level.work
        return more == 1 or busy_share + own_share * (more - 1) <= MOST_OCCUPIED

    def _go_down(self) -> bool:
        if self._climbed:  # too early: wait longer next time
            self._waits = min(2 * self._waits, MOST_CALM_WINDOWS)
        self._calm, self._climbed = 0, False
        if self.place == len(self._levels) - 1:
            return False
        self.place += 1
        return True
