"""Weights on disk: one safetensors file and its manifest make a network again."""

from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from segmif.manifest import Manifest, ManifestError, entry_of, sha256
from segmif.model.network import Network


def save_network(network: Network, path: Path, training: dict[str, Any]) -> None:
    """Writes `path` (.safetensors) and its manifest; `training` says how the weights came to be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.contiguous().cpu() for name, tensor in network.state_dict().items()}
    path.write_bytes(safetensors.torch.save(tensors))
    Manifest(
        variant=network.variant,
        taxonomy=entry_of(network.config.taxonomy),
        precision="fp32",
        sha256=sha256(path),
        tools={"torch": torch.__version__},
        training=training,
    ).write(path)


def load_network(path: Path, device: torch.device | str = "cpu") -> Network:
    """
    The network of a safetensors file, ready to run; ManifestError where file and manifest do not
    fit, or the file is of a release with another network of that name.
    """
    manifest = Manifest.read(path)
    network = Network(manifest.variant, manifest.classes)
    fill(network, path)
    return network.eval().to(device)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """What a safetensors file holds; ManifestError where it is none."""
    try:
        return safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise ManifestError(
            f"{path} is no safetensors file ({error}): name weights as training writes them, such "
            "as weights/nano.safetensors"
        ) from error


def fill(network: Network, path: Path) -> None:
    """Puts a safetensors file into a network; ManifestError where it is none or does not fit."""
    given, wanted = read_tensors(path), network.state_dict()
    if strange := sorted(wanted.keys() ^ given.keys()):
        raise ManifestError(
            f"{path} holds another {network.variant} than this release's: it has {len(given)} "
            f"tensors, {len(wanted)} are expected, and they differ in {strange[0]} and "
            f"{len(strange) - 1} more; take weights of this release or train again"
        )
    network.load_state_dict(given)
