"""Labels that lie beside the frames: folders of masks under any name, and forms not read here."""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from segmif.folders import LOSS
from segmif.imaging.codecs import read_labels

IMAGES = frozenset(LOSS) | {".bmp"}

MASK_FOLDERS = frozenset(
    {
        *("label", "labels", "mask", "masks", "annotation", "annotations", "segmentation"),
        *("segmentationclass", "segmentation_labels", "gt", "groundtruth", "ground_truth"),
    }
)
PAIRS_ALONE = "To go on without labels, name the kind 'pairs'."
OURS = "label"  # the folder that `training render` writes, in MFNet's ids
HEAD = 1 << 16  # [bytes] of a file, enough to recognise its form
LISTED = 20_000  # files of a folder, at most, that are counted
FEW = 48  # values of a mask at most; a frame has more
SNIFFED = 3  # files of a kind in a folder that are opened
CLASSES = 10_000  # a first number above it is a time, not a class
BOX_COLUMNS = 5  # of a line of YOLO: class, centre, size; outlines have more


@dataclass(frozen=True)
class Form:
    """A form of labels that is not read, and how to recognise a file of it."""

    name: str
    suffix: str
    fits: Callable[[str], bool]  # the first HEAD characters of a file


def _has(*keys: str) -> Callable[[str], bool]:
    return lambda text: all(f'"{key}"' in text for key in keys)


def _columns(text: str) -> int:
    """Numbers in the first line of a YOLO file, a class and shares of 1; 0 for another file."""
    line = text.strip().partition("\n")[0].split()
    numbers = bool(line) and all(re.fullmatch(r"\d+(\.\d+)?(e-?\d+)?", word) for word in line)
    shares = numbers and float(line[0]) <= CLASSES and all(float(word) <= 1 for word in line[1:])
    return len(line) if shares and line[0].isdecimal() else 0


FORMS = (
    Form("LabelMe JSON, outlines", ".json", _has("shapes", "imagePath")),
    Form("COCO JSON, outlines", ".json", _has("annotations", "categories")),
    Form("COCO JSON, outlines", ".json", _has("images", "annotations")),
    Form("VIA JSON, outlines", ".json", _has("regions", "shape_attributes")),
    Form("Supervisely JSON, outlines", ".json", _has("classTitle", "objects")),
    Form("VOC XML, boxes", ".xml", lambda text: "<annotation" in text),
    Form("YOLO text, outlines", ".txt", lambda text: _columns(text) > BOX_COLUMNS),
    Form("YOLO text, boxes", ".txt", lambda text: _columns(text) == BOX_COLUMNS),
)


def mask_folders(folder: Path, split: str | None = None) -> list[Path]:
    """
    The folders in `folder` that hold images and are called as folders of masks are, sorted; with a
    split, their own folders of that name. One that is called `label` is taken empty too.
    """
    held = [path for path in sorted(folder.iterdir()) if path.name.lower() in MASK_FOLDERS]
    found = [path / split if split else path for path in held]
    return [each for each in found if _has_images(each) or _is_empty_one_of_ours(each)]


def likely_masks(folder: Path, known: Collection[Path]) -> list[str]:
    """
    A sentence on each folder that is none of the known, in `folder` or in one of its own, whose
    images look like masks: one channel of few values.
    """
    found = [path for path in _with_own(_own(folder)) if path not in known and _has_images(path)]
    return [
        f"{path} seems to hold masks: name it under [files] in dataset.toml, label = "
        f'"{path.relative_to(folder)}/*"'
        for path in found
        if _of_few_values(path)
    ]


def unread_labels(folders: Iterable[Path]) -> list[str]:
    """A sentence on each form of labels that lies in these folders or in one of their own."""
    found = []
    for folder in dict.fromkeys(_with_own(folders)):
        by_suffix: dict[str, list[Path]] = {}
        for path in islice(sorted(folder.iterdir()), LISTED):
            if path.suffix.lower() in {form.suffix for form in FORMS} and path.is_file():
                by_suffix.setdefault(path.suffix.lower(), []).append(path)
        for paths in by_suffix.values():
            if form := next(filter(None, map(_form, paths[:SNIFFED])), None):
                first = paths[0].name
                found.append(f"{folder} holds labels as {form} ({len(paths)}: {first}), not read")
    return found


def remedy(root: Path) -> str:
    """What to do with labels in a form that is not read."""
    return (
        f"Draw them into masks {root / 'label'}/NAME.png, a class id a pixel and 255 where nobody "
        f"labelled, and name the classes in {root / 'dataset.toml'}; CVAT exports such masks as "
        "'Segmentation mask', which are read as they are. `segmif train import` brings in labels "
        f"of CVAT, Label Studio, labelme and COCO. {PAIRS_ALONE}"
    )


def class_map_wanted(root: Path, labels: Path, codes: Sequence[object]) -> str:
    """What to write if nobody says what the codes of masks mean."""
    values = ", ".join(map(str, codes))
    return (
        f"{labels} holds masks, but nothing says what their values mean (the first: {values}). "
        f'Write {root / "dataset.toml"}: name = "{root.resolve().name}", then for each class '
        '[[classes]], name = "...", colour = [r, g, b], codes = [...]'
    )


def _with_own(folders: Iterable[Path]) -> Iterable[Path]:
    for folder in folders:
        if folder.is_dir():
            yield folder
            yield from _own(folder)


def _form(path: Path) -> str | None:
    try:
        text = _ends(path)
    except OSError:
        return None
    suffix = path.suffix.lower()
    return next((form.name for form in FORMS if form.suffix == suffix and form.fits(text)), None)


def _ends(path: Path) -> str:
    """The beginning of a file and its end: COCO names its classes after its images."""
    with path.open("rb") as file:
        head = file.read(HEAD)
        file.seek(max(path.stat().st_size - HEAD, 0))
        tail = file.read(HEAD)
    return (head if head == tail else head + tail).decode("utf-8", "replace")


def _of_few_values(folder: Path) -> bool:
    first = next(path for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGES)
    try:
        pixels = read_labels(first)
    except (OSError, ValueError):
        return False
    return len(np.unique(pixels)) <= FEW


def _own(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.is_dir()]


def _is_empty_one_of_ours(folder: Path) -> bool:
    if OURS not in (folder.name.lower(), folder.parent.name.lower()) or not folder.is_dir():
        return False
    return not unread_labels([folder])


def _has_images(folder: Path) -> bool:
    return folder.is_dir() and any(
        path.suffix.lower() in IMAGES for path in islice(folder.iterdir(), LISTED)
    )
