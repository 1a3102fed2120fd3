"""What the temporal memory of a stream is worth, what it delays, and what it costs."""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.results_file import save
from benchmarks.temporal.streams import (
    BEFORE,
    PERSON,
    PRESENT,
    Scene,
    Stream,
    cut_outs,
    real_scenes,
    rendered_scenes,
    streams_with_entries,
)
from segmif.argument_types import IntegerRange
from segmif.frames import FramePair, Prediction
from segmif.metrics import ConfusionMatrix
from segmif.runtime import open_runtime, predict
from segmif.temporal.memory import TemporalMemory
from training.data.sources import data_root
from training.evaluation.robustness import FLIP_STEP, NOISE_STEP, PAN, Stability, stability

Predict = Callable[[FramePair], Prediction]

PARTS = ("pans", "entries", "cost")
EVERY = 4  # frames of mfnet/val: a pan is made of every fourth
SEEN = 0.5  # share of a person's pixels in the mask, from which on it counts as seen
REACH = np.ones((9, 9), np.uint8)  # around a person who left, in which a ghost may stand
FIRST_SEED = 1000  # of the rendered streets
COST_SIZE = (480, 640)


class Watched:
    """Predicts the frames of pans, and holds their labels against the truth, (H, W)."""

    def __init__(self, predict: Predict, labels: NDArray[np.uint8], classes: int) -> None:
        self._predict, self._labels = predict, labels
        self._frame = 0
        self.masks = ConfusionMatrix.empty(classes)

    def __call__(self, pair: FramePair) -> Prediction:
        pan, number = divmod(self._frame, PAN)
        self._frame += 1
        found = self._predict(pair)
        left = number * (FLIP_STEP, NOISE_STEP)[pan]
        height, width = found.labels.shape
        if number:  # before, the memory has no part
            self.masks = self.masks.add(found.labels, self._labels[:height, left : left + width])
        return found


class Remembering:
    """Steadies predictions that were made before, in the order of their pans."""

    def __init__(self, predictions: Sequence[Prediction]) -> None:
        self._predictions = iter(predictions)
        self._memory, self._frame = TemporalMemory(), 0

    def __call__(self, pair: FramePair) -> Prediction:
        if self._frame % PAN == 0:
            self._memory.forget()
        self._frame += 1
        return self._memory.steady(pair, next(self._predictions)).prediction


def pans(predict: Predict, scenes: Sequence[Scene], classes: int) -> dict[str, object]:
    """Flips, change of luma and mIoU in pans, by the network alone and with memory."""
    changes = {"alone": Stability(), "memory": Stability()}
    masks = {name: ConfusionMatrix.empty(classes) for name in changes}
    for seed, scene in enumerate(scenes):
        pair, made = FramePair(scene.visible, scene.infrared), list[Prediction]()

        def recorded(shown: FramePair, made: list[Prediction] = made) -> Prediction:
            made.append(predict(shown))
            return made[-1]

        for name in changes:
            how = recorded if name == "alone" else Remembering(made)
            watched = Watched(how, scene.labels, classes)
            changes[name] += stability(watched, pair, seed=EVERY * seed)
            masks[name] += watched.masks
    return {
        name: {
            "flips": round(each.flips, 4),
            "fused_levels": round(each.noise[0], 3),
            "visible_levels": round(each.noise[1], 3),
            "mean_iou": round(masks[name].mean_iou, 4),
            "person_iou": round(float(masks[name].iou[PERSON]), 4),
        }
        for name, each in changes.items()
    } | {"pairs": len(scenes)}


def entries(predict: Predict, streams: dict[str, list[Stream]]) -> dict[str, object]:
    """When people who enter are in the mask, what is left of those who went, and cuts."""
    found: dict[str, object] = {}
    shown: list[tuple[Stream, list[Prediction]]] = []
    ghosts: list[list[float]] = [[], []]
    for kind, each_stream in streams.items():
        delays = []
        for stream in each_stream:
            alone = [predict(pair) for pair in stream.pairs]
            shown.append((stream, alone))
            memory = TemporalMemory()
            steadied = [
                memory.steady(pair, each).prediction
                for pair, each in zip(stream.pairs, alone, strict=True)
            ]
            for entry in stream.entries:
                first, delay = _delay(alone, steadied, entry.masks)
                if first is None:
                    continue
                delays.append(delay)
                for later, ghost in enumerate(ghosts):
                    number = BEFORE + PRESENT + later
                    ghost.append(_ghost(alone[number], steadied[number], entry.masks[number]))
        found[kind] = {
            "entries": len(delays),
            "same_frame": sum(delay <= 0 for delay in delays),
            "one_frame_later": sum(delay == 1 for delay in delays),
            "later": sum(delay > 1 for delay in delays),
        }
    for later, ghost in enumerate(ghosts, 1):
        found[f"ghost_{later}"] = {
            "mean_share": round(float(np.mean(ghost)), 4),
            "largest_share": round(max(ghost), 4),
        }
    return found | {"cuts": cuts(shown)}


