"""What every format has: a writer of packages, and a reader of what comes back."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from segmif.classes import RGB, Taxonomy
from segmif.imaging.image_header import MAX_PIXELS

from ...data.datasets.class_codes import ClassCodes
from ..shapes import IGNORED, AnnotatedImage, ClassNames, Shape

IGNORED_COLOUR: RGB = (224, 224, 192)  # VOC paints so what counts nowhere
HEX_COLOUR = re.compile(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")


@dataclass(frozen=True)
class ExportedImage:
    """One pair on its way to a tool."""

    name: str  # of the pair
    views: Mapping[str, NDArray[np.uint8]]  # (H, W, 3) or (H, W); the first is the annotated one
    shapes: tuple[Shape, ...]
    predicted: bool = False  # the shapes are a network's, and nobody has looked at them

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = next(iter(self.views.values())).shape[:2]
        return height, width


class Writer(Protocol):
    """Writes a package into an empty folder."""

    def __call__(
        self, folder: Path, name: str, images: Iterable[ExportedImage], classes: Taxonomy
    ) -> str:
        """Writes it; says how the tool imports it. `name` is what the folder is called at last."""


class Reader(Protocol):
    """Opens what a tool exported."""

    def __call__(self, source: Path, codes: ClassCodes | None) -> "Labels":
        """`codes` are what the pixels of masks mean; ValueError for another format."""


class Labels(Protocol):
    """What a tool exported, opened."""

    def classes(self) -> ClassNames:
        """The names, those that it lists and those of its shapes."""

    def images(self) -> Iterator[AnnotatedImage]:
        """One image after another; ValueError for what cannot be read, with its place."""

    def left_out(self) -> Mapping[str, int]:
        """After `images`: what was not taken, each kind with its number."""


@dataclass
class Counter:
    """Counts what a reader leaves out."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, kind: str) -> None:
        """One more of a kind."""
        self.counts[kind] = self.counts.get(kind, 0) + 1


def label_colours(classes: Taxonomy) -> dict[str, RGB]:
    """The classes that a tool draws, in their order, and IGNORED; each with its colour."""
    drawn = {
        name: colour
        for id_, (name, colour) in enumerate(zip(classes.names, classes.palette, strict=True))
        if id_ != classes.background
    }
    return drawn | {IGNORED: IGNORED_COLOUR}


def as_hex(colour: RGB) -> str:
    """#RRGGBB."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def colour_of_hex(text: str | None) -> RGB | None:
    """The colour of #RRGGBB; None for anything else."""
    found = HEX_COLOUR.fullmatch(text or "")
    return (int(found[1], 16), int(found[2], 16), int(found[3], 16)) if found else None


def check_size(where: str, width: float, height: float) -> None:
    """Raise ValueError for a size that no image has, before an array of it is made."""
    if not (width > 0 and height > 0 and width * height <= MAX_PIXELS):
        raise ValueError(f"{where}: a size of {width}x{height} is none of an image")


def names_of(images: Iterable[AnnotatedImage]) -> tuple[str, ...]:
    """The class names of shapes in the order in which they come, IGNORED left out."""
    names = dict.fromkeys(shape.label for image in images for shape in image.shapes)
    return tuple(name for name in names if name != IGNORED)
