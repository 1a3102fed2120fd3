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

    kept: tuple[str, ...] = ()  # classes that both have, by the same name or as the background
    anew: tuple[str, ...] = ()  # those of the network alone
    dropped: tuple[str, ...] = ()  # those of the weights alone


def network_with_classes(path: Path, classes: Taxonomy) -> tuple[Network, ClassTransfer | None]:
    """
    The network of a safetensors file with these classes; None as second if it had them already.

    Layers with a row per class start new, except for the rows of classes of the same name and of
    the background. Raises ManifestError as `open_network` does.
    """
    source, manifest = open_network(path)
    if manifest.classes == classes:
        return source, None
    network = Network(source.variant, classes)
    if source.state_dict().keys() != network.state_dict().keys():
        raise ManifestError(f"{path} holds no {source.variant} as this release makes one")
    shared = classes.shared_with(manifest.classes)
    rows = torch.tensor(list(shared.items()), dtype=torch.long)
    tensors, of_classes = network.state_dict(), class_dependent_tensors(source.variant)
    for name, tensor in source.state_dict().items():
        if name not in of_classes:
            tensors[name] = tensor
        elif shared:
            tensors[name][rows[:, 0]] = tensor[rows[:, 1]]
    network.load_state_dict(tensors)
    return network.eval(), ClassTransfer(
        tuple(name for id_, name in enumerate(classes.names) if id_ in shared),
        tuple(name for id_, name in enumerate(classes.names) if id_ not in shared),
        tuple(
            name for id_, name in enumerate(manifest.classes.names) if id_ not in shared.values()
        ),
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
