"""Weights on disk: one safetensors file and its manifest make a network again."""

from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from segmif.files import shown
from segmif.manifest import Manifest, ManifestError, entry_of
from segmif.model.network import Network


def save_network(network: Network, path: Path, training: dict[str, Any]) -> None:
    """Writes `path` (.safetensors) and its manifest; `training` says how the weights came to be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.contiguous().cpu() for name, tensor in network.state_dict().items()}
    Manifest(
        variant=network.variant,
        taxonomy=entry_of(network.config.taxonomy),
        precision="fp32",
        tools={"torch": torch.__version__},
        training=training,
    ).save(path, safetensors.torch.save(tensors))


def load_network(path: Path, device: torch.device | str = "cpu") -> Network:
    """As `open_network`, without the manifest."""
    return open_network(path, device)[0]


def open_network(path: Path, device: torch.device | str = "cpu") -> tuple[Network, Manifest]:
    """
    The network of a safetensors file, ready to run, and the manifest of what was read.

    ManifestError where file and manifest do not fit, or the file is of a release with another
    network of that name.
    """
    manifest, content = Manifest.open(path)
    network = Network(manifest.variant, manifest.classes)
    fill(network, content, path)
    return network.eval().to(device), manifest


def tensors_of(content: bytes, path: Path) -> dict[str, torch.Tensor]:
    """What the content of a safetensors file holds; ManifestError where it is none."""
    try:
        return safetensors.torch.load(content)
    except SafetensorError as error:
        raise ManifestError(
            f"{shown(path)} is no safetensors file ({error}): name weights as training writes "
            "them, such as weights/nano.safetensors"
        ) from error


def fill(network: Network, content: bytes, path: Path) -> None:
    """Puts a safetensors file into a network; ManifestError where it is none or does not fit."""
    given, wanted = tensors_of(content, path), network.state_dict()
    if strange := sorted(wanted.keys() ^ given.keys()):
        raise ManifestError(
            f"{shown(path)} holds another {network.variant} than this release's: it has "
            f"{len(given)} tensors, {len(wanted)} are expected, and they differ in {strange[0]} "
            f"and {len(strange) - 1} more; take weights of this release or train again"
        )
    network.load_state_dict(given)
