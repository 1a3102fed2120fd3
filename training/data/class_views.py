"""A labelled set as seen with other classes: some of its own, or those of another taxonomy."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from segmif.classes import IGNORE, Taxonomy

from .datasets import FrameSet, LabelledPair
from .datasets.views import View


@dataclass(frozen=True)
class OfClasses(View):
    """Pairs of another set whose labels have the ids of other classes."""

    classes: Taxonomy | None = None

    @property
    def taxonomy(self) -> Taxonomy | None:
        return self.classes


def with_classes(frames: FrameSet, classes: Taxonomy) -> FrameSet:
    """A labelled set with these classes: ids by equal names, what has none is background."""
    assert frames.taxonomy is not None
    if frames.taxonomy == classes:
        return frames
    ids = ids_by_name(frames.taxonomy, classes)

    def change(frame: LabelledPair) -> LabelledPair:
        return replace(frame, labels=ids[frame.labels])

    return OfClasses(frames, tuple(range(len(frames.names))), change, classes)


def ids_by_name(theirs: Taxonomy, ours: Taxonomy) -> NDArray[np.uint8]:
    """Our id (256,) of each of their ids: of the class of the same name, else our background."""
    table = np.full(256, ours.background, np.uint8)
    table[IGNORE] = IGNORE
    for id_, name in enumerate(theirs.names):
        if name in ours.names and id_ != theirs.background:
            table[id_] = ours.names.index(name)
    return table


def chosen_classes(classes: Taxonomy, names: Sequence[str]) -> Taxonomy:
    """
    The background and the named classes alone, in this order; all others become background.

    Raises ValueError for a name that is none of the classes, or that stands twice.
    """
    if unknown := [name for name in names if name not in classes.names]:
        raise ValueError(
            f"--classes: {', '.join(unknown)} is none of the data's {', '.join(classes.names)}"
        )
    if len(set(names)) < len(names):
        raise ValueError(f"--classes {','.join(names)}: a name stands twice")
    background = classes.names[classes.background]
    kept = (background, *(name for name in names if name != background))
    colours = dict(zip(classes.names, classes.palette, strict=True))
    return Taxonomy(classes.name, kept, tuple(colours[name] for name in kept))
