"""Two pieces of work that whoever has a thread to spare may do side by side."""

from collections.abc import Callable
from typing import Protocol, TypeVar

First = TypeVar("First")
Second = TypeVar("Second")


class Both(Protocol):
    """Calls two functions, perhaps at the same time."""

    def __call__(
        self, first: Callable[[], First], second: Callable[[], Second], /
    ) -> tuple[First, Second]:
        """Give what both gave; raises what either raised."""


def in_turn(first: Callable[[], First], second: Callable[[], Second], /) -> tuple[First, Second]:
    """Call one function after the other."""
    return first(), second()
