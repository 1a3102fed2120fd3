"""
Judge weights: fusion metrics on unlabelled pairs, intersection over union on labelled ones.

The data folder holds `msrs_test/{visible,infrared}` and `mfnet/val/{visible,infrared,label}`, where
the frames of one moment share a file name; a labelled name ends in D (day) or N (night).
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, astuple, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from segmif import runtime
from segmif.classes import MFNET
from segmif.frames import FramePair, Prediction, fit, unfit
from segmif.headers import ImageError, read_header
from segmif.images import read_infrared, read_labels, read_visible, write_bytes
from segmif.manifest import Manifest, ManifestError
from segmif.metrics import ConfusionMatrix, FusionMetrics, fusion_metrics, luma
from segmif.runtime.errors import ArtefactError
from training.baselines import BASELINES

Predict = Callable[[FramePair], Prediction]

FUSION_SET = Path("msrs_test")
MASK_SET = Path("mfnet", "val")
METRICS = tuple(field.name for field in fields(FusionMetrics))
LIGHTS = {"D": "day", "N": "night"}  # by the last letter of a frame's name


class EvaluationError(Exception):
    """Weights or data that cannot be judged."""


@dataclass(frozen=True)
class Report:
    """Mean fusion metrics by method, and confusion by light: all, day, night."""

    fusion: Mapping[str, FusionMetrics]  # "network", and the baselines where asked for
    fusion_pairs: int
    masks: Mapping[str, ConfusionMatrix]
    mask_pairs: int


def evaluate(predict: Predict, data_root: Path, *, baselines: bool = False) -> Report:
    """
    Judge a network, given as pair -> prediction, on the frames under `data_root`.

    `baselines` adds rows for fusion without a network. Raises EvaluationError, before the network
    is asked, where frames are missing, without partner or of unequal size.
    """
    fusion_names = _complete(data_root / FUSION_SET, ("visible", "infrared"))
    mask_names = _complete(data_root / MASK_SET, ("visible", "infrared", "label"))
    for name in mask_names:
        if Path(name).stem[-1] not in LIGHTS:
            raise EvaluationError(f"{MASK_SET}: {name} should end in D (day) or N (night)")
    return Report(
        fusion=_judge_fusion(predict, data_root / FUSION_SET, fusion_names, baselines),
        fusion_pairs=len(fusion_names),
        masks=_judge_masks(predict, data_root / MASK_SET, mask_names),
        mask_pairs=len(mask_names),
    )


def as_text(report: Report) -> str:
    """Two tables for people."""
    width = max(map(len, (*report.fusion, *MFNET.names)))
    lines = [f"fusion, luma, mean of {report.fusion_pairs} pairs of {FUSION_SET}, more is better"]
    lines.append(" " * width + "".join(f"{name:>8}" for name in METRICS))
    for method, metrics in report.fusion.items():
        lines.append(f"{method:{width}}" + "".join(f"{v:8.3f}" for v in asdict(metrics).values()))
    lines += ["", f"masks, intersection over union on {report.mask_pairs} pairs of {MASK_SET}"]
    lines.append(" " * width + "".join(f"{light:>8}" for light in report.masks))
    for index, name in enumerate(MFNET.names):
        shares = (matrix.iou[index] for matrix in report.masks.values())
        cells = (f"{'absent' if math.isnan(share) else f'{share:.3f}':>8}" for share in shares)
        lines.append(f"{name:{width}}" + "".join(cells))
    means = "".join(f"{matrix.mean_iou:8.3f}" for matrix in report.masks.values())
    lines.append(f"{'mean':{width}}{means}   over all {len(MFNET.names)} ids, absent counts 0")
    return "\n".join(lines)


def as_json(report: Report) -> dict[str, Any]:
    """The same for programs: an absent class is null."""

    def masks(matrix: ConfusionMatrix) -> dict[str, Any]:
        shares = (None if math.isnan(share) else float(share) for share in matrix.iou)
        return {"iou": dict(zip(MFNET.names, shares, strict=True)), "mean_iou": matrix.mean_iou}

    return {
        "fusion": {
            "pairs": report.fusion_pairs,
            "rows": {method: asdict(metrics) for method, metrics in report.fusion.items()},
        },
        "masks": {
            "pairs": report.mask_pairs,
            "light": {light: masks(matrix) for light, matrix in report.masks.items()},
        },
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `python -m training evaluate` takes."""
    parser.add_argument("--weights", type=Path, required=True, help=".safetensors or .onnx")
    parser.add_argument("--data", type=Path, required=True, help="folder with msrs_test and mfnet")
    parser.add_argument("--json", metavar="FILE", help="also write the numbers; - prints only them")
    parser.add_argument(
        "--baselines", action="store_true", help="add average, maximum and classical fusion"
    )


