"""What the registration of a stream reaches, what it costs, and what it is worth to a mask."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.registration.streams import (
    PAIRS,
    Field,
    Scene,
    drifts,
    known_warps,
    panned,
    panned_pair,
    translated,
)
from benchmarks.results_file import save
from benchmarks.temporal.streams import PERSON, real_scenes
from benchmarks.temporal.streams import Scene as LabelledScene
from segmif.argument_types import IntegerRange
from segmif.frames import FramePair, Prediction
from segmif.geometry.stream.registration import Registered, StreamRegistration
from segmif.metrics import ConfusionMatrix
from segmif.runtime import Runtime, open_runtime, predict
from segmif.temporal.memory import TemporalMemory
from service.pipeline.decode import Decoded
from service.pipeline.pair_checks import StreamHistory
from service.pipeline.pair_rules import PairRules
from service.pipeline.prepare import align_pair
from service.pipeline.stage_times import StageTimes
from service.schemas.pair_options import PairOptions
from training.data.sources import data_root

PARTS = ("known", "drifts", "confidence", "persons", "cost")
SETS = {"roadscene": 14, "llvip": 4, "m3fd": 4}
OFF_PX = 8
DIRECTIONS = ((OFF_PX, 0), (-OFF_PX, 0), (0, OFF_PX), (0, -OFF_PX))
MULTIPLE = 32
RULES, REGISTERED = PairRules(max_pixels=2**24), PairOptions(stream="pan", registration=True)
WRONG_PX = 5.0  # at the median, from which on an answer is wrong


def last_field(scene: Scene, *, moved: bool) -> tuple[slice, Field, list[Registered]]:
    """The columns of the last pair of a pan, the displacement found there, and every answer."""
    random, registration = np.random.default_rng(1), StreamRegistration()
    infrared = scene.moved if moved else scene.infrared
    shown = list(panned(scene.visible, infrared, random))
    answers = [registration.see(visible, heat) for _, visible, heat in shown]
    view, visible, _ = shown[-1]
    return view, dense(answers[-1], visible.shape), answers


def dense(answer: Registered, shape: tuple[int, ...]) -> Field:
    """The displacement of every pixel (H, W, 2)."""
    return np.asarray(cv2.resize(answer.field, shape[1::-1]), np.float32)


def length(field: Field, where: NDArray[np.bool_] | None = None) -> float:
    """Median length of a displacement [px]."""
    lengths = np.hypot(field[..., 0], field[..., 1])
    return float(np.median(lengths if where is None else lengths[where]))


def affine_part(field: Field) -> Field:
    """The affine map next to a displacement, by least squares."""
    height, width = field.shape[:2]
    y, x = np.indices((height, width)).reshape(2, -1)
    basis = np.column_stack([x, y, np.ones(x.size)])
    fit = np.linalg.lstsq(basis, field.reshape(-1, 2), rcond=None)[0]
    return np.asarray((basis @ fit).reshape(field.shape), np.float32)


def residuals(scene: Scene) -> dict[str, float]:
    """Median residuals after `PAIRS` pairs, also less what the unmoved pair is apart."""
    view, found, _ = last_field(scene, moved=True)
    _, own, _ = last_field(scene, moved=False)
    truth = np.ascontiguousarray(scene.truth[:, view])
    y, x = np.indices(truth.shape[:2], np.float32)
    there = x + own[..., 0], y + own[..., 1]
    through = own + cv2.remap(truth, *there, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    rest = affine_part(truth) - truth
    measured = {
        "before": length(truth),
        "affine": length(rest),
        "found": length(found - truth),
        "less_own": length(found - through),
        "own": length(own),
    }
    near = scene.near[:, view]
    if near.any():
        measured |= {
            "near_affine": length(rest, near),
            "near_found": length(found - truth, near),
            "near_less_own": length(found - through, near),
        }
    return measured


def medians(scenes: list[Scene]) -> dict[str, object]:
    """The medians over scenes, and how many are within 2 px beyond the affine map."""
    each = [residuals(scene) for scene in scenes]
    found = {name: round(median(one[name] for one in each), 2) for name in each[0]}
    within = {
        f"{name}_within_2_px_of_affine": sum(one[name] - one["affine"] < 2 for one in each)
        for name in ("found", "less_own")
    }
    return {"streams": len(each)} | found | within


def confidences(scenes: list[Scene]) -> dict[str, object]:
    """Whether confidence tells right answers from wrong ones, at every pair of every stream."""
    right, wrong, standing = list[float](), list[float](), dict[str, list[bool]]()
    for scene in scenes:
        view, _, answers = last_field(scene, moved=True)
        for number, answer in enumerate(answers):
            columns = slice(2 * number, 2 * number + view.stop - view.start)
            truth = scene.truth[:, columns]
            good = length(dense(answer, truth.shape) - truth) < WRONG_PX
            (right if good else wrong).append(answer.confidence)
            standing.setdefault(answer.standing, []).append(good)
    false_maps = 0
    for number, scene in enumerate(scenes):  # pairs of two scenes have no right answer
        other = scenes[(number + 1) % len(scenes)].infrared
        size = scene.visible.shape[::-1]
        strange = np.asarray(cv2.resize(other, size, interpolation=cv2.INTER_AREA), np.uint8)
        mixed = Scene("mixed", scene.visible, strange, strange, scene.truth, scene.near)
        answers = last_field(mixed, moved=True)[2]
        wrong += [answer.confidence for answer in answers]
        false_maps += any(answer.standing != "none" for answer in answers)
    ranks = np.array([[good > bad, good == bad] for good in right for bad in wrong]).mean(0)
    return {
        "right": len(right),
        "wrong": len(wrong),
        "area_under_curve": round(float(ranks @ [1, 0.5]), 4),
        "wrong_above_half": sum(value >= 0.5 for value in wrong),
        "right_below_half": sum(value < 0.5 for value in right),
        "by_standing": {
            name: {"answers": len(goods), "right": sum(goods)} for name, goods in standing.items()
        },
        "streams_of_two_scenes": len(scenes),
        "of_them_with_a_map": false_maps,
    }


def persons(runtime: Runtime, scenes: Sequence[LabelledScene]) -> dict[str, object]:
    """IoU of persons in the last pair of panned stills, through the pipeline of the service."""
    classes = len(runtime.manifest.classes.names)
    states = {
        (off, on): ConfusionMatrix.empty(classes) for off in (0, OFF_PX) for on in (False, True)
    }
    moved = 0
    for seed, scene in enumerate(scenes):
        height, width = (side // MULTIPLE * MULTIPLE for side in scene.labels.shape)
        width -= MULTIPLE
        last = 2 * (PAIRS - 1)
        labels = scene.labels[:height, last : last + width]
        for off in (0, OFF_PX):
            by = DIRECTIONS[seed % len(DIRECTIONS)] if off else (0, 0)
            infrared = translated(scene.infrared, by)[:height]
            pair = FramePair(scene.visible[:height], infrared)
            random, history = np.random.default_rng(seed), StreamHistory()
            for shown in panned_pair(pair, random, width):
                decoded = Decoded(shown.visible, shown.infrared)
                prepared = align_pair(decoded, RULES, StageTimes(), REGISTERED, history)
            for on, seen in ((False, shown), (True, prepared.pair)):
                found = predict(runtime, seen)
                states[off, on] = states[off, on].add(found.labels, labels)
            registration = prepared.registration
            moved += bool(not off and registration and registration.found.applied)
    named = {
        f"{'off' if off else 'aligned'}_{'registered' if on else 'as_it_is'}": {
            "person_iou": round(float(masks.iou[PERSON]), 4),
            "mean_iou": round(masks.mean_iou, 4),
        }
        for (off, on), masks in states.items()
    }
    return {"pairs": len(scenes), "aligned_pairs_that_were_moved": moved} | named


def cost(scene: Scene, rounds: int) -> dict[str, object]:
    """
    Milliseconds of CPU time of a pair of 640x480 with one thread: to see it and to move it.

    The memory of a stream takes its turn beside it: on a busy machine, only their ratio counts.
    """
    size, random = (660, 480), np.random.default_rng(0)
    visible, infrared = (cv2.resize(e, size).astype(np.uint8) for e in (scene.visible, scene.moved))
    shown = [(colour, heat) for _, colour, heat in panned(visible, infrared, random)]
    pairs = [FramePair(np.dstack([colour] * 3), heat) for colour, heat in shown]
    masks = [Prediction(each.visible, (each.infrared > 128).astype(np.uint8)) for each in pairs]
    registration, memory = StreamRegistration(), TemporalMemory()
    took: dict[str, list[float]] = {"registration": [], "memory": []}
    for turn in range(rounds + PAIRS):
        place = turn % (2 * PAIRS - 2)  # there and back
        place = min(place, 2 * PAIRS - 2 - place)
        colour, heat = shown[place]
        start = time.process_time()
        registration.see(colour, heat).apply(heat)
        seen = time.process_time()
        memory.steady(pairs[place], masks[place])
        took["registration"].append(1e3 * (seen - start))
        took["memory"].append(1e3 * (time.process_time() - seen))
    steady = {name: each[PAIRS:] for name, each in took.items()}
    middle = {name: median(each) for name, each in steady.items()}
    return {
        "size": "640x480",
        "cpu_ms": {
            name: {
                "shortest": round(min(each), 2),
                "median": round(middle[name], 2),
                "p90": round(float(np.percentile(each, 90)), 2),
            }
            for name, each in steady.items()
        },
        "ratio_of_medians": round(middle["registration"] / middle["memory"], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--weights", type=Path, default=Path("weights/nano.onnx"), help="(%(default)s)")
    add("--data", type=Path, default=data_root(), help="folder that the sets lie in")
    add("--split", choices=("val", "train"), default="val", help="of mfnet (%(default)s)")
    add("--parts", nargs="+", choices=PARTS, default=PARTS, help="(all)")
    add("--every", type=IntegerRange(1), default=1, help="pair of it is taken (%(default)s)")
    add("--rounds", type=IntegerRange(10), default=300, help="of the cost (%(default)s)")
    add("--out", type=Path, help="file to write the results into")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    found: dict[str, object] = {}
    warps = list(known_warps(args.data))
    if "known" in args.parts:
        for kind in ("msrs", "roadscene"):
            found[f"known_{kind}"] = medians([w for w in warps if w.name.startswith(kind)])
    if "drifts" in args.parts:
        found["drifts"] = medians(list(drifts(args.data, SETS)))
    if "confidence" in args.parts:
        found["confidence"] = confidences([*warps, *drifts(args.data, SETS)])
    if "persons" in args.parts:
        runtime = open_runtime(args.weights, threads=1)
        scenes = real_scenes(args.data, args.split)[:: args.every]
        found["persons"] = {"weights": args.weights.name} | persons(runtime, scenes)
    if "cost" in args.parts:
        found["cost"] = cost(warps[0], args.rounds)
    save(found, args.out)


if __name__ == "__main__":
    main()
