"""What the labels of a whole set show, and what keeps a network from learning from them."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmif.classes import IGNORE, Taxonomy
from segmif.folders import listed

Counts = NDArray[np.int64]  # (256,) pixels of each class id, IGNORE for those without a class


@dataclass(frozen=True)
class LabelFacts:
    """The pixels of all labels together."""

    taxonomy: Taxonomy
    pixels: Counts
    unknown: int = 0  # pixels among those of IGNORE whose code stands for no class

    @property
    def void(self) -> float:
        """Share of the pixels that nobody labelled, 0..1."""
        return float((self.pixels[IGNORE] - self.unknown) / max(int(self.pixels.sum()), 1))

    @property
    def known(self) -> int:
        """Pixels that have a class."""
        return int(self.pixels[: len(self.taxonomy.names)].sum())

    @property
    def fault(self) -> str | None:
        """Why nothing can be learnt from these labels, and what to do; None if it can."""
        names, background = self.taxonomy.names, self.taxonomy.background
        objects = np.delete(self.pixels[: len(names)], background)
        if not self.pixels.any() or objects.any():
            return None
        others = ", ".join(name for id_, name in enumerate(names) if id_ != background)
        alone = f"shows anything but {names[background]} (id {background})"
        what = alone if self.pixels[background] else "has a class"
        share = f"{self.void:.1%} of the pixels are {IGNORE}, which means not labelled"
        hint = (
            f" Is {IGNORE} your foreground? Then say so in dataset.toml: the class has "
            f"codes = [{IGNORE}]"
        )
        return (
            f"No pixel of the labels {what}, so nothing of {others} can be learnt; {share}"
            f"{f'.{hint}' if self.void else ''}"
        )


def counted_from_one(unknown: Collection[object], taxonomy: Taxonomy, background: int) -> str:
    """A sentence if ids seem to be counted from 1: none is 0, and one is too high by one."""
    if background or set(unknown) != {len(taxonomy.names)}:
        return ""
    return (
        "The ids seem to be counted from 1: subtract 1, or say so in dataset.toml: the first class "
        "has codes = [1], and so on"
    )


def depth_notes(depths: Mapping[str, Counter[int]]) -> list[str]:
    """A sentence on each sensor whose files differ in the bits of a sample."""
    counted = {
        part: listed(f"{count} have {bits} bit" for bits, count in sorted(of.items()))
        for part, of in depths.items()
        if len(of) > 1
    }
    return [
        f"The {part} files differ in depth: {counts}. Perhaps they are of two recordings, whose "
        "gains differ: keep one depth, or go on knowing it."
        for part, counts in counted.items()
    ]
