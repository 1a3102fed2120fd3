"""
The deviation of predictions from exact ones, and whether it may be.

An ONNX may deviate from float64 twice as far as plain torch in the same precision on the same
frames. TensorRT may also choose kernels that add up products in FP16, which torch does not. So an
engine is judged by what a user notices, and the bound of rounding is only reported. Needs no torch.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from segmif.frames import FramePair, Prediction
from segmif.imaging.luma import luma
from segmif.metrics import ConfusionMatrix, fusion_metrics

MIN_TOLERANCE = 1e-4  # share of values; torch may happen to round all of them right

# What nobody notices, of an engine against float64:
MOST_LABELS = 0.002  # share of the pixels
MOST_LEVELS = 0.1  # mean difference of the fused image
LEAST_PSNR_DB = 50.0
MOST_MEAN_IOU = 0.002  # lost
MOST_CONFIDENCE = 1.0  # mean difference in 1/255

Bytes = NDArray[np.uint8]
Predict = Callable[[FramePair], Prediction]


def allowance(rounding: float, pixels: int | None = None) -> float:
    """
    How far an artefact may deviate from float64 if plain torch deviates by `rounding`.

    One of `pixels` always may, by one step: in a small frame it is a share above MIN_TOLERANCE.
    """
    return 2 * rounding + max(MIN_TOLERANCE, 1 / pixels if pixels else 0)


@dataclass(frozen=True)
class Frame:
    """A pair and its labels; None if the folder has none."""

    pair: FramePair
    labels: Bytes | None


@dataclass(frozen=True)
class Deviation:
    """The deviation of one way to compute from float64, over all frames."""

    name: str
    pixels: int  # that were compared
    fused_differs: float  # share of the fused values, at most 1
    fused_mean: float  # grey levels
    fused_most: int  # grey levels
    psnr_db: float  # infinite if nothing differs
    labels_differ: float  # share of the pixels
    confidence_mean: float | None  # in 1/255; None if the artefact gives none
    metrics: dict[str, float]  # fusion metric -> difference of its mean
    mean_iou: float | None  # difference; None without labels

    def exceeds(self, plain: "Deviation") -> list[str]:
        """A sentence for each deviation above the tolerance, which `plain` torch sets."""
        checked = [
            ("values of the fused image", self.fused_differs, plain.fused_differs),
            ("grey levels (mean)", self.fused_mean, plain.fused_mean),
            ("labels", self.labels_differ, plain.labels_differ),
        ]
        if self.confidence_mean is not None and plain.confidence_mean is not None:
            found, rounding = self.confidence_mean, plain.confidence_mean
            checked.append(("255ths of confidence (mean)", found, rounding))
        return [
            f"{self.name}: {what} differ by {found:.3g}, rounding explains {allowed:.3g}"
            for what, found, rounding in checked
            if not found <= (allowed := allowance(rounding, self.pixels))
        ]

    def noticeable(self) -> list[str]:
        """A sentence for each deviation that a user might notice."""
        limits = [
            ("labels differ by", self.labels_differ, MOST_LABELS),
            ("grey levels (mean) differ by", self.fused_mean, MOST_LEVELS),
            ("255ths of confidence (mean) differ by", self.confidence_mean or 0, MOST_CONFIDENCE),
            ("mean IoU loses", -(self.mean_iou or 0), MOST_MEAN_IOU),
        ]
        words = [
            f"{self.name}: {what} {found:.3g}, at most {most:.3g} goes unnoticed"
            for what, found, most in limits
            if not found <= most
        ]
        if not self.psnr_db >= LEAST_PSNR_DB:
            words.append(f"{self.name}: PSNR {self.psnr_db:.1f} dB, {LEAST_PSNR_DB} goes unnoticed")
        return words


@dataclass(frozen=True)
class Reference:
    """Frames and the exact predictions for them."""

    frames: Sequence[Frame]
    exact: Sequence[Prediction]
    classes: int

    def deviation(self, name: str, predict: Predict) -> Deviation:
        """Compares the predictions of `predict` with the exact ones."""
        given = [predict(frame.pair) for frame in self.frames]
        pairs = list(zip(given, self.exact, strict=True))
        fused = np.concatenate([np.abs(a.fused.astype(int) - b.fused).ravel() for a, b in pairs])
        labels = np.concatenate([(a.labels != b.labels).ravel() for a, b in pairs])
        square = float(np.square(fused).mean())
        truth, ours = self._metrics(self.exact), self._metrics(given)
        return Deviation(
            name=name,
            pixels=labels.size,
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
    """Mean difference of the confidences; None if one side has none."""
    differences = [
        np.abs(a.confidence.astype(int) - b.confidence).ravel()
        for a, b in pairs
        if a.confidence is not None and b.confidence is not None
    ]
    return float(np.concatenate(differences).mean()) if differences else None
