"""
`python -m export verify`: the same frames through torch, ONNX and engine, and who strays too far.

The truth is the network in float64. An artefact may stray twice as far from it as plain torch does
in the artefact's own precision on the same frames: that is what rounding costs, and no more.
"""

import argparse
import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from segmif import images
from segmif.frames import CONFIDENCE, FramePair, Prediction, fit, unfit
from segmif.metrics import ConfusionMatrix, fusion_metrics, luma
from segmif.model.network import Network
from segmif.model.precision import to_half
from segmif.model.weights import load_network
from segmif.runtime import open_runtime, predict

FREE = 1e-4  # share of values that may differ where torch happens to round all of them rightly

Bytes = NDArray[np.uint8]
Predict = Callable[[FramePair], Prediction]


@dataclass(frozen=True)
class Frame:
    """A pair and, where the folder has them, its labels."""

    pair: FramePair
    labels: Bytes | None


@dataclass(frozen=True)
class Strays:
    """How far one way to compute strays from float64, over all frames."""

    name: str
    fused_differs: float  # share of the fused values, at most 1
    fused_mean: float  # grey levels
    fused_most: int  # grey levels
    psnr_db: float  # infinite where nothing differs
    labels_differ: float  # share of the pixels
    confidence_mean: float | None  # in 1/255; None where the artefact gives none
    metrics: dict[str, float]  # fusion metric -> difference of its mean
    mean_iou: float | None  # difference; None without labels

    def exceeds(self, plain: "Strays") -> list[str]:
        """What strays more than plain torch in the same precision may explain, in words."""
        checked = [
            ("values of the fused image", self.fused_differs, 2 * plain.fused_differs + FREE),
            ("grey levels (mean)", self.fused_mean, 2 * plain.fused_mean + FREE),
            ("labels", self.labels_differ, 2 * plain.labels_differ + FREE),
        ]
        if self.confidence_mean is not None and plain.confidence_mean is not None:
            allowed = 2 * plain.confidence_mean + FREE
            checked.append(("255ths of confidence (mean)", self.confidence_mean, allowed))
        return [
            f"{self.name}: {what} differ by {found:.3g}, rounding explains {allowed:.3g}"
            for what, found, allowed in checked
            if not found <= allowed
        ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m export verify`."""
    parser.add_argument("--weights", type=Path, required=True, help="the network, safetensors")
    parser.add_argument("artefacts", type=Path, nargs="+", help=".onnx and .engine made from it")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with visible, infrared and maybe label"
    )
    parser.add_argument("--frames", type=int, default=10, help="pairs, evenly spread [10]")
    parser.add_argument("--plugin", type=Path, help="library of the attention's plugin")
    parser.add_argument("--json", type=Path, help="also write the numbers")


def main(args: argparse.Namespace) -> int:
    """Compares as the arguments say; returns the exit code: 1 where anything strays too far."""
    network = load_network(args.weights)
    frames = read_frames(args.data, args.frames)
    for path in args.artefacts:  # what does not run here is told before float64 takes its time
        open_runtime(path, plugin=args.plugin).close()
    trial = Trial.of(network, frames)
    plain = {
        "fp32": trial.strays("torch fp32", by_torch(network)),
        "fp16": trial.strays("torch fp16", by_torch(to_half(network))),
    }
    found, faults = list(plain.values()), []
    for path in args.artefacts:
        runtime = open_runtime(path, plugin=args.plugin)
        name = f"{path.name} ({runtime.name})"
        answer = partial(predict, runtime, confidence=CONFIDENCE in runtime.outputs)
        found.append(trial.strays(name, answer))
        if runtime.manifest.precision in plain:  # INT8 is no rounding: its accuracy is measured
            faults += found[-1].exceeds(plain[runtime.manifest.precision])
        runtime.close()
    print(table(found))
    print(
        "\n".join(faults)
        or f"all within twice what rounding costs torch, {len(trial.frames)} pairs"
    )
    if args.json:
        args.json.write_text(json.dumps([asdict(each) for each in found], indent=2) + "\n")
    return 1 if faults else 0


def read_frames(folder: Path, count: int) -> list[Frame]:
    """Up to `count` pairs of a folder, evenly spread over it; ValueError where there is none."""
    names = sorted(
        path.name
        for path in (folder / "visible").glob("*")
        if (folder / "infrared" / path.name).is_file()
    )
    if not names:
        raise ValueError(
            f"{folder} has no pair: expected visible/NAME and infrared/NAME of the same name"
        )
    chosen = [names[i * len(names) // count] for i in range(min(count, len(names)))]
    return [_read(folder, name) for name in chosen]


def _read(folder: Path, name: str) -> Frame:
    pair = FramePair(
        images.read_visible(folder / "visible" / name),
        images.read_infrared(folder / "infrared" / name),
    )
    labels = folder / "label" / name
    return Frame(pair, images.read_labels(labels) if labels.is_file() else None)


def by_torch(network: Network) -> Predict:
    """The network itself, in whatever precision it is."""

    def answer(pair: FramePair) -> Prediction:
        fitted = fit(pair)
        with torch.inference_mode():
            given = (torch.from_numpy(array)[None] for array in (fitted.visible, fitted.infrared))
            prediction = Prediction(*(output[0].numpy() for output in network(*given)))
        return unfit(prediction, *pair.infrared.shape)

    return answer


@dataclass(frozen=True)
class Trial:
    """Frames and the exact answers to them."""

    frames: Sequence[Frame]
    exact: Sequence[Prediction]
    classes: int

    @classmethod
    def of(cls, network: Network, frames: Sequence[Frame]) -> "Trial":
        """Answers the frames by the network in float64."""
        exact = by_torch(copy.deepcopy(network).double())
        classes = len(network.config.taxonomy.names)
        return cls(frames, [exact(frame.pair) for frame in frames], classes)

    def strays(self, name: str, answer: Predict) -> Strays:
        """Compares the answers of one way to compute with the exact ones."""
        given = [answer(frame.pair) for frame in self.frames]
        pairs = list(zip(given, self.exact, strict=True))
        fused = np.concatenate([np.abs(a.fused.astype(int) - b.fused).ravel() for a, b in pairs])
        labels = np.concatenate([(a.labels != b.labels).ravel() for a, b in pairs])
        square = float(np.square(fused).mean())
        truth, ours = self._metrics(self.exact), self._metrics(given)
        return Strays(
            name=name,
            fused_differs=float((fused > 0).mean()),
            fused_mean=float(fused.mean()),
            fused_most=int(fused.max()),
            psnr_db=10 * float(np.log10(255**2 / square)) if square else float("inf"),
            labels_differ=float(labels.mean()),
            confidence_mean=_confidence_mean(pairs),
            metrics={key: ours[key] - truth[key] for key in truth},
            mean_iou=self._mean_iou(given) - self._mean_iou(self.exact) if self._labelled else None,
        )

    @property
    def _labelled(self) -> bool:
        return all(frame.labels is not None for frame in self.frames)

    def _metrics(self, predictions: Sequence[Prediction]) -> dict[str, float]:
        """Mean of each fusion metric."""
        rows = [
            asdict(fusion_metrics(luma(f.pair.visible), f.pair.infrared, luma(p.fused)))
            for f, p in zip(self.frames, predictions, strict=True)
        ]
        return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}

    def _mean_iou(self, predictions: Sequence[Prediction]) -> float:
        confusion = ConfusionMatrix.empty(self.classes)
        for frame, prediction in zip(self.frames, predictions, strict=True):
            if frame.labels is not None:
                confusion = confusion.add(prediction.labels, frame.labels)
        return confusion.mean_iou


def _confidence_mean(pairs: Sequence[tuple[Prediction, Prediction]]) -> float | None:
    """Mean difference of the confidences; None where one has none."""
    differences = [
        np.abs(a.confidence.astype(int) - b.confidence).ravel()
        for a, b in pairs
        if a.confidence is not None and b.confidence is not None
    ]
    return float(np.concatenate(differences).mean()) if differences else None


def table(found: Sequence[Strays]) -> str:
    """What was found, as text: differences from float64."""
    width = max(len(each.name) for each in found)
    rows = [
        f"{'':<{width}}  differ   mean  most   PSNR  labels  conf.   metrics      mIoU",
    ]
    for each in found:
        metric, difference = max(each.metrics.items(), key=lambda item: abs(item[1]))
        sure = "-" if each.confidence_mean is None else f"{each.confidence_mean:.4f}"
        iou = "-" if each.mean_iou is None else f"{each.mean_iou:+.4f}"
        rows.append(
            f"{each.name:<{width}} {each.fused_differs:7.3%} {each.fused_mean:6.4f} "
            f"{each.fused_most:5d} {each.psnr_db:6.1f} {each.labels_differ:7.3%} {sure:>6} "
            f"{metric} {difference:+.4f} {iou:>8}"
        )
    return "\n".join(rows)
