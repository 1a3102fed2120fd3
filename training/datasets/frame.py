"""One moment: what both sensors saw and what it shows."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Light = Literal["day", "night"]


@dataclass(frozen=True)
class Labelled:
    """A pair with what it shows."""

    name: str
    visible: NDArray[np.uint8]  # (H, W, 3) RGB
    infrared: NDArray[np.uint8]  # (H, W)
    labels: NDArray[np.uint8]  # (H, W) class ids, IGNORE where nobody labelled
    light: Light | None = None  # None where the data set does not say
