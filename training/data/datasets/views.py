"""A data set looked at otherwise: some of its moments, or each of them changed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

from segmif.classes import Taxonomy

from .frame import FrameSet, LabelledPair
from .pairs import PairSet


@dataclass(frozen=True)
class View:
    """Moments of another set, each read through `change`."""

    frames: FrameSet
    places: tuple[int, ...]
    change: Callable[[LabelledPair], LabelledPair] | None = None

    @property
    def name(self) -> str:
        return self.frames.name

    @property
    def taxonomy(self) -> Taxonomy | None:
        return self.frames.taxonomy

    @property
    def names(self) -> Sequence[str]:
        return tuple(self.frames.names[place] for place in self.places)

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
    """The moments whose name fits one of the shell patterns; ValueError if none does."""
    names = frames.names
    places = [i for i, name in enumerate(names) if any(fnmatch(name, p) for p in patterns)]
    if not places:
        raise ValueError(
            f"no moment of {frames.name} fits {', '.join(patterns)}; the first is {names[0]}"
        )
    return View(frames, tuple(places))


def changed(frames: FrameSet, change: Callable[[LabelledPair], LabelledPair]) -> FrameSet:
    """All moments, each as `change` gives it."""
    return View(frames, tuple(range(len(frames.names))), change)
