"""Weights in a network of other classes: matching tensors are kept, the last layers start new."""

from dataclasses import dataclass
from pathlib import Path

import torch

from segmif.classes import Taxonomy
from segmif.manifest import ManifestError
from segmif.model.network import Network
from segmif.model.weights import open_network


@dataclass(frozen=True)
class ClassTransfer:
    """The classes of weights in a network of other classes."""

    kept: tuple[str, ...] = ()  # classes that weights and network have by the same name
    anew: tuple[str, ...] = ()  # those of the network alone
    dropped: tuple[str, ...] = ()  # those of the weights alone


def network_with_classes(path: Path, classes: Taxonomy) -> tuple[Network, ClassTransfer | None]:
    """
    The network of a safetensors file with these classes; None as second if it had them already.

    Layers with a row per class start new, except for the rows of classes of the same name. Raises
    ManifestError as `open_network` does.
    """
    source, manifest = open_network(path)
    if manifest.classes == classes:
        return source, None
    network = Network(source.variant, classes)
    if source.state_dict().keys() != network.state_dict().keys():
        raise ManifestError(f"{path} holds no {source.variant} as this release makes one")
    old, new = manifest.classes.names, classes.names
    kept = tuple(name for name in new if name in old)
    rows = torch.tensor([(new.index(name), old.index(name)) for name in kept], dtype=torch.long)
    tensors, of_classes = network.state_dict(), class_dependent_tensors(source.variant)
    for name, tensor in source.state_dict().items():
        if name not in of_classes:
            tensors[name] = tensor
        elif kept:
            tensors[name][rows[:, 0]] = tensor[rows[:, 1]]
    network.load_state_dict(tensors)
    return network.eval(), ClassTransfer(
        kept,
        tuple(name for name in new if name not in old),
        tuple(name for name in old if name not in new),
    )


def class_dependent_tensors(variant: str) -> frozenset[str]:
    """The names of a variant's tensors that have a row for each class."""
    shapes = []
    for count in (2, 3):
        names = tuple(map(str, range(count)))
        with torch.device("meta"):  # shapes only, no memory
            network = Network(variant, Taxonomy("any", names, ((0, 0, 0),) * count))
        shapes.append({name: tensor.shape for name, tensor in network.state_dict().items()})
    return frozenset(name for name, shape in shapes[0].items() if shapes[1][name] != shape)
