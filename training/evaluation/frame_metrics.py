"""Evaluate a network on a set of frames, one after the other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from segmif.classes import Taxonomy
from segmif.frames import FramePair, Prediction
from segmif.imaging.luma import luma
from segmif.metrics import MINIMUM_SIDE, ConfusionMatrix, FusionMetrics, fusion_metrics

from ..data.datasets import FrameSet, LabelledPair
from . import fusion_quality
from .baselines import BASELINES
from .fusion_quality import Predict, Quality
from .results import BOTH, INFRARED_BLACK, NETWORK, VISIBLE_BLACK, FrameResult, People, SetResult

PEOPLE = ("person", "survivor")  # what taxonomies call them
LEAST_PERSON = 50  # [px] smaller groups of person pixels are crumbs of labelling
FOUND = 0.5  # share of a person's pixels that must be labelled so


class EvaluationError(ValueError):
    """Weights or data that cannot be evaluated."""


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What to measure on a set."""

    fusion: bool = True
    masks: bool = True  # if the set has labels
    baselines: bool = False
    quality: bool = False  # if fusion is measured
    sensor_drop: bool = False  # if masks are measured


def evaluate_set(predict: Predict, frames: FrameSet, measures: Measures) -> SetResult:
    """
    Evaluate a network, given as pair -> prediction, on every frame of a set.

    Raises EvaluationError if a frame is smaller than the metrics need, and what `frames.read`
    raises.
    """
    taxonomy = frames.taxonomy if measures.masks else None
    results = []
    for index in tqdm(range(len(frames.names)), desc=frames.name, unit="pair"):
        frame = frames.read(index)
        check(frame, frames.name)
        results.append(_evaluate_frame(predict, frame, taxonomy, measures))
    return SetResult(frames.name, taxonomy, tuple(results))


def check(frame: LabelledPair, of: str) -> None:
    """Raise EvaluationError if a frame of the set named `of` cannot be evaluated."""
    if min(frame.infrared.shape) < MINIMUM_SIDE:
        raise EvaluationError(
            f"{of}: {frame.name} is {frame.infrared.shape}; the metrics need {MINIMUM_SIDE} px on "
            "both sides"
        )


def person_id(taxonomy: Taxonomy) -> int | None:
    """The id of people, None if a taxonomy has none."""
    return next((id_ for id_, name in enumerate(taxonomy.names) if name in PEOPLE), None)


def person_regions(labels: NDArray[np.uint8], person: int) -> list[NDArray[np.bool_]]:
    """Each group of touching person pixels of at least LEAST_PERSON, as a mask (H, W)."""
    _, groups, facts, _ = cv2.connectedComponentsWithStats((labels == person).astype(np.uint8))
    areas = facts[:, cv2.CC_STAT_AREA]
    return [groups == group for group in range(1, len(areas)) if areas[group] >= LEAST_PERSON]


def is_found(region: NDArray[np.bool_], labels: NDArray[np.uint8], person: int) -> bool:
    """Whether at least half of a person's pixels were labelled so."""
    return bool((labels[region] == person).mean() >= FOUND)


def blacked(pair: FramePair, sensors: str) -> FramePair:
    """The pair as the network sees it when one sensor is dead."""
    if sensors == VISIBLE_BLACK:
        return replace(pair, visible=np.zeros_like(pair.visible))
    if sensors == INFRARED_BLACK:
        return replace(pair, infrared=np.zeros_like(pair.infrared))
    return pair


def _evaluate_frame(
    predict: Predict, frame: LabelledPair, taxonomy: Taxonomy | None, measures: Measures
) -> FrameResult:
    pair = FramePair(frame.visible, frame.infrared)
    prediction = predict(pair)
    fusion, qualities = _evaluate_fusion(predict, pair, prediction, measures)
    labels = _labels(predict, pair, prediction, measures) if taxonomy else {}
    return FrameResult(
        frame.name,
        frame.light,
        fusion,
        qualities,
        _evaluate_masks(labels, frame.labels, taxonomy),
        _evaluate_people(labels, frame.labels, taxonomy),
    )


def _evaluate_fusion(
    predict: Predict, pair: FramePair, prediction: Prediction, measures: Measures
) -> tuple[dict[str, FusionMetrics], dict[str, Quality]]:
    metrics: dict[str, FusionMetrics] = {}
    qualities: dict[str, Quality] = {}
    if not measures.fusion:
        return metrics, qualities
    seen = luma(pair.visible)
    baselines = {name: _as_network(fuse) for name, fuse in BASELINES.items()}
    for name, ask in {NETWORK: predict, **(baselines if measures.baselines else {})}.items():
        answer = prediction if name == NETWORK else ask(pair)
        metrics[name] = fusion_metrics(seen, pair.infrared, luma(answer.fused))
        if measures.quality:
            qualities[name] = fusion_quality.measure(ask, pair, answer)
    return metrics, qualities


def _as_network(fuse: Callable[..., NDArray[np.uint8]]) -> Predict:
    """Fusion of luma as a network that gives a grey frame and labels nothing."""

    def predict(pair: FramePair) -> Prediction:
        fused = fuse(luma(pair.visible), pair.infrared)
        return Prediction(np.repeat(fused[..., None], 3, axis=2), np.zeros_like(fused))

    return predict


def _labels(
    predict: Predict, pair: FramePair, prediction: Prediction, measures: Measures
) -> dict[str, NDArray[np.uint8]]:
    """The network's masks by what it was shown."""
    labels = {BOTH: prediction.labels}
    if measures.sensor_drop:
        for sensors in (VISIBLE_BLACK, INFRARED_BLACK):
            labels[sensors] = predict(blacked(pair, sensors)).labels
    return labels


def _evaluate_masks(
    labels: Mapping[str, NDArray[np.uint8]], truth: NDArray[np.uint8], taxonomy: Taxonomy | None
) -> dict[str, ConfusionMatrix]:
    if taxonomy is None:
        return {}
    empty = ConfusionMatrix.empty(len(taxonomy.names))
    return {sensors: empty.add(mask, truth) for sensors, mask in labels.items()}


def _evaluate_people(
    labels: Mapping[str, NDArray[np.uint8]], truth: NDArray[np.uint8], taxonomy: Taxonomy | None
) -> dict[str, People]:
    person = person_id(taxonomy) if taxonomy else None
    if person is None:
        return dict.fromkeys(labels, People(0, 0))
    regions = person_regions(truth, person)
    is_one = partial(is_found, person=person)
    return {
        sensors: People(len(regions), sum(is_one(region, mask) for region in regions))
        for sensors, mask in labels.items()
    }
