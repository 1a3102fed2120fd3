"""Names of the sinks and notifiers of a rig, of which metrics and errors need each once."""

from collections.abc import Iterable
from typing import Protocol


class Named(Protocol):
    """What has a name for logs and metrics."""

    name: str


def tell_apart(each: Iterable[Named]) -> None:
    """Add a number to names that came before: two webhooks of one host share theirs."""
    taken: set[str] = set()
    for one in each:
        plain, number = one.name, 1
        while one.name in taken:
            number += 1
            one.name = f"{plain} #{number}"
        taken.add(one.name)
