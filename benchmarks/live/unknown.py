"""
Unknown objects, true and false, on panned stills with noise and a gain that drifts.

    python -m benchmarks.live.unknown --data ../shared/data --out benchmarks/results/unknown.json

Each still is two streams: one without anybody, and one with animals and persons cut in
(`benchmarks.live.visitors`). Nothing has a class, which is the harshest case: every warm thing may
be unknown. With `--weights` the network's classes count, except for persons while visitors come.
An unknown object is true if its centre lies in the visitor's box. Nothing else moves but the
camera, so every other one is false. Visitors who do not stand out in infrared are counted apart.
"""

import argparse
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from benchmarks.results_file import save
from segmif.argument_types import FloatRange
from segmif.classes import MFNET, Taxonomy
from segmif.frames import FramePair, Prediction
from segmif.runtime import Runtime, open_runtime, predict
from segmif.thermal.surroundings import warmest_ordinary
from service.pipeline.objects import UnknownRules
from service.pipeline.unknown_objects import UnknownObjects
from service.pipeline.warm_regions import LEAST_CONFIDENCE

from . import visitors
from .events import RATE, STILLS, WIDTH, Pixels
from .visitors import Visit

NEAR = 8  # pixels around a visitor's box that count as in it
IN_TIME_S = 1.0
STANDS_OUT = 0.4  # share of a visitor's pixels that the rule of the tint calls warm
HAS_CLASS = 0.2  # share of them that the network gives a class of which it is sure


@dataclass
class Seen:
    """What was shown of one visitor."""

    visit: Visit
    pairs: int = 0
    warm: float = 0.0  # share of its pixels that stand out, summed over the pairs
    classed: float = 0.0  # share of them with a class, likewise
    after_s: float | None = None  # until it was shown as unknown

    @property
    def outcome(self) -> str:
        """What it counts as."""
        if self.warm < STANDS_OUT * self.pairs:
            return "does not stand out"
        if self.after_s is not None:
            return "in time" if self.after_s <= IN_TIME_S else "late"
        return "as a class" if self.classed >= HAS_CLASS * self.pairs else "missed"


@dataclass
class Counts:
    """What a kind of stream showed."""

    pairs: int = 0
    false_pairs: int = 0
    false_objects: int = 0
    cpu_s: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Counts") -> None:
        """Add those of another stream."""
        self.pairs += other.pairs
        self.false_pairs += other.false_pairs
        self.false_objects += other.false_objects
        self.cpu_s += other.cpu_s
        self.outcomes += other.outcomes


def main() -> None:
    """Run all streams and count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--weights", type=Path, help="ONNX file of a network (none)")
    parser.add_argument("--seconds", type=FloatRange(20), default=60.0, help="of each stream (60)")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    runtime = open_runtime(options.weights, threads=1) if options.weights else None
    summary = {}
    for light, stills in STILLS.items():
        for visited in (False, True):
            total = Counts()
            for seed, still in enumerate(stills):
                counts = stream(options, runtime, light, still, seed, visited=visited)
                print(light, still, "visited" if visited else "empty", counts, flush=True)
                total.add(counts)
            summary[f"{light}, {'visited' if visited else 'empty'}"] = described(total)
    network = options.weights.name if options.weights else None
    save({"network": network, "pairs_a_second": RATE, **summary}, options.out)


def stream(
    options: argparse.Namespace,
    runtime: Runtime | None,
    light: str,
    still: str,
    seed: int,
    *,
    visited: bool,
) -> Counts:
    """What one stream shows."""
    finder, counts, false = UnknownObjects(), Counts(), set[int]()
    seen: dict[float, Seen] = {}  # by the second in which they came
    taxonomy = runtime.manifest.classes if runtime else MFNET
    frames = visitors.stream(options.data, light, still, seed, options.seconds, visited=visited)
    for number, (visible, infrared, visit) in enumerate(frames):
        now_s, pair = number / RATE, FramePair(visible, infrared)
        prediction = predicted(runtime, pair, persons=not visited)
        began = time.process_time()
        found = finder.find(pair, prediction, taxonomy, UnknownRules(), WIDTH, round(now_s * 1e9))
        counts.cpu_s += time.process_time() - began
        box = visit.box(now_s) if visit else None
        inside = [is_in(each.centroid, box) for each in found]
        wrong = {each.track for each, is_true in zip(found, inside, strict=True) if not is_true}
        false |= wrong
        counts.pairs += 1
        counts.false_pairs += bool(wrong)
        if visit and box:
            one = seen.setdefault(visit.from_s, Seen(visit))
            note(one, infrared, prediction, box, taxonomy)
            if any(inside) and one.after_s is None:
                one.after_s = now_s - visit.from_s
    counts.false_objects = len(false)
    counts.outcomes = Counter(f"{each.visit.kind} {each.outcome}" for each in seen.values())
    return counts


def predicted(runtime: Runtime | None, pair: FramePair, *, persons: bool) -> Prediction:
    """The prediction of a network, if asked without persons; None: of one that knows no class."""
    if runtime is None:
        nothing = np.full_like(pair.infrared, MFNET.background)
        return Prediction(pair.visible, nothing, np.full_like(nothing, 255))
    found, taxonomy = predict(runtime, pair, confidence=True), runtime.manifest.classes
    if persons:
        return found
    labels = np.where(found.labels == taxonomy.id_of("person"), taxonomy.background, found.labels)
    return Prediction(found.fused, labels.astype(np.uint8), found.confidence)


def note(
    seen: Seen,
    infrared: Pixels,
    prediction: Prediction,
    box: tuple[int, int, int, int],
    taxonomy: Taxonomy,
) -> None:
    """Note how much of a visitor stands out, and how much of it has a class."""
    left, top, right, bottom = box
    first, last = max(0, left), min(infrared.shape[1], right)
    if first >= last:  # it has left the view
        return
    at = slice(top, bottom), slice(first, last)
    body = seen.visit.cutout.mask[:, first - left : last - left] > 128
    _, warmest = warmest_ordinary(infrared)
    assert prediction.confidence is not None
    sure = np.isin(prediction.labels, taxonomy.things) & (prediction.confidence >= LEAST_CONFIDENCE)
    seen.pairs += 1
    if body.any():
        seen.warm += float((infrared > warmest)[at][body].mean())
        seen.classed += float(sure[at][body].mean())


def is_in(point: tuple[float, float], box: tuple[int, int, int, int] | None) -> bool:
    """Whether a point lies in a box or near it."""
    if box is None:
        return False
    left, top, right, bottom = box
    return left - NEAR <= point[0] <= right + NEAR and top - NEAR <= point[1] <= bottom + NEAR


def described(counts: Counts) -> dict[str, object]:
    """The counts of a kind of stream as rates."""
    minutes = counts.pairs / RATE / 60
    return {
        "pairs": counts.pairs,
        "false a minute": round(counts.false_objects / minutes, 2),
        "share of pairs with a false one": round(counts.false_pairs / counts.pairs, 4),
        "visitors": dict(sorted(counts.outcomes.items())),
        "cpu_ms_a_pair": round(1000 * counts.cpu_s / counts.pairs, 2),
    }


if __name__ == "__main__":
    main()
