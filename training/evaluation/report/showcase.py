"""The frames worth looking at: where a network does worst, and whom it finds by night."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from segmif.classes import Taxonomy, overlay
from segmif.frames import FramePair
from segmif.metrics import ConfusionMatrix

from ...data.datasets import FrameSet, LabelledPair
from ..frame_metrics import blacked, is_found, person_id, person_regions
from ..fusion_quality import Predict
from ..results import BOTH, INFRARED_BLACK, NETWORK, FrameResult, SetResult

Picture = NDArray[np.uint8]  # (H, W) or (H, W, 3) RGB
Panels = dict[str, Picture]  # by caption, from left to right
Evaluated = Sequence[tuple[FrameSet, SetResult]]

REFERENCE = "maximum"  # the baseline that a fused frame is compared with
WORST_FUSION = ("VIF", "Qabf", "SSIM")  # one frame each
WORST_MEAN, WORST_PERSON = 3, 2  # frames
LEAST_PERSON_PIXELS = 200  # in frames that are compared by their persons: fewer say little

FOUND_COLOUR, MISSED_COLOUR = (0, 210, 130), (255, 60, 160)  # apart for every kind of sight
BOX = 2  # [px] width of a line


@dataclass(frozen=True)
class Shown:
    """A frame to show, and why."""

    frames: FrameSet
    result: FrameResult
    index: int
    taxonomy: Taxonomy | None
    reasons: tuple[str, ...]


def frame_mean_iou(matrix: ConfusionMatrix) -> float:
    """Mean over the ids that a frame's truth or prediction holds; NaN without any."""
    shares = matrix.iou
    known = shares[~np.isnan(shares)]
    return float(known.mean()) if known.size else math.nan


def worst(evaluated: Evaluated) -> list[Shown]:
    """At most eight frames of all sets: lowest mean and person IoU, most below the maximum."""
    frames = _all(evaluated)
    found = _lowest(frames, _mean_iou, WORST_MEAN, "mean IoU of its classes")
    found += _lowest(frames, _person_iou, WORST_PERSON, "person IoU")
    for metric in WORST_FUSION:
        found += _lowest(frames, _behind(metric), 1, f"{metric} against {REFERENCE}")
    merged: dict[tuple[int, int], Shown] = {}
    for shown in found:
        key = (id(shown.frames), shown.index)
        reasons = merged[key].reasons if key in merged else ()
        merged[key] = replace(shown, reasons=(*reasons, *shown.reasons))
    return list(merged.values())


def night_finds(evaluated: Evaluated) -> list[Shown]:
    """Night frames in which the network finds more persons than without infrared, most first."""
    gained = [shown for shown in nights(evaluated) if _gain(shown.result) > 0]
    gained.sort(key=lambda shown: -_gain(shown.result))
    return [replace(shown, reasons=(_tally(shown.result),)) for shown in gained]


def nights(evaluated: Evaluated) -> list[Shown]:
    """Night frames with persons that were evaluated with infrared black as well."""
    return [
        shown
        for shown in _all(evaluated)
        if shown.result.light == "night"
        and INFRARED_BLACK in shown.result.people
        and shown.result.people[BOTH].there
    ]


def panels(shown: Shown, predict: Predict) -> Panels:
    """Visible, infrared, fused and, if it is labelled, truth and prediction."""
    frame = shown.frames.read(shown.index)
    prediction = predict(FramePair(frame.visible, frame.infrared))
    pictures: Panels = {
        "visible": frame.visible,
        "infrared": frame.infrared,
        "fused": prediction.fused,
    }
    if shown.taxonomy:
        pictures["truth"] = overlay(prediction.fused, frame.labels, shown.taxonomy)
        pictures["prediction"] = overlay(prediction.fused, prediction.labels, shown.taxonomy)
    return pictures


def night_panels(shown: Shown, predict: Predict) -> Panels:
    """Both sensors, then what the network finds with both and with infrared black."""
    frame = shown.frames.read(shown.index)
    pair = FramePair(frame.visible, frame.infrared)
    pictures: Panels = {"visible": frame.visible, "infrared": frame.infrared}
    for sensors in (BOTH, INFRARED_BLACK):
        prediction = predict(blacked(pair, sensors))
        if shown.taxonomy:
            tinted = overlay(prediction.fused, prediction.labels, shown.taxonomy)
            pictures[sensors] = _boxed(tinted, frame, prediction.labels, shown.taxonomy)
    return pictures


def _boxed(
    picture: Picture, frame: LabelledPair, labels: NDArray[np.uint8], taxonomy: Taxonomy
) -> Picture:
    """With a box around each true person, coloured by whether it was found."""
    person = person_id(taxonomy)
    if person is None:
        return picture
    picture = picture.copy()
    for region in person_regions(frame.labels, person):
        colour = FOUND_COLOUR if is_found(region, labels, person) else MISSED_COLOUR
        rows, columns = np.nonzero(region)
        top, left = max(rows.min() - BOX, 0), max(columns.min() - BOX, 0)
        box = picture[top : rows.max() + BOX + 1, left : columns.max() + BOX + 1]
        box[:BOX], box[-BOX:], box[:, :BOX], box[:, -BOX:] = colour, colour, colour, colour
    return picture


def _all(evaluated: Evaluated) -> list[Shown]:
    return [
        Shown(frames, frame, index, result.taxonomy, ())
        for frames, result in evaluated
        for index, frame in enumerate(result.frames)
    ]


def _lowest(
    frames: list[Shown], score: Callable[[Shown], float], count: int, name: str
) -> list[Shown]:
    scored = [(score(shown), shown) for shown in frames]
    known = sorted((s for s in scored if not math.isnan(s[0])), key=lambda s: s[0])
    return [replace(shown, reasons=(f"{name} {value:.3f}",)) for value, shown in known[:count]]


def _mean_iou(shown: Shown) -> float:
    return frame_mean_iou(shown.result.masks[BOTH]) if shown.result.masks else math.nan


def _person_iou(shown: Shown) -> float:
    person = person_id(shown.taxonomy) if shown.taxonomy else None
    if person is None:
        return math.nan
    matrix = shown.result.masks[BOTH]
    enough = matrix.counts[person].sum() >= LEAST_PERSON_PIXELS
    return float(matrix.iou[person]) if enough else math.nan


def _behind(metric: str) -> Callable[[Shown], float]:
    """How far a metric of the network is above the reference (below it: negative)."""

    def score(shown: Shown) -> float:
        rows = shown.result.fusion
        if REFERENCE not in rows:
            return math.nan
        return float(getattr(rows[NETWORK], metric) - getattr(rows[REFERENCE], metric))

    return score


def _gain(result: FrameResult) -> int:
    return result.people[BOTH].found - result.people[INFRARED_BLACK].found


def _tally(result: FrameResult) -> str:
    both, without = result.people[BOTH], result.people[INFRARED_BLACK]
    return f"{both.found} of {both.there} persons found, {without.found} without infrared"
