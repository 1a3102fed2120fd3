"""A data set looked at otherwise: some of its pairs, or each of them changed."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

from segmif.classes import Taxonomy
from segmif.folders import listed

from .frame import FrameSet, LabelledPair
from .pairs import PairSet

ESCAPED = re.compile(r"\[([*?[])\]")  # a character that stands for itself, by `glob.escape`


@dataclass(frozen=True)
class View:
    """Pairs of another set, each read through `change`."""

    frames: FrameSet
    places: tuple[int, ...]
    change: Callable[[LabelledPair], LabelledPair] | None = None

    @property
    def name(self) -> str:
        return self.frames.name

    @property
    def taxonomy(self) -> Taxonomy | None:
        return self.frames.taxonomy

    @cached_property
    def names(self) -> Sequence[str]:
        names = self.frames.names  # of a view of a view, each look would make them anew
        return tuple(names[place] for place in self.places)

    def read(self, index: int) -> LabelledPair:
        """As FrameSet says, changed."""
        frame = self.frames.read(self.places[index])
        return self.change(frame) if self.change else frame


def notes_of(frames: FrameSet) -> tuple[str, ...]:
    """Sentences on what there is to mind in a set, whatever view it is seen by."""
    while isinstance(frames, View):
        frames = frames.frames
    return (*frames.notes, *frames.assumptions) if isinstance(frames, PairSet) else ()


def only(frames: FrameSet, patterns: Sequence[str]) -> FrameSet:
    """The pairs whose name fits one of the shell patterns; ValueError if none does."""
    names = frames.names
    # Most are names, of which there may be thousands: each of them is looked up, not compared.
    wild = [pattern for pattern in patterns if re.search(r"[*?[]", ESCAPED.sub("", pattern))]
    whole = {ESCAPED.sub(r"\1", pattern) for pattern in set(patterns).difference(wild)}
    places = [
        i
        for i, name in enumerate(names)
        if name in whole or any(fnmatchcase(name, pattern) for pattern in wild)
    ]
    if not places:
        first = f"; the first is {names[0]}" if names else ""
        raise ValueError(f"no pair of {frames.name} fits {listed(patterns)}{first}")
    return View(frames, tuple(places))


def changed(frames: FrameSet, change: Callable[[LabelledPair], LabelledPair]) -> FrameSet:
    """All pairs, each as `change` gives it."""
    return View(frames, tuple(range(len(frames.names))), change)
