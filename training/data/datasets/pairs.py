"""Pairs in folders: frames and labels of one pair share a file name up to its suffix."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segmif.classes import IGNORE, Taxonomy
from segmif.files import read_frame
from segmif.folders import EVERY, LOSS, Listing, list_frames, listed, same_names
from segmif.imaging.codecs import decode_infrared, decode_visible_frame, infrared_levels, read_rgba
from segmif.imaging.headers import ImageError
from segmif.imaging.image_header import naming_the_file
from segmif.imaging.sensor_format import cropped, has_telemetry, infrared_picture
from segmif.name_patterns import suggested
from segmif.thermal.camera_profile import CameraProfile, Cameras

from .class_codes import ClassCodes, Code
from .file_facts import FileFacts
from .frame import LabelledPair, Light
from .label_facts import counted_from_one
from .label_maps import read_label
from .published import Published

# Listed, although segmif.imaging.codecs does not decode it: a file left out in silence is a trap.
BITMAP = ".bmp"

LIGHTS: dict[str, Light] = {"D": "day", "N": "night"}


@dataclass(frozen=True)
class PairSet:
    """A FrameSet of files; pairs that lack a file are known, but not in `names`."""

    name: str
    expected: tuple[str, ...]  # names of all pairs that there should be
    visible: Mapping[str, Path]  # by pair, as the next two
    infrared: Mapping[str, Path]
    labels: Mapping[str, Path] | None  # None if nothing is labelled
    class_codes: ClassCodes | None  # None as well
    notes: tuple[str, ...] = ()  # what there is to mind, and what was done about it
    published: Published | None = None  # what a whole download holds, if it is a benchmark
    cameras: Cameras = field(default_factory=Cameras)  # what is stated of the frames
    obstacles: tuple[str, ...] = ()  # sentences on what keeps it from being read as it lies

    @property
    def taxonomy(self) -> Taxonomy | None:
        """What the label ids mean; None if nothing is labelled."""
        return self.class_codes.taxonomy if self.class_codes else None

    @property
    def parts(self) -> dict[str, Mapping[str, Path]]:
        """The files of each part by pair: visible, infrared and, if there are any, label."""
        pair = {"visible": self.visible, "infrared": self.infrared}
        return pair if self.labels is None else pair | {"label": self.labels}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The pairs that are complete."""
        return tuple(name for name in self.expected if name not in self.missing)

    @cached_property
    def missing(self) -> dict[str, list[str]]:
        """The parts that a pair lacks."""
        lacks = {
            name: [part for part, files in self.parts.items() if name not in files]
            for name in self.expected
        }
        return {name: parts for name, parts in lacks.items() if parts}

    @property
    def assumptions(self) -> tuple[str, ...]:
        """A sentence on what nothing beside the files says."""
        if not (self.class_codes and self.class_codes.assumed):
            return ()
        names = ", ".join(self.class_codes.taxonomy.names)
        of = self.class_codes.taxonomy.name
        return (f"no dataset.toml names the classes: ids are read as {of}'s, {names}",)

    @property
    def naming(self) -> str | None:
        """What would complete most of the pairs that lack a part; None if nothing would."""
        patterns: dict[str, str] = {}
        count = 0
        for part in set(self.parts) - {"visible"}:
            others = self.parts[part]
            lonely = [self.visible[name].stem for name in self.visible if name not in others]
            there = [others[name].stem for name in others if name not in self.visible]
            if found := suggested(lonely, there):
                patterns |= {"visible": found.patterns[0], part: found.patterns[1]}
                count = max(count, found.pairs)
        if not patterns:
            return None
        places = {
            part: f"{next(iter(files.values())).parent.name}/{patterns.get(part, EVERY)}"
            for part, files in self.parts.items()
        }
        facts = ", ".join(f'{part} = "{place}"' for part, place in places.items())
        return f"[files] in dataset.toml with {facts} would pair {count} of them"

    def read(self, index: int) -> LabelledPair:
        """As FrameSet says; ValueError for unequal sizes and for labels outside the classes."""
        name = self.names[index]
        visible, of_visible = self.visible_of(name)
        infrared, of_infrared = self.infrared_of(name)
        labels, unknown = self.read_labels(name)
        if labels is None:
            labels = np.full(infrared.shape, IGNORE, np.uint8)
        if not visible.shape[:2] == infrared.shape == labels.shape:
            raise ValueError(
                f"{self.visible[name]}: visible is {size(visible)}, infrared {size(infrared)}, "
                f"label {size(labels)}; bring them to one size and one view"
            )
        if unknown and self.class_codes:
            raise ValueError(
                f"{self.parts['label'][name]}: {_objection(self.class_codes, labels, unknown)}"
            )
        files = {"visible": of_visible, "infrared": of_infrared}
        return LabelledPair(name, visible, infrared, labels, light(name), files)

    def visible_of(self, name: str) -> tuple[NDArray[np.uint8], FileFacts]:
        """The visible frame of a pair, (H, W, 3) RGB, and the facts of its file."""
        path = _no_bitmap(self.visible[name])
        with naming_the_file(path):
            profile = self.cameras.visible
            frame = decode_visible_frame(read_frame(path), bits=profile.bits)
            facts = FileFacts(frame.depth, guessed=frame.bits_from == "guessed")
            return cropped(frame.pixels, profile.crop), facts

    def infrared_of(self, name: str) -> tuple[NDArray[np.uint8], FileFacts]:
        """The infrared frame of a pair, (H, W), and the facts of its file."""
        path = _no_bitmap(self.infrared[name])
        with naming_the_file(path):
            return _levels(read_frame(path), self.cameras.infrared)

    def read_labels(self, name: str) -> tuple[NDArray[np.uint8] | None, dict[Code, int]]:
        """Class ids (H, W), None if there are none, and the pixels of each unknown code."""
        if self.labels is None or self.class_codes is None:
            return None, {}
        return read_label(self.class_codes, _no_bitmap(self.labels[name]))


