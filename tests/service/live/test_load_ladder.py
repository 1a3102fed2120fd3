"""A rig that is too slow gives up rate, then size, and takes them back."""

from collections.abc import Iterator

from service.live.load_ladder import LEVELS, WINDOW_S, LoadLadder

PAIRS_A_SECOND = 10


class Machine:
    """Runs a ladder against a machine that has room for `capacity` full pairs a second."""

    def __init__(self, capacity: float) -> None:
        self.capacity, self.now = capacity, 0.0
        self.ladder = LoadLadder(lambda: self.now)
        self._late, self._busy_s = 0.0, 0.0

    def run(self, seconds: float) -> list[str]:
        return list(dict.fromkeys(self._levels(seconds)))

    def _levels(self, seconds: float) -> Iterator[str]:
        for _ in range(round(seconds * PAIRS_A_SECOND)):
            self.now += 1 / PAIRS_A_SECOND
            self.ladder.decide(round(self._late), self._busy_s)
            if self.ladder.takes():
                work = (0.25 if self.ladder.level.half_size else 1) / self.capacity
                share = self.ladder.level.every / PAIRS_A_SECOND
                self._late += max(0, 1 - share / work)
                self._busy_s += min(work, share)
            yield self.ladder.level.name


def test_a_machine_with_room_keeps_the_full_rate() -> None:
    assert Machine(capacity=20).run(300) == ["full rate"]


def test_a_slow_machine_gives_up_rate_then_size() -> None:
    machine = Machine(capacity=0.5)
    assert machine.run(60) == [level.name for level in LEVELS]


def test_a_machine_that_recovers_gets_the_full_rate_back() -> None:
    machine = Machine(capacity=3)
    machine.run(60)
    assert machine.ladder.place > 0
    machine.capacity = 40
    machine.run(120)
    assert machine.ladder.level.name == "full rate"


def test_a_level_that_failed_is_tried_ever_less() -> None:
    machine = Machine(capacity=6)  # too slow for the full rate, idle at half rate
    changes = 0
    for _ in range(40):
        before = machine.ladder.place
        machine.run(WINDOW_S)
        changes += machine.ladder.place != before
    later = sum(len(machine.run(60)) - 1 for _ in range(5))
    assert changes >= 1
    assert later <= 12
