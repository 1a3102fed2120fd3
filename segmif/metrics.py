"""
Metrics of fused images and of masks.

Fusion metrics take 8-bit luma of one size, (H, W) uint8, levels 0..255; higher is better for all.
A source without content loses nothing: VIF is 1 for constant sources, Qabf for black ones.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from segmif.classes import IGNORE

Luma = NDArray[np.uint8]  # (H, W)
Plane = NDArray[np.float64]  # (H, W)

LEVELS = 256
MINIMUM_SIDE = 41  # [px] below it the coarsest of VIF's four scales has no whole window

VIF_NOISE_VARIANCE = 2.0  # [levels^2] of the eye's own noise, as published for the pixel domain
VIF_FLAT = 1e-10  # [levels^2] a window with less variance is taken as constant

# Xydeas and Petrovic 2000: the sigmoids (height, slope, centre) that grade kept strength and angle.
QABF_STRENGTH = (0.9994, -15.0, 0.5)
QABF_ANGLE = (0.9879, -22.0, 0.8)

SSIM_WINDOW = 7  # [px]
SSIM_C1 = (0.01 * 255) ** 2
SSIM_C2 = (0.03 * 255) ** 2


@dataclass(frozen=True)
class FusionMetrics:
    """Metrics of one fused frame, or their mean over many, under the literature's names."""

    EN: float  # [bit] entropy, 0..8
    SD: float  # [levels] standard deviation
    SF: float  # [levels] spatial frequency
    AG: float  # [levels/px] average gradient
    MI: float  # [nat] mutual information, summed over both sources
    SCD: float  # sum of the correlations of differences, -2..2
    VIF: float  # visual information fidelity, summed over both sources
    Qabf: float  # kept edges, 0..1
    SSIM: float  # structural similarity, summed over both sources, -2..2


def fusion_metrics(visible: Luma, infrared: Luma, fused: Luma) -> FusionMetrics:
    """
    Metrics of one fused frame and its two sources, all (H, W) uint8, at least 41x41.

    Raises ValueError for other types, unequal or too small frames.
    """
    for name, frame in (("visible", visible), ("infrared", infrared), ("fused", fused)):
        if frame.ndim != 2 or frame.dtype != np.uint8 or frame.shape != visible.shape:
            raise ValueError(
                f"{name} is {frame.shape} {frame.dtype}; fusion metrics take three (H, W) uint8 "
                f"frames of one size (visible luma is {visible.shape})"
            )
    if min(visible.shape) < MINIMUM_SIDE:
        raise ValueError(f"frames are {visible.shape}, VIF needs {MINIMUM_SIDE} px on both sides")

    def over_both(metric: Callable[[Luma, Luma], float]) -> float:
        return metric(visible, fused) + metric(infrared, fused)

    return FusionMetrics(
        EN=entropy(fused),
        SD=float(fused.std()),
        SF=spatial_frequency(fused),
        AG=average_gradient(fused),
        MI=over_both(mutual_information),
        SCD=correlations_of_differences(visible, infrared, fused),
        VIF=over_both(visual_information_fidelity),
        Qabf=edge_preservation(visible, infrared, fused),
        SSIM=over_both(structural_similarity),
    )


def entropy(image: Luma) -> float:
    """Bits per pixel of the histogram (Roberts et al., J. Appl. Remote Sens. 2, 2008)."""
    share = np.bincount(image.ravel(), minlength=LEVELS) / image.size
    share = share[share > 0]
    return float((share * np.log2(1 / share)).sum())


def spatial_frequency(image: Luma) -> float:
    """Root of the summed mean squares of both first differences (Eskicioglu and Fisher 1995)."""
    levels = image.astype(np.float64)
    return float(np.sqrt(sum((np.diff(levels, axis=axis) ** 2).mean() for axis in (0, 1))))


def average_gradient(image: Luma) -> float:
    """Mean of sqrt((dx^2 + dy^2) / 2), central differences (Cui et al., Opt. Commun. 341, 2015)."""
    down, right = np.gradient(image.astype(np.float64))
    return float(np.sqrt((down**2 + right**2) / 2).mean())


