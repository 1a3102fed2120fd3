"""A rig that is too slow gives up memory and objects, rate, then size, and takes them back."""

from collections.abc import Iterator

import pytest

from service.live.load_ladder import (
    MOST_CALM_WINDOWS,
    WINDOW_S,
    LoadLadder,
    Occupied,
    levels,
)

PAIRS_A_SECOND = 10
LEVELS = levels(memory=True, objects=True)


class Machine:
    """Runs a ladder against a machine by a clock of its own."""

    def __init__(self, network_s: float, extras_s: float = 0.0, others: float = 0.0) -> None:
        """`extras_s`: memory and objects; `others`: share of the network that others take."""
        self.network_s, self.extras_s, self.others = network_s, extras_s, others
        self.now, self.late, self.computed_s = 0.0, 0.0, 0.0
        self.ladder = LoadLadder(LEVELS, lambda: self.now)

    def run(self, seconds: float) -> list[str]:
        return list(dict.fromkeys(self._levels(seconds)))

    def _levels(self, seconds: float) -> Iterator[str]:
        for _ in range(round(seconds * PAIRS_A_SECOND)):
            self.now += 1 / PAIRS_A_SECOND
            all_s = self.computed_s + self.others * self.now
            self.ladder.decide(round(self.late), Occupied(all_s, self.computed_s))
            if self.ladder.takes():
                self._work()
            yield self.ladder.level.name

    def _work(self) -> None:
        level = self.ladder.level
        network_s = self.network_s * (0.25 if level.half_size else 1)
        needs_s = network_s / (1 - self.others) + self.extras_s * level.extras
        has_s = level.every / PAIRS_A_SECOND
        self.late += max(0, 1 - has_s / needs_s)
        self.computed_s += min(network_s, has_s)


def test_a_machine_with_room_keeps_the_full_rate() -> None:
    assert Machine(0.05).run(300) == ["full rate"]


def test_memory_and_objects_are_given_up_before_the_rate() -> None:
    machine = Machine(0.09, extras_s=0.03)
    assert machine.run(20) == ["full rate", "full rate, without memory and objects"]
    machine.extras_s = 0.005
    machine.run(60)
    assert machine.ladder.level.name == "full rate"


def test_a_slow_machine_gives_up_rate_then_size() -> None:
    machine = Machine(2)
    assert machine.run(60) == [level.name for level in LEVELS]
    assert LEVELS[-1].name == "quarter rate, half size, without memory and objects"


def test_a_machine_that_recovers_gets_the_full_rate_back() -> None:
    machine = Machine(0.3)
    machine.run(60)
    assert machine.ladder.place > 1
    machine.network_s = 0.08  # in work for most of the time, but in time at full rate
    machine.run(60)
    assert machine.ladder.level.name == "full rate"


def test_the_network_of_others_leaves_no_room_for_a_step_up() -> None:
    machine = Machine(0.05, others=0.6)
    machine.run(20)
    assert machine.ladder.level.every == 2
    place = machine.ladder.place
    assert len(machine.run(100)) == 1 and machine.ladder.place == place
    machine.others = 0.2
    machine.run(60)
    assert machine.ladder.level.name == "full rate"


def test_a_level_that_failed_is_tried_ever_less() -> None:
    machine = Machine(0.09, extras_s=0.03)  # only a try shows that memory is too much
    tries = []
    for _ in range(8):
        machine.run(100)
        before = machine.ladder.place
        tries.append(sum(len(machine.run(WINDOW_S)) - 1 for _ in range(50)))
    assert before == 1
    assert tries[0] > 0
    assert tries[-1] <= 2 * (100 / (MOST_CALM_WINDOWS * WINDOW_S) + 1)


@pytest.mark.parametrize(
    ("memory", "objects", "second"),
    [
        (True, False, "full rate, without memory"),
        (False, True, "full rate, without objects"),
        (False, False, "half rate"),
    ],
)
def test_only_what_a_rig_can_go_without_is_given_up(
    memory: bool, objects: bool, second: str
) -> None:
    assert levels(memory=memory, objects=objects)[1].name == second
