"""
A check without labels: whether an adapted network may take the place of the one it comes from.

It cannot say that a network is better. It refuses what adaptation is known to end in: masks of
one class, classes that vanish or spread, and labels that change where the old network was sure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segmif.frames import FramePair, fit
from segmif.model.network import Network

from .teach import tensor

SURE = 0.9  # probability from which the old network is taken to be right
LEAST_AGREEMENT = 0.97  # of those pixels
RARE = 1e-3  # share of the pixels below which a class may come or go
FACTOR = 3.0  # by which the share of any other class may change
COLLAPSED = 0.2  # of the old mean entropy
LESS_SURE = 1.25  # times the old mean entropy
UNSTEADY = 0.01  # by which steadiness may fall
GAIN = 0.85  # of infrared, in the frames that steadiness compares with


@dataclass(frozen=True)
class Masks:
    """What a network makes of some frames."""

    labels: NDArray[np.uint8]  # (N, pixels)
    confidence: NDArray[np.float32]  # (N, pixels), probability of the label
    entropy: float  # mean over the pixels [nat]
    steadiness: float  # share of the pixels that keep their class if infrared's gain is another
    fused: list[NDArray[np.float32]]  # luma in [0, 1]

    def shares(self, classes: int) -> NDArray[np.float64]:
        """Share of the pixels of each class."""
        return np.bincount(self.labels.ravel(), minlength=classes) / self.labels.size


@dataclass(frozen=True)
class Check:
    """An old and an adapted network on frames that neither learnt from."""

    pairs: int
    agreement: float  # share of the pixels, of which the old network is sure, with its class
    entropy: tuple[float, float]  # old, adapted
    steadiness: tuple[float, float]
    shares: tuple[tuple[float, ...], tuple[float, ...]]  # of the pixels, by class
    picture: float  # mean difference of the fused luma [levels of 255]
    names: tuple[str, ...]  # of the classes

    def faults(self) -> list[str]:
        """Why the adapted network must not be used; none if it may."""
        found = []
        if self.agreement < LEAST_AGREEMENT:
            found.append(
                f"{1 - self.agreement:.1%} of the pixels change their class although the old "
                f"network was sure of it; {1 - LEAST_AGREEMENT:.0%} are allowed"
            )
        old, new = self.entropy
        if not COLLAPSED * old <= new <= LESS_SURE * old:
            found.append(
                f"its mean entropy is {new:.3f} instead of {old:.3f}; {COLLAPSED * old:.3f} to "
                f"{LESS_SURE * old:.3f} is allowed"
            )
        if self.steadiness[1] < self.steadiness[0] - UNSTEADY:
            found.append(
                f"{self.steadiness[1]:.1%} of its pixels keep their class at another gain, instead "
                f"of {self.steadiness[0]:.1%}"
            )
        for name, before, after in zip(self.names, *self.shares, strict=True):
            least, most = sorted((before, after))
            if most > RARE and most > FACTOR * max(least, RARE):
                found.append(f"{name} covers {after:.2%} of the pixels instead of {before:.2%}")
        return found


def check(old: Network, adapted: Network, pairs: Sequence[FramePair]) -> Check:
    """Compare two networks of the same classes on frames that neither learnt from."""
    before, after = (masks_of(network, pairs) for network in (old, adapted))
    sure = before.confidence >= SURE
    same = before.labels == after.labels
    names = old.config.taxonomy.names
    levels = [np.abs(a - b).mean() for a, b in zip(before.fused, after.fused, strict=True)]
    return Check(
        len(pairs),
        float(same[sure].mean()) if sure.any() else 1.0,
        (before.entropy, after.entropy),
        (before.steadiness, after.steadiness),
        (tuple(before.shares(len(names)).tolist()), tuple(after.shares(len(names)).tolist())),
        255 * float(np.mean(levels)),
        names,
    )


def masks_of(network: Network, pairs: Sequence[FramePair]) -> Masks:
    """The masks of a network for frames of one size, at its own stride."""
    labels, confidences, entropies, steady, fused = [], [], [], [], []
    network.eval()
    for pair in map(fit, pairs):
        luma, probability = _probabilities(network, pair)
        confidence, label = probability.max(dim=1)
        entropies.append(float(torch.special.entr(probability).sum(dim=1).mean()))
        weaker = FramePair(pair.visible, (pair.infrared * GAIN).astype(np.uint8))
        other = _probabilities(network, weaker)[1].argmax(dim=1)
        steady.append(float((other == label).float().mean()))
        labels.append(label.numpy().astype(np.uint8).ravel())
        confidences.append(confidence.numpy().ravel())
        fused.append(luma.numpy())
    return Masks(
        np.stack(labels),
        np.stack(confidences),
        float(np.mean(entropies)),
        float(np.mean(steady)),
        fused,
    )


def _probabilities(network: Network, pair: FramePair) -> tuple[Tensor, Tensor]:
    """Fused luma (1, H, W) and the probability of each class (1, K, h, w)."""
    with torch.inference_mode():
        luma, logits = network.predict(tensor(pair.visible)[None], tensor(pair.infrared)[None])
    return luma, logits.softmax(dim=1)
