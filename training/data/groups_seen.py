"""
Which groups of `folds.toml` weights learnt from: by themselves, their start or their teachers.

A manifest notes it under `training` as `groups_seen`. Earlier releases noted only the settings of
the last run, so of what weights descend from nothing is known.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .folds import NUMBERED, read_folds

ENTRY = "groups_seen"
# MFNet's and MSRS's names, in a set of any kind; _flip is of mirrored copies that a script makes
NAME = re.compile(r"(?:.*/)?(\d+[DN])(?:_flip)?")
DESCENT = ("start", "teachers", "finish_alone", "adapted", "calibration", "mean_of")


@dataclass(frozen=True)
class GroupsSeen:
    """Numbers of groups, in order."""

    groups: tuple[int, ...] = ()
    complete: bool = True  # False if something that weights descend from does not say what it saw

    def __or__(self, other: "GroupsSeen") -> "GroupsSeen":
        groups = tuple(sorted({*self.groups, *other.groups}))
        return GroupsSeen(groups, self.complete and other.complete)

    def entry(self) -> dict[str, object]:
        """As a manifest holds them under `training`."""
        return {ENTRY: {"groups": list(self.groups), "complete": self.complete}}


def of_names(names: Iterable[str]) -> GroupsSeen:
    """The groups that frames of these names are of."""
    found = [each[1] for each in map(NAME.fullmatch, names) if each]
    groups = enumerate(read_folds(), 1)
    return GroupsSeen(tuple(number for number, group in groups if any(map(group.holds, found))))


def of_record(record: Mapping[str, Any]) -> GroupsSeen:
    """What the entry `training` of a manifest says, or what its settings imply if it is older."""
    noted = record.get(ENTRY)
    if isinstance(noted, Mapping):
        groups = _list(noted.get("groups"))
        numbers = tuple(each for each in groups if isinstance(each, int))
        return GroupsSeen(numbers, noted.get("complete") is True)
    complete = "leave_out" in record and not any(record.get(each) for each in DESCENT)
    seen = GroupsSeen(complete=complete)
    for run in (record, record.get("finish_alone")):
        seen |= GroupsSeen(_asked_for(run) if isinstance(run, Mapping) else ())
    return seen


def _asked_for(run: Mapping[str, Any]) -> tuple[int, ...]:
    """The groups that a run of an earlier release learnt from by its settings."""
    if _list(run.get("descends_from"))[:1] == ["rendered scenes"]:  # its own data comes first
        return ()
    data = [each for each in _list(run.get("data")) if isinstance(each, Mapping)]
    if not any(each.get("kind") in NUMBERED for each in data):
        return ()
    numbers = range(1, len(read_folds()) + 1)
    return tuple(number for number in numbers if number != run.get("leave_out"))


def _list(value: object) -> list[Any]:
    """The list that a manifest holds there; an empty one for anything else."""
    return value if isinstance(value, list) else []
