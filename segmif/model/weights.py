"""Weights on disk: a network to and from a safetensors file and its manifest."""

from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from segmif.files import shown
from segmif.manifest import Manifest, ManifestError, taxonomy_entry
from segmif.model.network import Network


def save_network(network: Network, path: Path, training: dict[str, Any]) -> None:
    """Writes `path` (.safetensors) and its manifest; `training` is its record of the training."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.contiguous().cpu() for name, tensor in network.state_dict().items()}
    Manifest(
        variant=network.variant,
        taxonomy=taxonomy_entry(network.config.taxonomy),
        precision="fp32",
        tools={"torch": torch.__version__},
        training=training,
    ).save(path, safetensors.torch.save(tensors))


def load_network(path: Path, device: torch.device | str = "cpu") -> Network:
    """The network of `open_network`."""
    return open_network(path, device)[0]


def open_network(path: Path, device: torch.device | str = "cpu") -> tuple[Network, Manifest]:
    """
    The network of a safetensors file in eval mode, and its manifest.

    Raises ManifestError if file and manifest do not fit, or if the network has changed since the
    file's release.
    """
    manifest, content = Manifest.open(path)
    network = Network(manifest.variant, manifest.classes)
    load_tensors(network, content, path)
    return network.eval().to(device), manifest


def read_tensors(content: bytes, path: Path) -> dict[str, torch.Tensor]:
    """The tensors in a safetensors file's content; raises ManifestError for another file."""
    try:
        return safetensors.torch.load(content)
    except SafetensorError as error:
        raise ManifestError(
            f"{shown(path)} is no safetensors file ({error}): name weights as training writes "
            "them, such as weights/nano.safetensors"
        ) from error


def load_tensors(network: Network, content: bytes, path: Path) -> None:
    """Loads a safetensors file's content into a network; raises ManifestError if unfit."""
    given, wanted = read_tensors(content, path), network.state_dict()
    if strange := sorted(wanted.keys() ^ given.keys()):
        raise ManifestError(
            f"{shown(path)} holds another {network.variant} than this release's: it has "
            f"{len(given)} tensors, {len(wanted)} are expected, and they differ in {strange[0]} "
            f"and {len(strange) - 1} more; take weights of this release or train again"
        )
    network.load_state_dict(given)
