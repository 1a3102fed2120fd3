"""
`segmif training holdout`: weights evaluated on frames that they never saw, and their robustness.

With `--fold N` the frames are those of group N of `training/data/folds.toml`. The weights must have
been trained without them; `mfnet/train` counts as raw infrared, `msrs_more` as enhanced. With
`--set` they are those of any labelled set. Results are counts: `--pool` adds up the files of
several folds.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from segmif.argument_types import IntegerRange
from segmif.classes import MFNET, Taxonomy
from segmif.files import shown, write_text
from segmif.frames import FramePair
from segmif.manifest import Manifest, taxonomy_entry, taxonomy_of
from segmif.metrics import ConfusionMatrix
from segmif.parsing import brief, parse_json

from ..data import folds, groups_seen
from ..data.datasets import LabelledPair, open_set
from ..data.sources import data_root
from .evaluate import SetName, check_outputs, open_with_manifest
from .fusion_quality import Predict
from .robustness import STEPS, Calibration, Stability, misaligned_masks, stability

KINDS = {"raw": ("mfnet", "train"), "enhanced": ("msrs_more", None)}
DISTANCES = (4, 8, 16)
EVERY = 4  # frames: a pan is made of every fourth


@dataclass
class Counts:
    """All counts of one or more folds."""

    masks: dict[str, ConfusionMatrix] = field(default_factory=dict)  # by kind and light
    moved: dict[str, ConfusionMatrix] = field(default_factory=dict)  # by distance and direction
    calibration: Calibration = field(default_factory=Calibration.empty)
    stability: Stability = field(default_factory=Stability)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `segmif training holdout`."""
    add = parser.add_argument
    add("--weights", type=Path, help=".safetensors or .onnx to evaluate")
    add("--data", type=Path, default=data_root(), help="folder that the sets lie in")
    add("--fold", type=IntegerRange(1, 4), help="group that the weights never saw, 1 to 4")
    add(
        "--set", type=SetName.parse, metavar="KIND:FOLDER[:SPLIT]", help="evaluate this set instead"
    )
    add(
        "--shifts",
        type=IntegerRange(1, 64),
        nargs="*",
        help="also with infrared moved by so many px [4 8 16]",
    )
    add("--pans", action="store_true", help="also how labels flip and luma flickers in a pan")
    add("--json", type=Path, help="file to write the counts into")
    add("--pool", type=Path, nargs="+", help="files of counts to add up, instead of evaluating")


def main(args: argparse.Namespace) -> int:
    """Evaluates or pools, prints the tables, writes the counts."""
    check_outputs(args.json)
    if args.pool:
        totals, taxonomy = pooled_files(args.pool)
    else:
        if not args.weights or (args.fold is None) == (args.set is None):
            raise ValueError("give --weights and either --fold or --set, or files to --pool")
        predict, _, manifest = open_with_manifest(args.weights)
        if args.fold:
            check_left_out(manifest, args.fold, args.weights)
        shifts = DISTANCES if args.shifts == [] else args.shifts or ()
        taxonomy = manifest.classes
        totals = evaluate_frames(
            predict, list(_frames(args, taxonomy)), taxonomy, shifts=shifts, pans=args.pans
        )
    print(as_text(totals, taxonomy))
    if args.json:
        write_text(args.json, json.dumps(as_json(totals, taxonomy)) + "\n")
    return 0


def check_classes(
    name: str,
    labels: Taxonomy | None,
    weights: Taxonomy,
    remedy: str = "name a set with their classes",
) -> None:
    """Raise ValueError, with a remedy, unless a set's ids are the classes of the weights."""
    if labels is None:
        raise ValueError(f"{name} has no labels to evaluate masks on")
    if labels.names != weights.names:
        raise ValueError(
            f"{name} is labelled by {labels.name}, the weights know the classes of {weights.name}: "
            f"{remedy}"
        )


def check_left_out(manifest: Manifest, fold: int, weights: Path) -> None:
    """
    Raise ValueError if weights say that they, or what they descend from, learnt from a group.

    A note says so if their manifest does not tell.
    """
    seen = groups_seen.of_record(manifest.training)
    if fold in seen.groups:
        raise ValueError(
            f"{shown(weights)} was trained with group {fold}: its manifest says that it, its start "
            f"or its teachers learnt from groups {', '.join(map(str, seen.groups))}. Train without "
            f"it by `segmif train --leave-out {fold}`, from weights that never saw it"
        )
    if not seen.complete:
        print(
            f"note: the manifest of {shown(weights)} does not say all that it descends from, so it "
            f"is not known that group {fold} is new to it"
        )


def pooled_files(paths: Sequence[Path]) -> tuple[Counts, Taxonomy]:
    """What files of counts add up to, and the classes that all of them have; raises ValueError."""
    parts, taxonomies = [], []
    for path in paths:
        part = parse_json(path)
        try:
            taxonomies.append(taxonomy_of(part["taxonomy"]))
            pooled([part])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{shown(path)} holds no counts as --json writes them ({brief(error)})"
            ) from None
        if taxonomies[-1] != taxonomies[0]:
            raise ValueError(
                f"{shown(path)} counts the classes of {taxonomies[-1].name}, {shown(paths[0])} "
                f"those of {taxonomies[0].name}: pool files of the same classes"
            )
        parts.append(part)
    return pooled(parts), taxonomies[0]