def mutual_information(source: Luma, fused: Luma) -> float:
    """Nats that two frames share, from a 256x256 histogram (Qu et al., Electron. Lett. 2002)."""
    cell = source.ravel().astype(np.intp) * LEVELS + fused.ravel()
    joint = np.bincount(cell, minlength=LEVELS**2).reshape(LEVELS, LEVELS) / source.size
    apart = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / apart[seen])).sum())


def correlations_of_differences(visible: Luma, infrared: Luma, fused: Luma) -> float:
    """
    SCD: what fusion added to one source correlates with the other (Aslantas and Bendes 2015).

    A constant difference or source correlates with nothing: 0.
    """
    seen, warm, both = (frame.astype(np.float64) for frame in (visible, infrared, fused))
    return _correlation(both - seen, warm) + _correlation(both - warm, seen)


def visual_information_fidelity(source: Luma, fused: Luma) -> float:
    """
    Share of the source's information that the eye finds in the fused frame; it may exceed 1.

    Pixel domain, four scales (Sheikh and Bovik, IEEE Trans. Image Process. 15(2), 2006). Gaussian
    windows of 17, 9, 5 and 3 px with a sigma of a fifth of that, whole windows only.
    """
    reference, distorted = source.astype(np.float64), fused.astype(np.float64)
    kept = held = 0.0
    for scale, window in enumerate((17, 9, 5, 3)):
        kernel = _gaussian(window)
        if scale > 0:
            reference = _filter(reference, kernel)[::2, ::2]
            distorted = _filter(distorted, kernel)[::2, ::2]
        at_scale = _information(reference, distorted, kernel)
        kept, held = kept + at_scale[0], held + at_scale[1]
    return kept / held if held > 0 else 1.0


def edge_preservation(visible: Luma, infrared: Luma, fused: Luma) -> float:
    """
    Qabf: how much of the sources' edges the fused frame keeps, strength and angle, weighted by
    their strength (Xydeas and Petrovic, Electron. Lett. 36(4), 2000).
    """
    fused_edges = _edges(fused)
    kept = held = 0.0
    for source in (visible, infrared):
        strength, angle = _edges(source)
        kept += float((strength * _preservation(strength, angle, *fused_edges)).sum())
        held += float(strength.sum())
    return kept / held if held > 0 else 1.0


def structural_similarity(source: Luma, fused: Luma) -> float:
    """
    Mean SSIM over whole 7x7 uniform windows, unbiased covariances, range 255 (Wang et al., IEEE
    Trans. Image Process. 13(4), 2004).
    """
    a, b = source.astype(np.float64), fused.astype(np.float64)
    kernel = np.full(SSIM_WINDOW, 1 / SSIM_WINDOW)
    mean_a, mean_b = _filter(a, kernel), _filter(b, kernel)
    unbiased = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)
    spread = unbiased * (_filter(a * a + b * b, kernel) - mean_a**2 - mean_b**2)
    shared = unbiased * (_filter(a * b, kernel) - mean_a * mean_b)
    likeness = (2 * mean_a * mean_b + SSIM_C1) * (2 * shared + SSIM_C2)
    return float((likeness / ((mean_a**2 + mean_b**2 + SSIM_C1) * (spread + SSIM_C2))).mean())


