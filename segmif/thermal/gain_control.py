"""Gain control: counts of a 14- or 16-bit thermal sensor to the 8-bit levels of the network."""

from dataclasses import dataclass, replace
from typing import Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.thermal.camera_profile import CameraProfile
from segmif.thermal.gain_window import OBJECT_LEVELS, FarObjects, scene_window
from segmif.thermal.gain_window import Window as Window
from segmif.thermal.invalid_counts import Mask, Validity, find_invalid, find_invalid_levels

OBJECT_SLOPE = 0.06  # of all levels, for contrast within far objects
FILL_SIDE = 5  # [px]
JUMP = 0.1  # of the span: both ends move more than that at a change of scene


Method = Literal["percentile", "fixed", "clahe"]


@dataclass(frozen=True)
class GainRule:
    """
    The rule from counts to levels.

    `percentile` follows the scene. `fixed` always shows a count as the same level. `clahe`
    equalizes each tile after `percentile`: most detail, but no common scale.
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


@dataclass(frozen=True)
class GainState:
    """The state of a stream's gain between two frames."""

    window: Window
    jumped: Window | None = None  # of the last frame, if it differed from `window`


@dataclass(frozen=True)
class Levels:
    """An infrared frame as the network sees it, and its gain."""

    pixels: NDArray[np.uint8]  # (H, W) white hot
    window: Window | None  # None: an 8-bit frame
    state: GainState | None  # for the next frame of the stream
    invalid_share: float = 0.0  # of the pixels, which were filled


def apply_gain(
    counts: NDArray[np.uint16],
    rule: GainRule,
    last: GainState | None = None,
    profile: CameraProfile = CameraProfile(),  # noqa: B008  frozen
    validity: Validity | None = None,
) -> Levels:
    """
    Counts (H, W) to levels; `validity` is the result of `find_invalid`, if it is known already.

    Smoothing prevents flicker when a hot object enters the view.
    """
    valid = validity or find_invalid(counts, profile)
    if rule.window:
        window, state = rule.window, last
    else:
        window, state = next_window(
            scene_window(valid.histogram, valid.noise), last, rule.smoothing
        )
    levels = _shown(to_8bit(counts, window), profile, valid)
    if rule.method == "clahe":
        equalizer = cv2.createCLAHE(rule.clip_limit, (rule.tiles, rule.tiles))
        levels = np.asarray(equalizer.apply(levels), np.uint8)
    return Levels(levels, window, state, valid.share)


def show_levels(
    levels: NDArray[np.uint8],
    profile: CameraProfile = CameraProfile(),  # noqa: B008  frozen
    validity: Validity | None = None,
) -> Levels:
    """The same for an 8-bit frame: levels stay, except for polarity and invalid values."""
    valid = validity or find_invalid_levels(levels, profile)
    return Levels(_shown(levels, profile, valid), None, None, valid.share)


def _shown(levels: NDArray[np.uint8], profile: CameraProfile, valid: Validity) -> NDArray[np.uint8]:
    if profile.polarity == "black_hot":
        levels = cast(NDArray[np.uint8], cv2.bitwise_not(levels))
    return levels if valid.invalid is None else fill(levels, valid.invalid)


def next_window(
    window: Window, last: GainState | None, smoothing: float
) -> tuple[Window, GainState]:
    """
    The window to show, and the state for the next frame.

    A change of scene is shown at once. It enters the state when the next frame confirms it, so a
    single odd frame changes nothing.
    """
    if last is None:
        return window, GainState(window)
    if not jumps(window, last.window):
        shown = smooth(window, last.window, smoothing)
        return shown, GainState(shown)
    if last.jumped and not jumps(window, last.jumped):
        return window, GainState(window)
    return window, GainState(last.window, window)


def jumps(window: Window, last: Window) -> bool:
    """Whether both ends of the window moved by more than a tenth of its span."""
    limit = JUMP * min(window.high - window.low, last.high - last.low)
    return abs(window.low - last.low) > limit and abs(window.high - last.high) > limit


