"""What a good fused image and a good mask are, and how both are weighed against each other."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from segmif.classes import IGNORE
from segmif.metrics import QABF_ANGLE, QABF_STRENGTH

from ..data.datasets.partial_labels import ALLOWED

ENHANCED = (0.12, 0.18)  # median of infrared below which its dark was stretched away, and above not
SCALES = (1, 2, 4, 8)  # pixels: an edge is kept whether it is fine or soft


@dataclass(frozen=True, kw_only=True)
class FusionWeights:
    """How much each property of the fused luma counts."""

    intensity: float = 10.0  # as bright as both sensors together say
    gradient: float = 5.0  # edges of the sensor that shows them more strongly
    structure: float = 2.0  # SSIM with both sensors
    edge_gain: float = 1.07  # edges are kept by this factor: a blend flattens them
    kept_edges: float = 0.6  # Qabf: strength and angle of both sensors' edges
    differences: float = 0.3  # SCD: what was added to one sensor is what the other saw


@dataclass(frozen=True, kw_only=True)
class FusionLossConfig:
    """The weights of the fusion loss for both kinds of infrared."""

    fusion: FusionWeights = field(default_factory=FusionWeights)
    fusion_enhanced: FusionWeights | None = None  # all weights if infrared is dark; None: same

    @property
    def fusion_weights(self) -> tuple[FusionWeights, FusionWeights]:
        """For pairs of grey infrared, and of enhanced."""
        return self.fusion, self.fusion_enhanced or self.fusion


def fusion(fused: Tensor, visible: Tensor, infrared: Tensor, weights: FusionWeights) -> Tensor:
    """Loss of a fused luma against both sources, each (B, H, W) in [0, 1]."""
    intensity = intensity_distance(fused, visible, infrared)
    edges = fused.new_zeros(())
    for scale in SCALES:
        scaled = [functional.avg_pool2d(x, scale) for x in (fused, visible, infrared)]
        edges = edges + edge_distance(scaled[0], scaled[1], scaled[2], weights.edge_gain)
    structure = 1 - (ssim(fused, visible) + ssim(fused, infrared)) / 2
    return (
        weights.intensity * intensity
        + weights.gradient * edges
        + weights.structure * structure
        + weights.kept_edges * (1 - kept_edges(fused, visible, infrared))
        + weights.differences * (2 - correlations_of_differences(fused, visible, infrared))
    )


def fusion_of_both_kinds(
    fused: Tensor, visible: Tensor, infrared: Tensor, weights: tuple[FusionWeights, FusionWeights]
) -> Tensor:
    """
    `fusion` with one set of weights for pairs of grey infrared, another for enhanced ones.

    Black infrared counts as enhanced.
    """
    if weights[0] == weights[1]:
        return fusion(fused, visible, infrared, weights[0])
    enhanced = enhancement(infrared) >= 0.5
    total = fused.new_zeros(())
    for kind, of_kind in zip((~enhanced, enhanced), weights, strict=True):
        if kind.any():
            share = kind.sum() / len(kind)
            total = total + share * fusion(fused[kind], visible[kind], infrared[kind], of_kind)
    return total


def intensity_distance(fused: Tensor, visible: Tensor, infrared: Tensor) -> Tensor:
    """
    Mean distance of (B, H, W) from the levels that both sensors leave open.

    Where infrared is dark but for what is warm, as stretching leaves it, that is the brighter
    sensor's level. Where it is not, its level is the gain control's, and the brighter of both would
    veil the night and blind the day: from the mean of both to half way to the brighter one.
    """
    brighter, mean = torch.maximum(visible, infrared), (visible + infrared) / 2
    low = mean + enhancement(infrared).view(-1, 1, 1) * (brighter - mean)
    return (fused - fused.clamp(low, (low + brighter) / 2)).abs().mean()


def enhancement(infrared: Tensor) -> Tensor:
    """1 for a frame (B, H, W) whose dark was stretched away, 0 for one grey throughout, (B,)."""
    dark, grey = ENHANCED
    median = infrared.flatten(1).median(dim=1).values
    return ((grey - median) / (grey - dark)).clamp(0, 1)


def edge_distance(fused: Tensor, visible: Tensor, infrared: Tensor, gain: float) -> Tensor:
    """Mean distance of the first differences of (B, H, W) from `gain` times the stronger ones."""
    distance = fused.new_zeros(())
    for axis in (-1, -2):
        of_visible, of_infrared = visible.diff(dim=axis), infrared.diff(dim=axis)
        stronger = torch.where(of_visible.abs() > of_infrared.abs(), of_visible, of_infrared)
        distance = distance + functional.l1_loss(fused.diff(dim=axis), gain * stronger)
    return distance


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Mean structural similarity of (B, H, W) in [0, 1], 7x7 uniform window (Wang et al., 2004)."""

    def local_mean(image: Tensor) -> Tensor:
        rows = functional.avg_pool2d(
            image.unsqueeze(1), (7, 1), stride=1
        )  # separable: a third of the work
        return functional.avg_pool2d(rows, (1, 7), stride=1)

    c1, c2 = 0.01**2, 0.03**2
    mean1, mean2 = local_mean(first), local_mean(second)
    variance1 = local_mean(first * first) - mean1 * mean1
    variance2 = local_mean(second * second) - mean2 * mean2
    covariance = local_mean(first * second) - mean1 * mean2
    similarity = (2 * mean1 * mean2 + c1) * (2 * covariance + c2)
    return (similarity / ((mean1**2 + mean2**2 + c1) * (variance1 + variance2 + c2))).mean()