def _delay(
    alone: Sequence[Prediction],
    steadied: Sequence[Prediction],
    masks: Sequence[NDArray[np.bool_]],
) -> tuple[int | None, int]:
    """The frame in which the network alone sees a person, None: never; frames until memory does."""
    frames = range(BEFORE, BEFORE + PRESENT)
    firsts = [
        next((n for n in frames if (each[n].labels[masks[n]] == PERSON).mean() >= SEEN), None)
        for each in (alone, steadied)
    ]
    if firsts[0] is None or firsts[0] == frames[-1]:  # too late for a delay to be seen
        return None, 0
    return firsts[0], PRESENT if firsts[1] is None else firsts[1] - firsts[0]


def _ghost(alone: Prediction, steadied: Prediction, mask: NDArray[np.bool_]) -> float:
    """Share of the place that a person left which memory alone calls a person."""
    place = cv2.dilate(mask.view(np.uint8), REACH) > 0
    ghost = (steadied.labels[place] == PERSON) & (alone.labels[place] != PERSON)
    return float(ghost.mean())


def cuts(shown: Sequence[tuple[Stream, list[Prediction]]]) -> dict[str, object]:
    """From each stream to the next: cuts that are noticed, and what is left of the old scene."""
    noticed, left = 0, list[float]()
    for (before, seen), (after, alone) in pairwise([*shown, shown[0]]):
        memory = TemporalMemory()
        for number in range(BEFORE):
            memory.steady(before.pairs[number], seen[number])
        first, second = (memory.steady(after.pairs[n], alone[n]) for n in range(2))
        noticed += first.reset == "cut"
        ghosts = (second.prediction.labels != alone[1].labels) & (
            second.prediction.labels != alone[0].labels  # what the first frame showed is no ghost
        )
        left.append(float(ghosts.mean()))
    return {"cuts": len(left), "noticed": noticed, "largest_share_left_after_one": max(left)}


def cost(predict: Predict, scenes: Sequence[Scene], rounds: int) -> dict[str, object]:
    """Milliseconds of CPU time of a pair, with one thread, in a pan with noise."""
    random = np.random.default_rng(0)
    scene, (height, width) = scenes[0], COST_SIZE
    pairs = []
    for step in range(2):
        planes = (np.roll(each, -FLIP_STEP * step, 1) for each in (scene.visible, scene.infrared))
        noise = (each + random.normal(0, 2, each.shape) for each in planes)
        shown = (each.clip(0, 255).astype(np.uint8)[:height, :width] for each in noise)
        pairs.append(FramePair(*map(np.ascontiguousarray, shown)))
    predictions, memory, took = [predict(pair) for pair in pairs], TemporalMemory(), []
    for turn in range(rounds + 2):
        start = time.process_time()
        steadied = memory.steady(pairs[turn % 2], predictions[turn % 2])
        took.append(1e3 * (time.process_time() - start))
        if turn and steadied.reset:
            raise RuntimeError(f"the memory began anew in a pan: {steadied.reset}")
    return {
        "size": f"{width}x{height}",
        "cpu_ms": {
            "shortest": round(min(took[2:]), 2),
            "median": round(float(np.median(took[2:])), 2),
            "p90": round(float(np.percentile(took[2:], 90)), 2),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--weights", type=Path, default=Path("weights/nano.onnx"), help="(%(default)s)")
    add("--data", type=Path, default=data_root(), help="folder that the sets lie in")
    add("--parts", nargs="+", choices=PARTS, default=PARTS, help="(all)")
    add(
        "--streams",
        type=IntegerRange(2),
        default=14,
        help="with entries, of each kind (%(default)s)",
    )
    add("--rounds", type=IntegerRange(10), default=300, help="of the cost (%(default)s)")
    add("--out", type=Path, help="file to write the results into")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    runtime = open_runtime(args.weights, threads=1)
    network = partial(predict, runtime, confidence=True)
    scenes = real_scenes(args.data, "val")[::EVERY]
    found: dict[str, object] = {"weights": args.weights.name}
    if "pans" in args.parts:
        found["pans"] = pans(network, scenes, len(runtime.manifest.classes.names))
    if "entries" in args.parts:
        found["entries"] = entries(network, _streams(args.data, args.streams))
    if "cost" in args.parts:
        found["cost"] = cost(network, scenes, args.rounds)
    save(found, args.out)


def _streams(data: Path, count: int) -> dict[str, list[Stream]]:
    """Streams of real persons over other real streets, and of rendered ones over rendered."""
    random = np.random.default_rng(0)
    real, rendered = real_scenes(data, "val"), rendered_scenes(2 * count, FIRST_SEED)
    chosen = [real[place] for place in np.linspace(0, len(real) - 1, count).astype(int)]
    persons = list(cut_outs(real_scenes(data, "train")))
    return {
        "real": list(streams_with_entries(chosen, persons, random)),
        "rendered": list(streams_with_entries(rendered[:count], list(cut_outs(rendered)), random)),
    }


if __name__ == "__main__":
    main()
