"""Pairs in folders: frames and labels of one moment share a file name up to its suffix."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segmif.classes import IGNORE, Taxonomy
from segmif.headers import ImageError
from segmif.images import read_infrared, read_rgba, read_visible
from training.datasets.coding import Code, Coding, read_codes
from training.datasets.frame import Labelled, Light
from training.datasets.published import Published

# Listed, though the decoders of segmif.images leave it out: a file passed over unsaid is a trap.
BITMAP = ".bmp"
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", BITMAP})
SHOWN = 3  # names in a sentence about many

LIGHTS: dict[str, Light] = {"D": "day", "N": "night"}


@dataclass(frozen=True)
class PairSet:
    """A FrameSet of files; moments that lack a file are known, but not in `names`."""

    name: str
    moments: tuple[str, ...]  # all there should be
    visible: Mapping[str, Path]  # by moment, as the next two
    infrared: Mapping[str, Path]
    labels: Mapping[str, Path] | None  # None where nothing is labelled
    coding: Coding | None  # None as well
    notes: tuple[str, ...] = ()  # what there is to mind, and what was done about it
    published: Published | None = None  # what a whole download holds, where it is a benchmark

    @property
    def taxonomy(self) -> Taxonomy | None:
        """What the label ids mean; None where nothing is labelled."""
        return self.coding.taxonomy if self.coding else None

    @property
    def parts(self) -> dict[str, Mapping[str, Path]]:
        """The files of each part by moment: visible, infrared and, where there are any, label."""
        pair = {"visible": self.visible, "infrared": self.infrared}
        return pair if self.labels is None else pair | {"label": self.labels}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The moments that are complete."""
        return tuple(name for name in self.moments if name not in self.missing)

    @cached_property
    def missing(self) -> dict[str, list[str]]:
        """The parts that a moment lacks."""
        lacks = {
            name: [part for part, files in self.parts.items() if name not in files]
            for name in self.moments
        }
        return {name: parts for name, parts in lacks.items() if parts}

    def read(self, index: int) -> Labelled:
        """As FrameSet says; ValueError for unequal sizes and for labels outside the classes."""
        name = self.names[index]
        visible, infrared = self.read_visible(name), self.read_infrared(name)
        labels, unknown = self.read_labels(name)
        if labels is None:
            labels = np.full(infrared.shape, IGNORE, np.uint8)
        if not visible.shape[:2] == infrared.shape == labels.shape:
            raise ValueError(
                f"{self.visible[name]}: visible is {size(visible)}, infrared {size(infrared)}, "
                f"label {size(labels)}; bring them to one size and one view"
            )
        if unknown and self.coding:
            raise ValueError(f"{self.parts['label'][name]}: {_objection(self.coding, unknown)}")
        return Labelled(name, visible, infrared, labels, light(name))

    def read_visible(self, name: str) -> NDArray[np.uint8]:
        """The visible frame of a moment, (H, W, 3) RGB; a grey one has three equal channels."""
        return read_visible(_no_bitmap(self.visible[name]))

    def read_infrared(self, name: str) -> NDArray[np.uint8]:
        """The infrared frame of a moment, (H, W)."""
        return read_infrared(_no_bitmap(self.infrared[name]))

    def read_labels(self, name: str) -> tuple[NDArray[np.uint8] | None, dict[Code, int]]:
        """Class ids (H, W), None where there are none, and the pixels of each unknown code."""
        if self.labels is None or self.coding is None:
            return None, {}
        return self.coding.decode(read_codes(_no_bitmap(self.labels[name])))


class RgbaSet(PairSet):
    """Pairs in one file each: red, green, blue and, as alpha, infrared."""

    def read_infrared(self, name: str) -> NDArray[np.uint8]:
        """The alpha of a moment's file, (H, W)."""
        return read_rgba(_no_bitmap(self.infrared[name]))[1]


def light(name: str) -> Light | None:
    """Day or night, where a name ends as those of MFNet do: 00123D, 00124N."""
    match = re.search(r"\d([DN])$", name)
    return LIGHTS[match[1]] if match else None


def files_by_name(folder: Path) -> dict[str, Path]:
    """The images of a folder by name without suffix, in order; ValueError where two share one."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in found:
            raise ValueError(
                f"{folder} holds {found[path.stem].name} and {path.name}; remove one of them"
            )
        found[path.stem] = path
    return found


def _no_bitmap(path: Path) -> Path:
    if path.suffix.lower() == BITMAP:
        raise ImageError(
            "unsupported_type", f"{path} is a BMP; convert it to PNG, which loses nothing"
        )
    return path


def _objection(coding: Coding, unknown: Mapping[Code, int]) -> str:
    """What is wrong with a label that has pixels of these codes."""
    classes = coding.taxonomy
    if coding.are_figures(unknown):
        return (
            f"the label has the colours of the figures in the paper on {classes.name}, not those "
            "of its label files; take the label files as published"
        )
    codes = listed(f"{code} ({count} pixels)" for code, count in unknown.items())
    return (
        f"the label codes {codes} stand for none of the {len(classes.names)} classes of "
        f"{classes.name}"
    )


def listed(words: Iterable[object], between: str = ", ") -> str:
    """The first few of many, and how many more there are."""
    shown = [str(word) for word in words]
    more = len(shown) - SHOWN
    return between.join(shown[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def size(image: NDArray[np.uint8]) -> str:
    """Width x height, as people say it."""
    return f"{image.shape[1]}x{image.shape[0]}"
