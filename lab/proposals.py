"""
`python -m lab proposals`: what a labeller's masks are worth beside those of our network.

Both label the labelled frames of a set; each class has its intersection over union. What a labeller
leaves open counts as background.
"""

import argparse
import json
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from segmif.classes import IGNORE, Taxonomy
from segmif.files import write_text
from segmif.frames import FramePair
from segmif.metrics import ConfusionMatrix
from training.data.class_views import ids_by_name
from training.data.sources import data_root
from training.evaluation.evaluate import SetName, open_with_manifest
from training.labels.proposals import over_network, proposals

Labels = NDArray[np.uint8]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m lab proposals`."""
    parser.add_argument("--labeller", default="python -m lab labeller", help="command or address")
    parser.add_argument("--weights", type=Path, default=Path("weights/edge.onnx"), help="ours")
    parser.add_argument("--data", type=Path, default=data_root(), help="folder of the sets")
    parser.add_argument(
        "--set", type=SetName.parse, default="mfnet:mfnet:val", metavar="KIND:FOLDER[:SPLIT]"
    )
    parser.add_argument("--names", default="*D", help="which of its moments [*D, by day]")
    parser.add_argument("--classes", default="car,person,bike", help="that the labeller knows")
    parser.add_argument("--json", type=Path, help="file for the numbers")


def main(args: argparse.Namespace) -> int:
    """Compares; prints the table."""
    frames = args.set.open(args.data)
    classes = frames.taxonomy
    if classes is None:
        raise ValueError(f"{frames.name} has no labels to compare with")
    indices = [n for n, name in enumerate(frames.names) if fnmatch(name, args.names)]
    predict, _, manifest = open_with_manifest(args.weights)
    to_labels = ids_by_name(manifest.classes, classes)
    matrices: dict[str, ConfusionMatrix] = {}
    open_share = []
    with (
        TemporaryDirectory() as folder,
        proposals(args.labeller, 600, classes, Path(folder) / "out") as asked,
    ):
        for index in tqdm(indices, unit="pair"):
            frame = frames.read(index)
            found = to_labels[predict(FramePair(frame.visible, frame.infrared)).labels]
            proposed = asked.labels(frame.name, frame.visible)
            masks = masks_of(proposed, found, classes.background)
            if proposed is not None:
                open_share.append(float((proposed == IGNORE).mean()))
            for name, mask in masks.items():
                empty = ConfusionMatrix.empty(len(classes.names))
                matrices[name] = matrices.get(name, empty).add(mask, frame.labels)
    names = args.classes.split(",")
    numbers = {
        "frames": f"{len(indices)} of {frames.name}, {args.names}",
        "proposed": len(open_share),
        "left_open": float(np.mean(open_share)) if open_share else 0.0,
        "iou": {name: of_classes(matrix, classes, names) for name, matrix in matrices.items()},
    }
    print(json.dumps(numbers, indent=1))
    if args.json:
        write_text(args.json, json.dumps(numbers, indent=1) + "\n")
    return 0


def masks_of(proposed: Labels | None, found: Labels, background: int) -> dict[str, Labels]:
    """The masks to compare, by whose they are; without a proposal the network's stands for both."""
    if proposed is None:
        proposed = np.full_like(found, IGNORE)
    both = over_network(proposed, found, background)
    masks = {"labeller": proposed, "network": found, "both": both}
    return {name: np.where(mask == IGNORE, background, mask) for name, mask in masks.items()}


def of_classes(
    matrix: ConfusionMatrix, classes: Taxonomy, names: Sequence[str]
) -> dict[str, float]:
    """Intersection over union of these classes, and their mean."""
    iou = {name: float(matrix.iou[classes.names.index(name)]) for name in names}
    return {**iou, "mean": float(np.mean(list(iou.values())))}