@dataclass(frozen=True)
class ConfusionMatrix:
    """How often each true class was given each label; matrices of parts add up to the whole."""

    counts: NDArray[np.int64]  # (true class, given class) pixels

    @classmethod
    def empty(cls, classes: int) -> Self:
        """A matrix over the ids 0 .. classes - 1 that has seen no pixel."""
        return cls(np.zeros((classes, classes), np.int64))

    def add(self, labels: NDArray[np.uint8], truth: NDArray[np.uint8]) -> Self:
        """
        With one more mask, both (H, W) class ids; pixels whose truth is 255 are left out.

        Raises ValueError for unequal sizes and for ids that the matrix does not have.
        """
        if labels.shape != truth.shape:
            raise ValueError(f"labels are {labels.shape}, truth {truth.shape}: expected one size")
        classes = len(self.counts)
        counted = truth != IGNORE
        given, true = labels[counted].astype(np.intp), truth[counted].astype(np.intp)
        for name, ids in (("labels", given), ("truth", true)):
            if ids.max(initial=0) >= classes:
                raise ValueError(f"{name} hold the id {ids.max()}, expected 0..{classes - 1}")
        seen = np.bincount(true * classes + given, minlength=classes**2)
        return type(self)(self.counts + seen.reshape(classes, classes))

    def __add__(self, other: Self) -> Self:
        return type(self)(self.counts + other.counts)

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each class (classes,), NaN if neither side has a pixel."""
        hit = np.diagonal(self.counts)
        union = self.counts.sum(0) + self.counts.sum(1) - hit
        return np.where(union > 0, hit / np.maximum(union, 1), np.nan)

    @property
    def mean_iou(self) -> float:
        """Mean over ALL ids, the unlabelled one too; an absent class (NaN in `iou`) counts 0."""
        return float(np.nan_to_num(self.iou).mean())


def _correlation(a: Plane, b: Plane) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / scale) if scale > 0 else 0.0


def _gaussian(window: int) -> NDArray[np.float64]:
    """Weights (window,) with a sigma of a fifth of the window, summing to 1."""
    offset = np.arange(window) - window // 2
    weights: NDArray[np.float64] = np.exp(-0.5 * (offset / (window / 5)) ** 2)
    weights /= weights.sum()
    return weights


def _filter(plane: Plane, kernel: NDArray[np.float64]) -> Plane:
    """Correlate with a symmetric kernel (n,), n odd, along both axes, whole windows only."""
    for _ in range(2):
        plane = _filter_rows(plane, kernel).T
    return plane


def _filter_rows(plane: Plane, kernel: NDArray[np.float64]) -> Plane:
    last = len(kernel) - 1
    rows = len(plane) - last
    total: Plane = kernel[last // 2] * plane[last // 2 : last // 2 + rows]
    pair = np.empty_like(total)  # one buffer for all taps: allocating costs more than the sums
    for tap in range(last // 2):
        np.add(plane[tap : tap + rows], plane[last - tap : last - tap + rows], out=pair)
        pair *= kernel[tap]
        total += pair
    return total


def _information(
    reference: Plane, distorted: Plane, kernel: NDArray[np.float64]
) -> tuple[float, float]:
    """Information of one scale through the distorted frame, and in the reference itself."""
    mean_r, mean_d = _filter(reference, kernel), _filter(distorted, kernel)
    variance_r = _filter(reference**2, kernel) - mean_r**2
    variance_d = _filter(distorted**2, kernel) - mean_d**2
    shared = _filter(reference * distorted, kernel) - mean_r * mean_d
    variance_r[variance_r < VIF_FLAT] = 0
    alive = (variance_r > 0) & (variance_d > VIF_FLAT) & (shared > 0)
    gain = np.divide(shared, variance_r, out=np.zeros_like(shared), where=alive)
    noise = np.maximum(variance_d - gain * shared, 0) + VIF_NOISE_VARIANCE
    kept = np.log1p(gain**2 * variance_r / noise).sum()
    return float(kept), float(np.log1p(variance_r / VIF_NOISE_VARIANCE).sum())


def _edges(image: Luma) -> tuple[Plane, Plane]:
    """Sobel strength and undirected angle -pi/2..pi/2; outside the frame is black."""
    framed = np.pad(image.astype(np.float64), 1)
    smooth_down = framed[:-2] + 2 * framed[1:-1] + framed[2:]
    smooth_right = framed[:, :-2] + 2 * framed[:, 1:-1] + framed[:, 2:]
    right = smooth_down[:, 2:] - smooth_down[:, :-2]
    down = smooth_right[2:] - smooth_right[:-2]
    slope = np.divide(down, right, out=np.full_like(right, np.inf), where=right != 0)
    return np.hypot(right, down), np.arctan(slope)


def _preservation(strength: Plane, angle: Plane, in_fused: Plane, angle_in_fused: Plane) -> Plane:
    """Grade 0..1 of each source edge in the fused frame: kept strength times kept angle."""
    stronger = np.maximum(strength, in_fused)
    kept = np.minimum(strength, in_fused) / np.where(stronger > 0, stronger, 1)
    aligned = 1 - np.abs(angle - angle_in_fused) / (np.pi / 2)
    return _sigmoid(kept, *QABF_STRENGTH) * _sigmoid(aligned, *QABF_ANGLE)


def _sigmoid(value: Plane, height: float, slope: float, centre: float) -> Plane:
    return height / (1 + np.exp(slope * (value - centre)))
