"""
Write pairs as a package for a labelling tool: images, classes with colours, labels to begin with.

Labels that the data have go along. Frames without labels get the mask of `--weights` or
`--labeller`, if they are given. The package also holds a `dataset.toml` with the classes, for
`segmif train import`.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from segmif.argument_types import FloatRange, IntegerRange
from segmif.classes import IGNORE, Taxonomy
from segmif.files import shown, write_text
from segmif.folders import listed
from segmif.frames import FramePair, Prediction

from ..data.class_views import ids_by_name
from ..data.datasets import notes_of
from ..data.datasets.kinds import locate
from ..data.datasets.label_maps import CLASS_MAP
from ..data.datasets.pairs import PairSet, size
from ..evaluation.evaluate import WEIGHTS, open_with_manifest
from .class_file import class_file, codes_of
from .formats import WRITERS
from .formats.base import ExportedImage
from .proposals import Proposals, over_network, proposals
from .regions import Drawing, shapes_of
from .shapes import IGNORED, Labels, Shape
from .staging import check_free, staged_folder

VIEWS = ("visible", "infrared", "fused")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `segmif train export-labels`."""
    add = parser.add_argument
    add("--to", choices=tuple(WRITERS), required=True, help="the tool, or the format")
    add("--data", type=Path, required=True, help="folder with visible/ and infrared/")
    add("--split", help="train, val or test, if it has several")
    add("--out", type=Path, required=True, help="folder to write, new or empty")
    add(
        "--weights",
        type=Path,
        help=f"label what has no labels by this network: {', '.join(WEIGHTS)}",
    )
    add(
        "--labeller",
        metavar="COMMAND|URL",
        help="label what has no labels by a program or address of yours; where it proposes "
        "nothing, by --weights",
    )
    add(
        "--labeller-timeout",
        type=FloatRange(0.1, 86_400),
        default=60.0,
        metavar="SECONDS",
        help="that it has for a frame [60]",
    )
    add("--view", choices=VIEWS, default="visible", help="what is labelled on [visible]")
    add(
        "--shapes",
        choices=("masks", "polygons"),
        default="masks",
        help="exact masks, or outlines to edit; a region with holes stays a mask [masks]",
    )
    add(
        "--deviation",
        type=FloatRange(0, 10),
        default=0.7,
        metavar="PIXELS",
        help="how far a polygon may leave the edge of its region [0.7]",
    )
    add(
        "--least",
        type=IntegerRange(1),
        default=1,
        metavar="PIXELS",
        help="leave out smaller regions of the network's mask [1]",
    )


@dataclass(frozen=True)
class Network:
    """A network that labels frames."""

    classes: Taxonomy
    predict: Callable[[FramePair], Prediction]


def main(args: argparse.Namespace) -> int:
    """Write the package; gives the exit code."""
    check_free(args.out)
    frames = _opened(args.data, args.split)
    network = _network(args.weights)
    if args.view == "fused" and network is None:
        raise ValueError("--view fused shows what a network fuses: name it by --weights")
    stated = codes_of(args.data)  # also of frames that have no labels yet
    named = frames.taxonomy or (stated.taxonomy if stated else None)
    classes = named or (network.classes if network else None)
    if classes is None:
        raise ValueError(
            f"nothing names classes to label: give --weights, or write {args.data / CLASS_MAP}"
        )
    for note in notes_of(frames):
        print(f"note: {note}")
    if IGNORED in classes.names:
        raise ValueError(f"a class is called {IGNORED!r}, which stands for what counts nowhere")
    with ExitStack() as opened:
        labeller = None
        if args.labeller:  # first: its answers are kept until the folder has its name
            asked = proposals(args.labeller, args.labeller_timeout, classes, args.out)
            labeller = opened.enter_context(asked)
        folder = opened.enter_context(staged_folder(args.out))
        exporter = _Exporter(frames, classes, network, labeller, args)
        images = tqdm(exporter.images(), total=len(exporter.names), unit="pair", desc="export")
        how = WRITERS[args.to](folder, args.out.resolve().name, images, classes)
        write_text(folder / CLASS_MAP, class_file(classes))
    print(exporter.report())
    print(f"{shown(args.out)}: {how}.")
    print(
        f"then: segmif train import --from {args.to} EXPORT --data {shown(args.data)} "
        f"--classes {shown(args.out / CLASS_MAP)} --out LABELLED"
    )
    return 0


