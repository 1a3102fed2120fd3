"""One pair: what both sensors saw and what it shows; a set of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from segmif.classes import Taxonomy

from .file_facts import Files

Light = Literal["day", "night"]


@dataclass(frozen=True)
class LabelledPair:
    """A pair with what it shows."""

    name: str
    visible: NDArray[np.uint8]  # (H, W, 3) RGB
    infrared: NDArray[np.uint8]  # (H, W)
    labels: NDArray[np.uint8]  # (H, W) class ids, IGNORE if nobody labelled
    light: Light | None = None  # None if the data set does not say
    files: Files = field(default_factory=dict)  # facts of their files


class FrameSet(Protocol):
    """Pairs on disk, read one by one; `len(names)` of them."""

    @property
    def name(self) -> str:
        """As tables print it: `mfnet/val`."""

    @property
    def taxonomy(self) -> Taxonomy | None:
        """What the label ids mean; None if nothing is labelled."""

    @property
    def names(self) -> Sequence[str]:
        """Name of each pair, unique, in a fixed order."""

    def read(self, index: int) -> LabelledPair:
        """
        Both frames and the labels of one pair (IGNORE everywhere if there are none).

        Raises ImageError or ValueError that names the file and says what is wrong with it.
        """
