"""Counts of a 14/16-bit thermal sensor to the 8 bit that the network sees (gain control)."""

from dataclasses import dataclass
from typing import Literal

import cv2
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


Method = Literal["percentile", "fixed", "clahe"]


@dataclass(frozen=True)
class GainRule:
    """
    How counts become levels.

    `percentile` follows the scene, `fixed` shows the same counts alike for ever, and `clahe`
    evens out the contrast of each tile after `percentile`: most detail, no longer one scale.
    """

    method: Method = "percentile"
    window: Window | None = None  # of `fixed`
    smoothing: float = 0.0  # share of a stream's last window in the next, 0 to below 1
    clip_limit: float = 2.0  # of `clahe`: how much steeper than the whole frame's curve
    tiles: int = 8  # of `clahe`, in either direction

    def __post_init__(self) -> None:
        if (self.method == "fixed") != (self.window is not None):
            raise ValueError("a fixed gain needs the counts of black and white, no other has them")
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"the smoothing is {self.smoothing}, expected 0 to below 1")


def apply_gain(
    counts: NDArray[np.uint16], rule: GainRule, last: Window | None = None
) -> tuple[NDArray[np.uint8], Window]:
    """
    Bring counts (H, W) to levels, and say through which window: the `last` of the stream's next.

    Smoothing keeps a picture from flickering when something hot comes into view.
    """
    window = rule.window or smooth(percentile_window(counts), last, rule.smoothing)
    levels = to_8bit(counts, window)
    if rule.method == "clahe":
        equalizer = cv2.createCLAHE(rule.clip_limit, (rule.tiles, rule.tiles))
        levels = np.asarray(equalizer.apply(levels), np.uint8)
    return levels, window


def smooth(window: Window, last: Window | None, smoothing: float) -> Window:
    """Move from the last window towards the next; where they do not overlap, the scene is new."""
    if last is None or window.low >= last.high or window.high <= last.low:
        return window
    low, high = (
        smoothing * old + (1 - smoothing) * new
        for old, new in ((last.low, window.low), (last.high, window.high))
    )
    return Window(low, high)


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
