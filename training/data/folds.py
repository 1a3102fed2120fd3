"""
Which frames of MFNet and MSRS a fold trains on, and which it is evaluated on.

The groups stand in `training/data/folds.toml`, which says how they were chosen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tomli

from .datasets import FrameSet, only

FOLDS = Path(__file__).with_name("folds.toml")
NUMBERED = ("mfnet", "msrs", "boxed")  # kinds of data sets whose frames are named by these numbers


@dataclass(frozen=True)
class Group:
    """Blocks of frame numbers, (first, last) each, both included."""

    numbers: tuple[tuple[int, int], ...]

    def holds(self, name: str) -> bool:
        """Whether a frame such as `00101D` is of this group."""
        return any(first <= number_of(name) <= last for first, last in self.numbers)


def read_folds(path: Path = FOLDS) -> tuple[Group, ...]:
    """The groups, in the order of the file."""
    listed = tomli.loads(path.read_text(encoding="utf-8"))["groups"]
    return tuple(Group(tuple((first, last) for first, last in each["numbers"])) for each in listed)


def number_of(name: str) -> int:
    """The number of a frame; ValueError if its name does not begin with one, as MFNet's do."""
    digits = name[:-1]
    if not digits.isdecimal() or name[-1] not in "DN":
        raise ValueError(
            f"{name!r} is no frame of MFNet or MSRS: a name such as 00101D is expected"
        )
    return int(digits)


def trains(name: str, groups: Sequence[Group], fold: int) -> bool:
    """Whether a frame is trained on when the group `fold` (1 is the first) is left out."""
    return any(group.holds(name) for number, group in enumerate(groups, 1) if number != fold)


def without(frames: FrameSet, fold: int) -> FrameSet:
    """The frames of MFNet or MSRS that are trained on when the group `fold` is left out."""
    groups = read_folds()
    return only(frames, [name for name in frames.names if trains(name, groups, fold)])


def evaluates(name: str, groups: Sequence[Group], fold: int) -> bool:
    """Whether a frame is of the group `fold` (1 is the first), which is left out."""
    return any(group.holds(name) for number, group in enumerate(groups, 1) if number == fold)