class RgbaSet(PairSet):
    """Pairs in one file each: red, green, blue and, as alpha, infrared."""

    def visible_of(self, name: str) -> tuple[NDArray[np.uint8], FileFacts]:
        """The colours of a pair's file, (H, W, 3) RGB; 8 bit."""
        return read_rgba(_no_bitmap(self.visible[name]))[0], FileFacts()

    def infrared_of(self, name: str) -> tuple[NDArray[np.uint8], FileFacts]:
        """The alpha of a pair's file, (H, W); 8 bit."""
        return read_rgba(_no_bitmap(self.infrared[name]))[1], FileFacts()


def light(name: str) -> Light | None:
    """Day or night, if a name ends as those of MFNet do: 00123D, 00124N."""
    match = re.search(r"\d([DN])$", name)
    return LIGHTS[match[1]] if match else None


def list_images(folder: Path, pattern: str = EVERY) -> Listing:
    """The images of a folder, BMP too; ValueError if two of them share a name alike."""
    found = list_frames(folder, pattern, also=(BITMAP,))
    if found.ambiguous:
        raise ValueError(found.ambiguous[0])
    return found


def pair_set(
    name: str,
    lists: Sequence[Listing],
    class_codes: ClassCodes | None,
) -> PairSet:
    """A set of files: visible, infrared and, if it is labelled, labels."""
    files = same_names(*(each.files for each in lists))
    return PairSet(
        name=name,
        expected=tuple(sorted(set[str]().union(*files))),
        visible=files[0],
        infrared=files[1],
        labels=files[2] if len(files) > 2 else None,
        class_codes=class_codes,
        notes=(*(sentence for each in lists for sentence in each.superseded), *_lossy(files[2:])),
    )


def _lossy(labels: Sequence[Mapping[str, Path]]) -> list[str]:
    """A sentence if labels lie in a format that changes their values."""
    jpegs = [path for files in labels for path in files.values() if LOSS.get(path.suffix.lower())]
    if not jpegs:
        return []
    return [f"labels as JPEG ({jpegs[0].name}) get values that nobody gave them: save them as PNG"]


def _levels(data: bytes, profile: CameraProfile) -> tuple[NDArray[np.uint8], FileFacts]:
    """A thermal frame in 8 bit, and the facts of its file."""
    came = decode_infrared(data)
    levels = infrared_levels(infrared_picture(came, profile), profile=profile)
    rows_too_many = profile.crop is None and has_telemetry(came.shape)
    facts = FileFacts(8 * came.itemsize, rows_too_many=rows_too_many, invalid=levels.invalid_share)
    return levels.pixels, facts


def _no_bitmap(path: Path) -> Path:
    if path.suffix.lower() == BITMAP:
        raise ImageError(
            "unsupported_type", f"{path} is a BMP; convert it to PNG, which loses nothing"
        )
    return path


def _objection(
    class_codes: ClassCodes, labels: NDArray[np.uint8], unknown: Mapping[Code, int]
) -> str:
    """What is wrong with a label that has pixels of these codes."""
    classes = class_codes.taxonomy
    if class_codes.are_figures(unknown):
        return (
            f"the label has the colours of the figures in the paper on {classes.name}, not those "
            "of its label files; take the label files as published"
        )
    codes = listed(f"{code} ({count} pixels)" for code, count in unknown.items())
    shifted = counted_from_one(unknown, classes, int((labels == 0).sum()))
    return (
        f"the label codes {codes} stand for none of the {len(classes.names)} classes of "
        f"{classes.name}{shifted and f'. {shifted}'}"
    )


def size(image: NDArray[np.uint8]) -> str:
    """Width x height, as people say it."""
    return f"{image.shape[1]}x{image.shape[0]}"
