"""Counts of a 14/16-bit thermal sensor to the 8 bit that the network sees (gain control)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Window:
    """The counts shown as black (`low`) and as white (`high`); `high` > `low`."""

    low: float  # [counts]
    high: float  # [counts]

    def __post_init__(self) -> None:
        if not self.high > self.low:
            raise ValueError(f"a window from {self.low} to {self.high} counts shows nothing")


def percentile_window(
    counts: NDArray[np.uint16], low_percent: float = 1.0, high_percent: float = 99.0
) -> Window:
    """
    Choose the window with `low_percent` of the pixels below and 100 - `high_percent` above it.

    Percentiles, not the extremes, so that one dead pixel does not darken the whole frame.
    A frame without any contrast gets the narrowest window, one count wide.
    """
    if not 0 <= low_percent < high_percent <= 100:
        raise ValueError(f"percentiles {low_percent} and {high_percent} must rise within 0 to 100")
    shares = np.cumsum(np.bincount(counts.ravel(), minlength=2)) * (100.0 / counts.size)
    low, high = np.searchsorted(shares, [max(low_percent, 1e-9), high_percent - 1e-9])
    return Window(float(low), float(max(high, low + 1)))


def to_8bit(counts: NDArray[np.uint16], window: Window) -> NDArray[np.uint8]:
    """Map counts (H, W) linearly onto 0..255, `low` to 0 and `high` to 255, clipped."""
    scale = 255.0 / (window.high - window.low)
    # One entry per possible count: a look-up is several times faster than arithmetic on the frame.
    levels = (np.arange(2**16, dtype=np.float32) - window.low) * scale
    table: NDArray[np.uint8] = np.rint(levels.clip(0, 255)).astype(np.uint8)
    return table[counts]
