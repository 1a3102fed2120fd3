"""A short, always equal run of every target of the fuzzer; `make fuzz` draws anew for longer."""

from collections.abc import Iterator

import pytest

from tests.hostile.fuzz import run, world
from tests.hostile.targets import TARGETS, World

EXAMPLES = {
    "socket": 15,
    "http": 60,
    "tensors": 40,
    "meta": 40,
    "rig": 60,
    "kalibr": 80,
    "opencv": 80,
}


@pytest.fixture(scope="module")
def where() -> Iterator[World]:
    with world() as made:
        yield made


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_accepted_is_as_its_header_says(where: World, name: str) -> None:
    assert run(name, where, EXAMPLES.get(name, 150), seeded=True) > 10