def _opened(root: Path, split: str | None) -> PairSet:
    """The pairs, labelled or not; ValueError if there are none, or if they cannot be read so."""
    frames = locate("folder", root, split)
    if frames.obstacles:
        raise ValueError(f"{frames.name}: {frames.obstacles[0]}")
    lone = [name for name, parts in frames.missing.items() if set(parts) - {"label"}]
    if lone:
        raise ValueError(
            f"{frames.name}: {len(lone)} pairs lack a frame ({listed(lone)}): get or remove them"
        )
    if not frames.expected:
        raise ValueError(f"{shown(root)} holds no pairs")
    return frames


def _network(weights: Path | None) -> Network | None:
    if weights is None:
        return None
    predict, _, manifest = open_with_manifest(weights)
    return Network(manifest.classes, predict)


class _Exporter:
    """Reads the pairs one by one, and counts what becomes of them."""

    def __init__(
        self,
        frames: PairSet,
        classes: Taxonomy,
        network: Network | None,
        labeller: Proposals | None,
        args: argparse.Namespace,
    ) -> None:
        self.names = frames.expected
        self._frames, self._classes, self._network = frames, classes, network
        self._labeller = labeller
        self._view: str = args.view
        self._drawing: Drawing = args.shapes
        self._deviation, self._least = args.deviation, args.least
        self._counts: Counter[str] = Counter()
        self._to_ours = ids_by_name(network.classes, classes) if network else None

    def images(self) -> Iterator[ExportedImage]:
        """All pairs; ValueError for unequal sizes and for names that no file format takes."""
        for name in self.names:
            if not name.isprintable():
                raise ValueError(f"the name {shown(name)!r} has characters that tools refuse")
            visible, _ = self._frames.visible_of(name)
            infrared, _ = self._frames.infrared_of(name)
            labels = self._labels(name)
            arrays = {"visible": visible, "infrared": infrared, "labels": labels}
            sizes = {part: size(each) for part, each in arrays.items() if each is not None}
            if len(set(sizes.values())) > 1:
                said = ", ".join(f"{part} {each}" for part, each in sizes.items())
                raise ValueError(f"{name}: {said}; bring them to one view first")
            given = labels is not None
            found = self._predicted(visible, infrared) if self._needs_network(given) else None
            source = "labelled"
            if labels is None:
                labels, source = self._begun(name, visible, found)
            views = {"visible": visible, "infrared": infrared}
            if self._view == "fused" and found is not None:
                views["fused"] = found.fused
            first = {self._view: views[self._view]}
            shapes = self._shapes(labels, 1 if given else self._least)
            self._counts[source] += 1
            self._counts["shapes"] += len(shapes)
            yield ExportedImage(name, first | views, shapes, predicted=not given)

    def report(self) -> str:
        """A sentence on what was written."""
        counts, by_labeller, foreign = self._counts, "", ""
        if self._labeller:
            by_labeller = f"{counts['proposed']} by the labeller, "
            if self._labeller.foreign:
                names = listed(map(shown, sorted(self._labeller.foreign)))
                foreign = f"\nits classes {names} are none of these: they became background"
        return (
            f"{len(self.names)} pairs with {counts['shapes']} shapes: {counts['labelled']} by "
            f"their labels, {by_labeller}{counts['predicted']} by the network, "
            f"{counts['unlabelled']} without{foreign}"
        )

    def _labels(self, name: str) -> Labels | None:
        """The labels of a pair; None if it has none, or if all of it is not labelled."""
        if self._frames.labels is None or name not in self._frames.labels:
            return None
        labels, unknown = self._frames.read_labels(name)
        if unknown:
            raise ValueError(
                f"{self._frames.labels[name]}: the codes {listed(unknown)} stand for no class"
            )
        return None if labels is None or (labels == IGNORE).all() else labels

    def _begun(
        self, name: str, visible: NDArray[np.uint8], found: Prediction | None
    ) -> tuple[Labels | None, str]:
        """Labels to begin with, of a pair that has none, and whose they are."""
        proposed = self._labeller.labels(name, visible) if self._labeller else None
        if found is None or self._to_ours is None:
            return proposed, "unlabelled" if proposed is None else "proposed"
        ours = self._to_ours[found.labels]
        if proposed is None:
            return ours, "predicted"
        return over_network(proposed, ours, self._classes.background), "proposed"

    def _needs_network(self, given: bool) -> bool:
        return self._network is not None and (not given or self._view == "fused")

    def _predicted(self, visible: NDArray[np.uint8], infrared: NDArray[np.uint8]) -> Prediction:
        assert self._network is not None
        return self._network.predict(FramePair(visible, infrared))

    def _shapes(self, labels: Labels | None, least: int) -> tuple[Shape, ...]:
        if labels is None:
            return ()
        return shapes_of(labels, self._classes, self._drawing, self._deviation, least)