def kept_edges(fused: Tensor, visible: Tensor, infrared: Tensor) -> Tensor:
    """
    Qabf of (B, H, W) in [0, 1], as `segmif.metrics.edge_preservation` has it inside the frame.

    There the angle of a level edge jumps by half a turn, here it does not.
    """
    right, down, strength = _sobel(fused)
    kept = held = fused.new_zeros(())
    for source in (visible, infrared):
        source_right, source_down, source_strength = _sobel(source)
        ratio = torch.minimum(strength, source_strength) / torch.maximum(strength, source_strength)
        cosine = (right * source_right + down * source_down).abs() / (strength * source_strength)
        aligned = 1 - torch.acos(cosine.clamp(max=1 - 1e-6)) / (math.pi / 2)
        kept_here = _graded(ratio, *QABF_STRENGTH) * _graded(aligned, *QABF_ANGLE)
        kept = kept + (kept_here * source_strength).sum()
        held = held + source_strength.sum()
    return kept / held


def _sobel(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Slopes to the right and down and their length, (B, H - 2, W - 2); the length is never 0."""
    down_blurred = image[:, :-2] + 2 * image[:, 1:-1] + image[:, 2:]
    right_blurred = image[..., :-2] + 2 * image[..., 1:-1] + image[..., 2:]
    right = down_blurred[..., 2:] - down_blurred[..., :-2]
    down = right_blurred[:, 2:] - right_blurred[:, :-2]
    return right, down, (right.square() + down.square() + 1e-8).sqrt()


def _graded(value: Tensor, height: float, slope: float, centre: float) -> Tensor:
    return height * torch.sigmoid(-slope * (value - centre))


def correlations_of_differences(fused: Tensor, visible: Tensor, infrared: Tensor) -> Tensor:
    """SCD of (B, H, W), mean over the batch: as `segmif.metrics.correlations_of_differences`."""

    def correlation(first: Tensor, second: Tensor) -> Tensor:
        first = first - first.mean(dim=(1, 2), keepdim=True)
        second = second - second.mean(dim=(1, 2), keepdim=True)
        power = first.square().sum(dim=(1, 2)) * second.square().sum(dim=(1, 2))
        return ((first * second).sum(dim=(1, 2)) / (power + 1e-6).sqrt()).mean()

    return correlation(fused - visible, infrared) + correlation(fused - infrared, visible)


def segmentation(logits: Tensor, labels: Tensor) -> Tensor:
    """
    Cross-entropy plus soft Dice of logits (B, K, h, w) against labels (B, H, W).

    Both meet at every second pixel: a quarter of the work, and finer than the logits' own stride
    of 4. The logits are taken at these very pixels: the middle of two would move the mask by half
    a pixel.

    Most pixels carry no object: Dice looks at each class as a whole. Pixels of the label IGNORE do
    not count; without any other the loss is 0.
    """
    logits = functional.interpolate(logits, size=labels.shape[1:], mode="bilinear")[..., ::2, ::2]
    labels = labels[:, ::2, ::2].long()
    partial, of_sets = _of_partial_labels(logits, labels)
    labels = labels.masked_fill(partial, IGNORE)
    known = labels != IGNORE
    cross_entropy = functional.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
    truth = functional.one_hot(torch.where(known, labels, 0), logits.shape[1]).movedim(-1, 1)
    truth = truth * known.unsqueeze(1)
    probability = logits.softmax(dim=1) * known.unsqueeze(1)
    present = truth.sum(dim=(0, 2, 3)) > 0
    missed = (dice(probability, truth) * present).sum() / present.sum().clamp_min(1)
    return (cross_entropy + of_sets) / (known | partial).sum().clamp_min(1) + missed


def _of_partial_labels(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels (B, h, w) that may be of several classes, and the sum of their cross-entropies."""
    everywhere = torch.zeros_like(labels, dtype=torch.bool)
    total = logits.new_zeros(())
    for code, ids in ALLOWED.items():
        here = labels == code
        if here.any():
            everywhere = everywhere | here
            both = logits.logsumexp(dim=1) - logits[:, list(ids)].logsumexp(dim=1)
            total = total + (both * here).sum()
    return everywhere, total


def offset_distance(found: Tensor, offsets: Tensor, seen: Tensor) -> Tensor:
    """
    How far offsets (B, 2, h, w) lie from the true ones, in units of 4 px, each end clipped there.

    `seen` (B,): if both sensors show something; without, nothing can be known.
    """
    far = functional.smooth_l1_loss(found / 4, offsets / 4, reduction="none").mean((1, 2, 3))
    return (far * seen).sum() / seen.sum().clamp_min(1)


def dice(probability: Tensor, truth: Tensor) -> Tensor:
    """1 - soft Dice of each class, (K,), from (B, K, h, w)."""
    overlap = (probability * truth).sum(dim=(0, 2, 3))
    size = probability.sum(dim=(0, 2, 3)) + truth.sum(dim=(0, 2, 3))
    return 1 - (2 * overlap + 1) / (size + 1)
