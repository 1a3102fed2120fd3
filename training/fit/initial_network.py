"""What a run begins with: the network to train and those to learn from, whatever their classes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from segmif.classes import Taxonomy
from segmif.manifest import Manifest
from segmif.model.class_transfer import ClassTransfer, network_with_classes
from segmif.model.network import Network
from segmif.model.weights import load_network, read_tensors

from ..data import groups_seen
from ..data.groups_seen import GroupsSeen
from .distillation import shared_classes


def digest(weights: Path) -> str:
    """Their sha256; ManifestError, before a run begins, if they are none."""
    manifest, content = Manifest.open(weights)
    read_tensors(content, weights)
    return manifest.sha256


def initial_network(
    variant: str, classes: Taxonomy, start: Path | None, *, trains_mask: bool
) -> tuple[Network, ClassTransfer | None]:
    """
    A new network, or that of a weights file with the classes of the frames, and what was reused.

    ValueError if the file holds another variant, or if nothing would train its new classes.
    """
    reuse = None
    if start is None:
        network = Network(variant, classes)
    else:
        held = Manifest.read(start).variant
        if held != variant:
            raise ValueError(f"{start} holds {held}; this run trains {variant}")
        network, reuse = network_with_classes(start, classes)
    if reuse and not trains_mask:
        raise ValueError(
            f"{start} has other classes than the frames, and a run of [finish] alone trains no "
            "mask: give [[phases]], or take weights of these classes"
        )
    # channels_last is the layout that both cuDNN and oneDNN convolve fastest in
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in its stub
    return network.train(), reuse


def open_teachers(paths: Sequence[Path], fabric: Fabric) -> list[Network]:
    """
    What to learn from; they may have other classes than the frames, but all the same.

    ValueError for teachers that differ in their classes.
    """
    teachers = [load_network(path, fabric.device).requires_grad_(False) for path in paths]
    for path, teacher in zip(paths, teachers, strict=True):
        if teacher.config.taxonomy != teachers[0].config.taxonomy:
            raise ValueError(
                f"the teacher {path} knows the classes {teacher.config.taxonomy.name}, "
                f"{paths[0]} those of {teachers[0].config.taxonomy.name}: their masks have no mean"
            )
    return teachers


def notes_on_classes(
    start: Path | None, reuse: ClassTransfer | None, teachers: Sequence[Network], classes: Taxonomy
) -> tuple[list[str], dict[str, object]]:
    """What is said of other classes than those of the frames, and noted in the manifest."""
    said: list[str] = []
    facts: dict[str, object] = {}
    if reuse:
        facts["start_classes"] = asdict(reuse)
        said.append(
            f"{start} has other classes: all its layers are taken but the last of the mask, which "
            f"keeps {_names(reuse.kept)} and starts anew for {_names(reuse.anew)}"
        )
    if teachers and (shared := shared_classes(classes, teachers[0].config.taxonomy)):
        names = tuple(classes.names[id_] for id_ in shared.ours)
        facts["lesson_classes"] = names
        left = tuple(name for name in classes.names if name not in names)
        lesson = (
            f"its mask teaches {_names(names)} and what is none of them, not {_names(left)}"
            if names
            else "its mask teaches nothing, its image and attention do"
        )
        said.append(f"the teacher has other classes: {lesson}")
    return said, facts


def descent(
    sources: Sequence[str], records: Sequence[Mapping[str, Any]], seen: GroupsSeen
) -> dict[str, object]:
    """
    What weights descend from, for the manifest: `sources` and all that their parents descend from.

    `records` are the parents' entries `training`, `seen` the groups of frames that the weights
    learnt from themselves. What one parent says of commercial use holds for all.
    """
    inherited = (name for record in records for name in record.get("descends_from", ()))
    terms = (record["commercial_use"] for record in records if "commercial_use" in record)
    facts: dict[str, object] = {"descends_from": list(dict.fromkeys((*sources, *inherited)))}
    if sentences := dict.fromkeys(part for term in terms for part in term.split("; ")):
        facts["commercial_use"] = "; ".join(sentences)
    for record in records:
        seen |= groups_seen.of_record(record)
    return facts | seen.entry()


def _names(names: Sequence[str]) -> str:
    return ", ".join(names) or "no class"