def _frames(args: argparse.Namespace, classes: Taxonomy) -> Iterator[tuple[str, LabelledPair]]:
    """The frames to evaluate on, each with its kind of infrared."""
    if args.set:
        frames = args.set.open(args.data)
        check_classes(frames.name, frames.taxonomy, classes)
        yield from ((frames.name, frames.read(index)) for index in range(len(frames.names)))
        return
    check_classes("MFNet", MFNET, classes, "the groups of --fold are MFNet's; take --set")
    yield from frames_of_fold(args.data, args.fold)


def frames_of_fold(root: Path, fold: int) -> Iterator[tuple[str, LabelledPair]]:
    """
    The labelled pairs of a group, each with its kind of infrared.

    Raises ValueError if there is no such group.
    """
    groups = folds.read_folds()
    if not 1 <= fold <= len(groups):
        raise ValueError(f"--fold is {fold}: a group from 1 to {len(groups)} is expected")
    for kind, (folder, split) in KINDS.items():
        frames = open_set("mfnet", root / folder, split)
        for index, name in enumerate(frames.names):
            if folds.evaluates(name, groups, fold):
                yield kind, frames.read(index)


def evaluate_frames(
    predict: Predict,
    frames: Sequence[tuple[str, LabelledPair]],
    taxonomy: Taxonomy,
    *,
    shifts: Sequence[int],
    pans: bool,
) -> Counts:
    """All that was asked for, over all frames."""
    totals, classes = Counts(), len(taxonomy.names)
    for index, (kind, frame) in enumerate(tqdm(frames, unit="pair")):
        pair = FramePair(frame.visible, frame.infrared)
        found = predict(pair)
        confusion = ConfusionMatrix.empty(classes).add(found.labels, frame.labels)
        add(totals.masks, f"{kind} {frame.light or ''}".strip(), confusion)
        totals.calibration += Calibration.empty().add(found, frame.labels)
        for distance in shifts:
            for name, moved in misaligned_masks(predict, frame, distance, classes).items():
                add(totals.moved, f"{distance} px {name}", moved)
        if pans and index % EVERY == 0:
            totals.stability += stability(predict, pair, seed=index)
    return totals


def add(rows: dict[str, ConfusionMatrix], name: str, confusion: ConfusionMatrix) -> None:
    """Adds counts to the row of that name."""
    rows[name] = rows[name] + confusion if name in rows else confusion


def as_json(totals: Counts, taxonomy: Taxonomy) -> dict[str, Any]:
    """The counts, as `pooled` reads them."""
    return {
        "taxonomy": taxonomy_entry(taxonomy),
        "masks": {name: each.counts.tolist() for name, each in totals.masks.items()},
        "moved": {name: each.counts.tolist() for name, each in totals.moved.items()},
        "calibration": totals.calibration.sums.tolist(),
        "stability": asdict(totals.stability),
    }


def pooled(parts: Sequence[Mapping[str, Any]]) -> Counts:
    """The sum of what `as_json` gave."""
    totals = Counts()
    for each in parts:
        for table, rows in (("masks", totals.masks), ("moved", totals.moved)):
            for name, counts in each[table].items():
                add(rows, name, ConfusionMatrix(np.array(counts, np.int64)))
        totals.calibration += Calibration(np.array(each["calibration"]))
        totals.stability += Stability(**each["stability"])
    return totals


def as_text(totals: Counts, taxonomy: Taxonomy) -> str:
    """Markdown tables of all that was evaluated."""
    lines = [f"| | mIoU | {' | '.join(taxonomy.names)} |", "|---" * (2 + len(taxonomy.names)) + "|"]
    rows: dict[str, ConfusionMatrix] = {}
    for confusion in totals.masks.values():
        add(rows, "all", confusion)
    rows |= totals.masks
    for name, confusion in totals.moved.items():  # all directions together, steps of depth apart
        by_distance = f"{name.split(' px')[0]} px, eight directions"
        add(rows, name if name.endswith(STEPS) else by_distance, confusion)
    for name, confusion in rows.items():
        cells = " | ".join(f"{share:.3f}" for share in np.nan_to_num(confusion.iou))
        lines.append(f"| {name} | {confusion.mean_iou:.3f} | {cells} |")
    lines.append("")
    if totals.calibration.sums.any():  # an ONNX file is run without its confidence
        lines.append(f"expected calibration error (objects): {totals.calibration.error:.4f}")
    if totals.stability.pixels:
        fused, visible = totals.stability.noise
        lines += [
            f"object pixels that flip per frame: {totals.stability.flips:.3f}",
            f"change of luma per frame: fused {fused:.2f}, visible {visible:.2f} levels",
        ]
    return "\n".join(lines) + "\n"
