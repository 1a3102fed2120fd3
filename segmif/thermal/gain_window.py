"""The window of counts that a picture shows, from the histogram of a thermal frame."""

from bisect import bisect_left
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

OBJECT_LEVELS = 0.24  # of all levels, reserved for objects far beyond the scene
FAR = 0.6  # of the scene's span: an object is far if its gap to the scene is larger
STEPS = 2000  # number of quantiles
SHARES = np.linspace(0, 1, STEPS + 1).clip(1e-9, 1 - 1e-9)
MOST_OBJECTS = 0.12  # of the pixels on either side
BRIDGE = 0.25  # of an object: the blurred edge within its gap
MOST_BRIDGE = 0.01  # of the pixels: the same
BEGINS = np.arange(round((1 - MOST_OBJECTS) * STEPS), STEPS - 2)  # quantiles of objects above
BRIDGES = np.clip((STEPS - BEGINS) * BRIDGE, 1, MOST_BRIDGE * STEPS).astype(int)
STRUCTURED = 12.0  # times the noise: a smaller span is a plain background, no scene
LEAST_SCENE = 8  # [counts]: the same
EXACT_FLOATS = 2**24  # beyond it a float of 32 bit counts no further


@dataclass(frozen=True)
class FarObjects:
    """Objects far above or below the rest of the scene."""

    near: float  # [counts] the nearest to the scene
    end: float  # [counts] shown as white (above) or black (below)
    levels: float = OBJECT_LEVELS  # share of all levels reserved for them


@dataclass(frozen=True)
class Window:
    """
    The counts shown as black (`low`) and as white (`high`); `high` > `low`.

    Objects far beyond it take some of the levels; the window gets the rest.
    """

    low: float  # [counts]
    high: float  # [counts]
    cold: FarObjects | None = None
    hot: FarObjects | None = None

    def __post_init__(self) -> None:
        if not self.high > self.low:
            raise ValueError(f"a window from {self.low} to {self.high} counts shows nothing")


def histogram_of(
    counts: NDArray[np.uint16], chosen: NDArray[np.uint8] | None = None
) -> NDArray[np.int64]:
    """How many of the counts (H, W), or of the chosen ones, have each of the 65,536 values."""
    histogram = np.zeros(2**16, np.int64)
    if counts.size >= EXACT_FLOATS:
        values = counts if chosen is None else counts[chosen > 0]
        return np.bincount(values.ravel(), minlength=histogram.size)
    if counts.size:  # OpenCV takes a third of the time, and less for a smaller range
        low, high = int(counts.min()), int(counts.max())
        found = cv2.calcHist([counts], [0], chosen, [high - low + 1], [low, high + 1])
        histogram[low : high + 1] = found.ravel()
    return histogram


def percentiles(
    histogram: NDArray[np.int64], low_percent: float = 1.0, high_percent: float = 99.0
) -> tuple[int, int]:
    """The counts with `low_percent` of the pixels below and 100 - `high_percent` above them."""
    first, occurring = _occurring(histogram)
    return _percentiles(first, np.cumsum(occurring), low_percent, high_percent)


def _percentiles(
    first: int, summed: NDArray[np.int64], low_percent: float = 1.0, high_percent: float = 99.0
) -> tuple[int, int]:
    percent = 100.0 / max(int(summed[-1]), 1)
    limits = max(low_percent, 1e-9), high_percent - 1e-9
    low, high = (bisect_left(summed, limit, key=lambda count: count * percent) for limit in limits)
    return first + low, first + high


def _occurring(histogram: NDArray[np.int64]) -> tuple[int, NDArray[np.int64]]:
    """The first count that occurs, and the part of the histogram from it to the last."""
    occurs = histogram != 0
    first, behind = int(occurs.argmax()), int(occurs[::-1].argmax())
    if not occurs[first]:
        return 0, histogram
    return first, histogram[first : histogram.size - behind]


def scene_window(histogram: NDArray[np.int64], noise: float) -> Window:
    """The window of a histogram; objects far from the scene lie beyond it."""
    first, occurring = _occurring(histogram)
    summed = np.cumsum(occurring)
    low, high = _percentiles(first, summed)
    plain = Window(float(low), float(max(high, low + 1)))
    if not summed[-1]:
        return plain
    quantiles = first + np.searchsorted(summed / summed[-1], SHARES).astype(np.float64)
    above, below = _gap(quantiles), _gap(-quantiles[::-1])
    middle = np.diff(quantiles[[round(MOST_OBJECTS * STEPS), -round(MOST_OBJECTS * STEPS)]])[0]
    if max(above[1] - above[0], below[1] - below[0]) <= FAR * middle:
        return plain  # the scene spans at least its middle part
    for hot, cold in ((above, below), (above, None), (None, below)):
        window = _between(histogram, hot, cold, quantiles)
        if window and window.high - window.low > max(STRUCTURED * noise, LEAST_SCENE):
            return window
    return plain


def _gap(quantiles: NDArray[np.float64]) -> tuple[float, float]:
    """The widest gap in the upper part of a distribution, from its last count to the next."""
    widest = int(np.argmax(quantiles[BEGINS] - quantiles[BEGINS - BRIDGES]))
    begin = int(BEGINS[widest])
    return float(quantiles[begin - BRIDGES[widest]]), float(quantiles[begin])


def _between(
    histogram: NDArray[np.int64],
    hot: tuple[float, float] | None,
    cold: tuple[float, float] | None,
    quantiles: NDArray[np.float64],
) -> Window | None:
    """The window of the counts between the gaps; None unless the gaps are wider."""
    first = 0 if cold is None else round(-cold[0])
    last = len(histogram) - 1 if hot is None else round(hot[0])
    if last <= first:
        return None
    low, high = percentiles(histogram[first : last + 1])
    low, high = first + low, first + max(high, low + 1)
    gaps = [gap[1] - gap[0] for gap in (hot, cold) if gap]
    if min(gaps) <= FAR * (high - low):
        return None
    return Window(
        float(low),
        float(high),
        FarObjects(-cold[1], float(quantiles[1])) if cold else None,
        FarObjects(hot[1], float(quantiles[-2])) if hot else None,
    )
