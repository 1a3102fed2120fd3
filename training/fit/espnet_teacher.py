"""
The published ESPNetv2, which has learnt Cityscapes, in our training.

It segments single pictures in `worth`; with an encoder for each sensor it is the tutor of our
networks, and the second encoder of `edge`.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from segmif.manifest import Manifest
from segmif.model.encoders.espnet import Segmenter
from segmif.model.network import Network
from segmif.model.weights import load_tensors, open_network

from ..data.sources import data_root

PUBLISHED: Mapping[str, object] = {
    "descends_from": ["Cityscapes (published ESPNetv2)"],
    "commercial_use": "Cityscapes' frames are for non-commercial use",
}
TUTOR = "espnetv2-pair"  # the variant that manifests of a tutor name


def published_weights() -> Path:
    """Where the published weights lie among the real frames."""
    return data_root() / "weights" / "espnetv2_s_2.0_city_1024x512.pth"


class SegmenterAlone(nn.Module):
    """A segmenter in place of a network's core; without `both` it sees the visible frame only."""

    def __init__(self, classes: int, *, both: bool) -> None:
        super().__init__()
        self.segmenter = Segmenter(classes, both=both)

    def forward(
        self, visible: Tensor, visible_luma: Tensor, infrared: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The luma as it came (B, 1, H, W) and class logits (B, K, H/4, W/4)."""
        return visible_luma, self.segmenter(visible, infrared)


def start_from(segmenter: Segmenter, weights: Path) -> None:
    """The published encoder; FileNotFoundError, or RuntimeError for another network's."""
    if not weights.is_file():
        raise FileNotFoundError(
            f"no weights of ESPNetv2 at {weights}: its authors publish them as EdgeNets; take "
            "the segmentation network of width 2.0 for Cityscapes, 1024x512, and name it"
        )
    published = torch.load(weights, map_location="cpu", weights_only=True)
    prefix = "base_net."
    encoder = {k.removeprefix(prefix): v for k, v in published.items() if k.startswith(prefix)}
    for net in (segmenter.base_net, segmenter.infrared_net):
        if net is not None:
            net.load_state_dict(encoder)


def with_segmenter(network: Network, *, weights: Path | None, both: bool) -> Mapping[str, object]:
    """
    Puts a segmenter in place of a network's core, from published weights if some are given.

    Returns what those descend from, for the manifest.
    """
    core = SegmenterAlone(len(network.config.taxonomy.names), both=both)
    if weights:
        start_from(core.segmenter, weights)
    network.core = core.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if both:
        network.variant = TUTOR
    return PUBLISHED if weights else {}


def load_teacher(path: Path, device: torch.device) -> Network:
    """A tutor, or any variant; raises what `open_network` raises."""
    return open_teacher(path, device)[0]


def open_teacher(path: Path, device: torch.device) -> tuple[Network, Manifest]:
    """As `load_teacher`, and the manifest of what was read."""
    manifest, content = Manifest.open(path)
    if manifest.variant != TUTOR:
        return open_network(path, device)
    network = Network("nano", manifest.classes)
    with_segmenter(network, weights=None, both=True)
    load_tensors(network, content, path)
    return network.eval().to(device), manifest
