"""Labelled and unlabelled pairs on disk, each benchmark's layout behind one door."""

from collections.abc import Sequence
from typing import Protocol

from segmif.classes import Taxonomy
from training.datasets.frame import Labelled as Labelled
from training.datasets.frame import Light as Light
from training.datasets.kinds import KINDS as KINDS
from training.datasets.kinds import open_set as open_set


class FrameSet(Protocol):
    """Moments on disk, read one by one; `len(names)` of them."""

    @property
    def name(self) -> str:
        """As tables print it: `mfnet/val`."""

    @property
    def taxonomy(self) -> Taxonomy | None:
        """What the label ids mean; None where nothing is labelled."""

    @property
    def names(self) -> Sequence[str]:
        """Name of each moment, unique, in a fixed order."""

    def read(self, index: int) -> Labelled:
        """
        Both frames and the labels of one moment (IGNORE everywhere where there are none).

        Raises ImageError or ValueError that names the file and says what is wrong with it.
        """