def smooth(window: Window, last: Window, smoothing: float) -> Window:
    """Exponential smoothing from the last window to the next."""
    low, high = (
        smoothing * old + (1 - smoothing) * new
        for old, new in ((last.low, window.low), (last.high, window.high))
    )
    cold = _smooth_far_objects(window.cold, last.cold, smoothing)
    return Window(low, high, cold, _smooth_far_objects(window.hot, last.hot, smoothing))


def _smooth_far_objects(
    new: FarObjects | None, old: FarObjects | None, smoothing: float
) -> FarObjects | None:
    known = new or old
    if known is None:
        return None
    before, after = (each.levels if each else 0.0 for each in (old, new))
    levels = smoothing * before + (1 - smoothing) * after
    return replace(known, levels=levels) if levels > 1 / 255 else None


def percentile_window(counts: NDArray[np.uint16]) -> Window:
    """
    The window from the 1st to the 99th percentile of the valid pixels.

    With the extremes, few odd pixels would darken the whole frame. A frame without contrast gets
    the narrowest window, one count wide.
    """
    valid = find_invalid(counts)
    return scene_window(valid.histogram, valid.noise)


def fill(levels: NDArray[np.uint8], invalid: Mask) -> NDArray[np.uint8]:
    """
    Fill invalid pixels (H, W) with the mean of valid ones within two pixels, else of all.

    Beside a black or white border the network misses persons.
    """
    valid = np.asarray(cv2.bitwise_not(invalid), np.uint8)
    side, at = (FILL_SIDE, FILL_SIDE), np.flatnonzero(invalid > 0)
    counted = cv2.boxFilter(valid & 1, cv2.CV_16U, side, normalize=False).ravel()[at]
    sums = cv2.boxFilter(levels & valid, cv2.CV_16U, side, normalize=False).ravel()[at]
    neutral = cv2.mean(levels, valid)[0]
    filled: NDArray[np.uint8] = levels.copy()
    means = np.where(counted > 0, sums / np.maximum(counted, 1), neutral)
    filled.ravel()[at] = means.astype(np.uint8)
    return filled


def to_8bit(counts: NDArray[np.uint16], window: Window) -> NDArray[np.uint8]:
    """Map counts (H, W) onto 0..255, `low` to 0 and `high` to 255, linearly between, clipped."""
    return cast(NDArray[np.uint8], cv2.LUT(counts, _table(window)))


def _table(window: Window) -> NDArray[np.uint8]:
    """One level per possible count: a look-up is faster than arithmetic on the frame."""
    every = np.arange(2**16, dtype=np.float32)
    if not (window.cold or window.hot):
        levels = (every - window.low) * (255.0 / (window.high - window.low))
    else:
        levels = np.interp(every, *_curve(window)).astype(np.float32)
    return np.asarray(np.rint(levels.clip(0, 255)), np.uint8)


def _curve(window: Window) -> tuple[list[float], list[float]]:
    """Counts, rising, and the level (0 to 255) of each."""
    black = window.cold.levels if window.cold else 0.0
    white = 1 - window.hot.levels if window.hot else 1.0
    counts, levels = [window.low, window.high], [black, white]
    slope = (white - black) / (window.high - window.low)
    if window.hot:
        near = max(window.hot.near, window.high + 1)
        end = max(window.hot.end, near)
        inner = min(slope * (end - near), OBJECT_SLOPE * window.hot.levels / OBJECT_LEVELS)
        counts += [near, end + 1]
        levels += [1 - max(inner, 0), 1.0]
    if window.cold:
        near = min(window.cold.near, window.low - 1)
        end = min(window.cold.end, near)
        inner = min(slope * (near - end), OBJECT_SLOPE * window.cold.levels / OBJECT_LEVELS)
        counts = [end - 1, near, *counts]
        levels = [0.0, max(inner, 0), *levels]
    return counts, [255 * level for level in levels]
