"""
What fusion metrics do not see: halos, noise lifted out of the dark, and flicker.

The definitions are ours, and plain on purpose. Levels are those of 8-bit luma; less is better.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.frames import FramePair, Prediction
from segmif.imaging.luma import luma

Luma = NDArray[np.uint8]  # (H, W)
Plane = NDArray[np.float32]  # (H, W)
Predict = Callable[[FramePair], Prediction]

HALO_WINDOW = 7  # [px] about the width of the rims that sharpening leaves
HALO_VISIBLE = 2  # [levels] what is further outside than this counts as halo

DARK = 50  # [levels] local mean of visible luma below which it is dark
FLAT = 12  # [levels] both sources stay within this over FLAT_WINDOW once smoothed
FLAT_WINDOW = 15  # [px]
SMOOTH_WINDOW = 5  # [px] what differs from the mean over it is taken as noise
LEAST_REGION = 0.01  # of the frame; a smaller dark flat region says nothing
ROUNDING = 12**-0.5  # [levels] deviation of the rounding to whole levels: no source has less noise

MARGIN = 16  # [px] left out on both sides of a shifted frame, where the border differs

DEFINITIONS = {
    "halo_p95": "95th percentile over a frame of the levels by which fused luma leaves the range "
    f"of both sources within {HALO_WINDOW}x{HALO_WINDOW} px; 0 inside it",
    "halo_share": f"share of the pixels that leave that range by more than {HALO_VISIBLE} levels; "
    "a frame that is lifted as a whole counts as well",
    "noise_gain": f"deviation of (frame - its {SMOOTH_WINDOW}x{SMOOTH_WINDOW} mean) in the fused "
    f"frame over that in the noisier source (at least {ROUNDING:.2f}, the rounding), where visible "
    f"is darker than {DARK} and both sources, smoothed, stay within {FLAT} levels over "
    f"{FLAT_WINDOW}x{FLAT_WINDOW} px",
    "shift_change": "mean change of fused luma when both frames move by 1 px and the result is "
    "moved back; fusion pixel by pixel has 0",
    "level_change": "mean change of fused luma when both frames get one level darker or brighter, "
    "mean of the two; fusion pixel by pixel follows with about 1",
    "relabelled": "share of the pixels that get another class, mean of those three trials",
}


@dataclass(frozen=True)
class Quality:
    """One fused frame, or the mean over many; `DEFINITIONS` says what each number is."""

    halo_p95: float  # [levels]
    halo_share: float  # 0..1
    noise_gain: float  # NaN if no region is dark and flat
    shift_change: float  # [levels]
    level_change: float  # [levels]
    relabelled: float  # 0..1


def measure(predict: Predict, pair: FramePair, prediction: Prediction) -> Quality:
    """Evaluate the prediction of a pair; `predict` runs three times more, on changed copies."""
    seen, warm, fused = luma(pair.visible), pair.infrared, luma(prediction.fused)
    outside = overshoot(seen, warm, fused)
    flickers = flicker(predict, pair, prediction)
    return Quality(
        halo_p95=float(np.percentile(outside, 95)),
        halo_share=float((outside > HALO_VISIBLE).mean()),
        noise_gain=noise_gain(seen, warm, fused),
        shift_change=flickers[0],
        level_change=flickers[1],
        relabelled=flickers[2],
    )


def overshoot(visible: Luma, infrared: Luma, fused: Luma) -> Luma:
    """Levels by which each pixel (H, W) leaves the range of both sources around it; 0 within."""
    window = np.ones((HALO_WINDOW, HALO_WINDOW), np.uint8)
    highest = np.maximum(cv2.dilate(visible, window), cv2.dilate(infrared, window))
    lowest = np.minimum(cv2.erode(visible, window), cv2.erode(infrared, window))
    # uint8 subtraction that stops at 0; one of both terms is 0 everywhere
    return np.asarray(cv2.subtract(fused, highest) + cv2.subtract(lowest, fused), np.uint8)


def noise_gain(visible: Luma, infrared: Luma, fused: Luma) -> float:
    """Noise of the fused frame over that of the noisier source, in the dark and flat; or NaN."""
    region = _dark_and_flat(visible, infrared)
    if region.mean() < LEAST_REGION:
        return float("nan")
    held = max(ROUNDING, *(float(_fine(source)[region].std()) for source in (visible, infrared)))
    return float(_fine(fused)[region].std()) / held


def flicker(predict: Predict, pair: FramePair, first: Prediction) -> tuple[float, float, float]:
    """Mean change by a shift [levels], by one level of light [levels], and of the labels (0..1)."""
    moved = _moved_back(predict(FramePair(_shift(pair.visible), _shift(pair.infrared))))
    lit = [predict(FramePair(*_lit(pair, by))) for by in (-1, 1)]
    inside = Prediction(first.fused[:, MARGIN : -MARGIN - 1], first.labels[:, MARGIN : -MARGIN - 1])
    relabelled = [moved.labels != inside.labels, *(again.labels != first.labels for again in lit)]
    return (
        _change(moved, inside),
        float(np.mean([_change(again, first) for again in lit])),
        float(np.mean([changed.mean() for changed in relabelled])),
    )


def _change(again: Prediction, first: Prediction) -> float:
    return float(cv2.absdiff(luma(again.fused), luma(first.fused)).mean())


def _shift(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One column to the right; the first column stays."""
    return np.concatenate((frame[:, :1], frame[:, :-1]), axis=1)


def _moved_back(shifted: Prediction) -> Prediction:
    inside = slice(MARGIN + 1, -MARGIN)
    return Prediction(shifted.fused[:, inside], shifted.labels[:, inside])


def _lit(pair: FramePair, levels: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    frames = (np.clip(f.astype(np.int16) + levels, 0, 255) for f in (pair.visible, pair.infrared))
    visible, infrared = (frame.astype(np.uint8) for frame in frames)
    return visible, infrared


def _dark_and_flat(visible: Luma, infrared: Luma) -> NDArray[np.bool_]:
    around = np.ones((FLAT_WINDOW, FLAT_WINDOW), np.uint8)
    region = _mean(visible) < DARK
    for source in (visible, infrared):
        smooth = _mean(source)
        region &= cv2.dilate(smooth, around) - cv2.erode(smooth, around) <= FLAT
    return region


def _mean(frame: Luma) -> Plane:
    return np.asarray(
        cv2.blur(frame.astype(np.float32), (SMOOTH_WINDOW, SMOOTH_WINDOW)), np.float32
    )


def _fine(frame: Luma) -> Plane:
    return frame.astype(np.float32) - _mean(frame)
