"""
Evaluate weights: fusion metrics on pairs, intersection over union on labelled ones, a report.

Without `--set`, fusion is evaluated on `msrs_test/{visible,infrared}` and masks on
`mfnet/val/{visible,infrared,label}` under the data folder. With it, every named set gets fusion
metrics and, if it is labelled by the classes of the weights, masks.
"""

import argparse
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from segmif import runtime
from segmif.argument_types import FloatRange
from segmif.classes import Taxonomy
from segmif.files import write_text
from segmif.frames import FIXED_HUE, TINTS
from segmif.machine import command, processor
from segmif.manifest import Manifest

from ..data.class_views import with_classes
from ..data.datasets import KINDS, FrameSet, notes_of, open_set
from ..data.datasets.pairs import PairSet
from .frame_metrics import EvaluationError, Measures, check, evaluate_set
from .fusion_quality import Predict
from .tables import as_json, as_text

if TYPE_CHECKING:
    from .report import Provenance

WEIGHTS = (".safetensors", ".onnx", ".engine")
FUSION_SET, MASK_SET = "pairs:msrs_test", "mfnet:mfnet:val"


@dataclass(frozen=True)
class SetName:
    """A set as the command line names it."""

    kind: str
    folder: str
    split: str | None = None

    @classmethod
    def parse(cls, text: str) -> "SetName":
        """Read KIND:FOLDER[:SPLIT]; argparse.ArgumentTypeError, in a sentence, for another text."""
        parts = text.split(":")
        if len(parts) not in (2, 3) or not all(parts):
            raise argparse.ArgumentTypeError(
                f"{text!r} is no set; expected KIND:FOLDER or KIND:FOLDER:SPLIT, such as "
                f"{FUSION_SET} or {MASK_SET}"
            )
        return cls(*parts)

    def open(self, root: Path) -> PairSet:
        """Open the set under the data folder, as `open_set` does."""
        return open_set(self.kind, root / self.folder, self.split)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `segmif evaluate` takes."""
    add = parser.add_argument
    add("--weights", type=Path, required=True, help=", ".join(WEIGHTS))
    add("--data", type=Path, required=True, help="folder that the sets lie in")
    add(
        "--set",
        type=SetName.parse,
        action="append",
        dest="sets",
        metavar="KIND:FOLDER[:SPLIT]",
        help=f"evaluate this set of --data, KIND being one of {', '.join(KINDS)}; may be repeated "
        f"(without it: fusion on {FUSION_SET}, masks on {MASK_SET})",
    )
    add("--json", metavar="FILE", help="also write the numbers; - prints only them")
    add("--frames", action="store_true", help="add each frame's numbers to the JSON")
    add("--report", type=Path, metavar="FILE", help="write an HTML page; takes in --baselines")
    add(
        "--tint",
        type=FloatRange(*TINTS),
        metavar="0..1",
        help="strength of the hue in the pictures of --report (as the weights say); no metric "
        "depends on it",
    )
    add("--baselines", action="store_true", help="add each sensor alone and fusion by rules")
    add(
        "--sensor-drop", action="store_true", help="evaluate masks with either sensor black as well"
    )


def main(args: argparse.Namespace) -> int:
    """Evaluate the weights, print the tables and write the files that were asked for."""
    json_file = None if args.json in (None, "-") else Path(args.json)
    check_outputs(json_file, args.report)
    if args.report:
        from . import report  # its jinja2 is missing in the base install
    predict, runs_on, manifest = open_with_manifest(args.weights, args.tint)
    sets = [
        without_foreign_masks(frames, measures, args.weights.name, manifest.classes)
        for frames, measures in open_sets(args)
    ]
    read_once([frames for frames, _ in sets])
    results = [
        replace(evaluate_set(predict, frames, measures), notes=notes_of(frames))
        for frames, measures in sets
    ]

    weights = {"file": args.weights.name, "sha256": manifest.sha256}
    numbers = json.dumps({"weights": weights, **as_json(results, frames=args.frames)}, indent=2)
    print(numbers if args.json == "-" else as_text(results))
    if json_file:
        write_text(json_file, numbers + "\n")
    if args.report:
        evaluated = [(frames, result) for (frames, _), result in zip(sets, results, strict=True)]
        page = report.page(_provenance(args.weights, manifest, runs_on), evaluated, predict)
        write_text(args.report, page)
    return 0


def open_sets(args: argparse.Namespace) -> list[tuple[PairSet, Measures]]:
    """The sets that the arguments name, each with what to measure on it."""
    with_report = args.report is not None
    measures = Measures(
        baselines=args.baselines or with_report,
        quality=with_report,
        sensor_drop=args.sensor_drop,
    )
    if args.sets:
        return [(name.open(args.data), measures) for name in args.sets]
    return [
        (SetName.parse(FUSION_SET).open(args.data), replace(measures, masks=False)),
        (SetName.parse(MASK_SET).open(args.data), replace(measures, fusion=False)),
    ]


def without_foreign_masks(
    frames: PairSet, measures: Measures, weights: str, taxonomy: Taxonomy
) -> tuple[FrameSet, Measures]:
    """
    A set whose labels lack classes of the weights: fusion alone, and a note that says so.

    If they have more classes, these count as background, as in a training by `--classes`. Raises
    EvaluationError if only masks were asked for.
    """
    # colours and the name of the whole say nothing of what an id means
    if not measures.masks or not frames.taxonomy or frames.taxonomy.names == taxonomy.names:
        return frames, measures
    shared = taxonomy.shared_with(frames.taxonomy)
    if len(shared) == len(taxonomy.names):
        others = [
            name for id_, name in enumerate(frames.taxonomy.names) if id_ not in shared.values()
        ]
        note = f"{weights} does not know {', '.join(others)}: they count as background"
        noted = replace(frames, notes=(*frames.notes, *([note] if others else ())))
        return with_classes(noted, taxonomy), measures
    unlike = f"{weights} labels by {taxonomy.name}; {frames.name} needs {frames.taxonomy.name}"
    if not measures.fusion:
        raise EvaluationError(f"{unlike}; name the sets to evaluate with --set")
    notes = (*frames.notes, f"masks are not evaluated: {unlike}")
    return replace(frames, notes=notes), replace(measures, masks=False)


def read_once(sets: Sequence[FrameSet]) -> None:
    """Reads all frames: a broken one is known before minutes of evaluation. Raises as `read`."""
    for frames in sets:
        for index in tqdm(range(len(frames.names)), desc=f"{frames.name}: reading", leave=False):
            check(frames.read(index), frames.name)


def open_weights(path: Path, tint: float | None = None) -> tuple[Predict, str]:
    """As `open_with_manifest`, without the manifest."""
    return open_with_manifest(path, tint)[:2]


def open_with_manifest(path: Path, tint: float | None = None) -> tuple[Predict, str, Manifest]:
    """
    Weights as pair -> prediction, in words what they run on, and the manifest of what was read.

    .safetensors runs in torch, on a GPU if there is one; of all else `open_runtime` decides whether
    it can run, and raises as it says. EvaluationError if the file is of neither kind, or if `tint`
    is stated and its hue is fixed.
    """
    if path.suffix not in WEIGHTS:
        raise EvaluationError(
            f"{path.name} is of an unknown kind; expected weights in {', '.join(WEIGHTS)}"
        )
    if path.suffix != ".safetensors":
        opened = runtime.open_runtime(path)
        if tint is not None and opened.default_tint is None:
            raise EvaluationError(f"tint is {tint:g}, but {FIXED_HUE}")
        return partial(runtime.predict, opened, tint=tint), opened.name, opened.manifest
    import torch  # an ONNX file is evaluated without it

    from segmif.model.predict import predict_by
    from segmif.model.weights import open_network

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network, manifest = open_network(path, device)
    # depthwise convolutions take half as long
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return predict_by(network, tint), f"torch {torch.__version__} {device}", manifest


def check_outputs(*files: Path | None) -> None:
    """Evaluation takes minutes: say before it that there is no place for its result."""
    for path in files:
        if path and path.is_dir():
            raise EvaluationError(f"{path} cannot be written, it is a folder: name a file")
        if path and not path.parent.is_dir():
            raise EvaluationError(f"{path} cannot be written: make the folder {path.parent} first")


def _provenance(weights: Path, manifest: Manifest, runs_on: str) -> "Provenance":
    from . import report

    return report.Provenance(
        weights=weights.name,
        manifest=manifest,
        command=command(),
        runs_on=runs_on,
        machine=f"{platform.system()}, {processor()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}",
        date=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    )
