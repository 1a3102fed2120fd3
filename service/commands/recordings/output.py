"""What the results of two recordings become: a file or a folder that a later run can go on with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from segmif.files import sync_folder

from ...live.live_result import LiveResult

PART = ".part"  # in the name of what is not whole yet
NEXT = ".next"  # of what is to replace it


class Output(Protocol):
    """Takes the results of a run, in their order."""

    target: Path  # the file, once it is whole, or the folder

    def usable(self, stamps: Sequence[int]) -> int:
        """How many of the pairs with these visible stamps [ns] an earlier run has left whole."""

    def go_on_behind(self, stamps: Sequence[int]) -> None:
        """Keep the results of these pairs alone; raises OSError or SinkError."""

    def write(self, result: LiveResult) -> None:
        """Add a result; raises UnfitSize for one of another size, OSError or SinkError."""

    def finish(self) -> None:
        """Have the disk hold the whole; raises OSError or SinkError."""

    def publish(self) -> bool:
        """Give the whole its name, if it has not got it yet; whether there is a whole."""

    def leave(self) -> None:
        """Close it as it is, for a later run."""


def part_of(target: Path, word: str = PART) -> Path:
    """The name of a file that is not whole yet; it can be played."""
    return target.with_name(f"{target.stem}{word}{target.suffix}")


def publish(part: Path, target: Path) -> bool:
    """Replace `target` by what is whole; gives whether it is there. Raises OSError."""
    if part.exists():
        part.replace(target)
        sync_folder(target.parent)
    return target.exists()