def main(args: argparse.Namespace) -> int:
    """Judge the weights and print the tables; 1 and a sentence where that is impossible."""
    try:
        manifest = Manifest.read(args.weights)
        if manifest.classes != MFNET:
            raise EvaluationError(
                f"{args.weights.name} labels by {manifest.taxonomy}; {MASK_SET} needs {MFNET.name}"
            )
        report = evaluate(open_weights(args.weights), args.data, baselines=args.baselines)
        weights = {"file": args.weights.name, "sha256": manifest.sha256}
        numbers = json.dumps({"weights": weights, **as_json(report)}, indent=2)
        print(numbers if args.json == "-" else as_text(report))
        if args.json and args.json != "-":
            write_bytes(Path(args.json), numbers.encode() + b"\n")
    except (EvaluationError, ManifestError, ArtefactError, ImageError, OSError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    return 0


def open_weights(path: Path) -> Predict:
    """Weights as pair -> prediction: .onnx by ONNX Runtime, .safetensors by torch (GPU if any)."""
    if path.suffix == ".onnx":
        return partial(runtime.predict, runtime.open_runtime(path))
    if path.suffix != ".safetensors":
        raise EvaluationError(f"{path.name} is no weights file; expected .safetensors or .onnx")
    import torch  # an ONNX file is judged without it

    from segmif.model.weights import load_network

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = load_network(path, device)

    def by_torch(pair: FramePair) -> Prediction:
        fitted = fit(pair)
        frames = (fitted.visible, fitted.infrared)
        with torch.inference_mode():
            outputs = network(*(torch.from_numpy(frame).to(device)[None] for frame in frames))
        fused, labels = (output[0].cpu().numpy() for output in outputs)
        return unfit(Prediction(fused, labels), *pair.infrared.shape)

    return by_torch


def _complete(folder: Path, parts: tuple[str, ...]) -> list[str]:
    """File names under which every part of a folder has a frame, all of one size in a moment."""
    held: dict[str, set[str]] = {}
    for part in parts:
        if not (folder / part).is_dir():
            raise EvaluationError(f"there is no folder {folder / part}; what is under --data?")
        held[part] = {path.name for path in (folder / part).iterdir()}
    names = sorted(set().union(*held.values()))
    if not names:
        raise EvaluationError(f"{folder} holds no frames in {', '.join(parts)}")
    for name in names:
        missing = [part for part in parts if name not in held[part]]
        if missing:
            raise EvaluationError(f"{folder}: {name} has no partner in {', '.join(missing)}")
        _check_sizes([folder / part / name for part in parts])
    return names


def _check_sizes(paths: list[Path]) -> None:
    sizes = {}
    for path in paths:
        try:
            header = read_header(path.read_bytes())
        except ImageError as error:
            raise EvaluationError(f"{path}: {error}") from error
        sizes[path] = f"{header.width}x{header.height}"
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"{path} is {size}" for path, size in sizes.items())
        raise EvaluationError(f"frames of one moment must have one size: {found}")


def _read_pair(folder: Path, name: str) -> FramePair:
    visible = read_visible(folder / "visible" / name)
    return FramePair(visible, read_infrared(folder / "infrared" / name))


def _judge_fusion(
    predict: Predict, folder: Path, names: list[str], baselines: bool
) -> dict[str, FusionMetrics]:
    """Mean metrics of each method over the pairs."""
    rows: dict[str, list[FusionMetrics]] = {}
    for name in tqdm(names, desc="fusion", unit="pair"):
        pair = _read_pair(folder, name)
        visible = luma(pair.visible)
        fused = {"network": luma(predict(pair).fused)}
        if baselines:
            fused |= {method: fuse(visible, pair.infrared) for method, fuse in BASELINES.items()}
        for method, frame in fused.items():
            rows.setdefault(method, []).append(fusion_metrics(visible, pair.infrared, frame))
    return {method: _mean(metrics) for method, metrics in rows.items()}


def _mean(rows: list[FusionMetrics]) -> FusionMetrics:
    return FusionMetrics(*np.mean([astuple(row) for row in rows], axis=0).tolist())


def _judge_masks(predict: Predict, folder: Path, names: list[str]) -> dict[str, ConfusionMatrix]:
    """Confusion over all pairs and over those of each light."""
    empty = ConfusionMatrix.empty(len(MFNET.names))
    by_light = dict.fromkeys(LIGHTS.values(), empty)
    for name in tqdm(names, desc="masks", unit="pair"):
        light = LIGHTS[Path(name).stem[-1]]
        truth = read_labels(folder / "label" / name)
        prediction = predict(_read_pair(folder, name))
        try:
            by_light[light] = by_light[light].add(prediction.labels, truth)
        except ValueError as error:
            raise EvaluationError(f"{folder / 'label' / name}: {error}") from error
    return {"all": sum(by_light.values(), start=empty), **by_light}
