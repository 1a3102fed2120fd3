"""
Where the files of a data set lie whose cameras name them in their own way, as `dataset.toml` says:

    [files]
    visible = "JPEGImages/FLIR_*_RGB"           # folder and name without suffix
    infrared = "JPEGImages/FLIR_*_PreviewData"  # * is what the names of a pair share
    label = "masks/{split}/*"                   # {split}: the split that is asked for

and what is stated of the cameras, as in a rig file:

    [frames.infrared]
    polarity = "black_hot"
    crop = [0, 0, 0, 2]                         # left, top, right, bottom, pixels
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli

from segmif.files import read_text
from segmif.folders import check_pattern
from segmif.parsing import parse_toml
from segmif.thermal.camera_profile import Cameras, cameras_from

PARTS = ("visible", "infrared", "label")


@dataclass(frozen=True)
class FilePattern:
    """A folder, and the pattern of the names in it that count."""

    folder: Path
    pattern: str


def read_files(path: Path, split: str | None) -> Mapping[str, FilePattern] | None:
    """
    The places of each part that a `dataset.toml` names; None if it names none.

    Raises ValueError for a part that is none or missing, for a pattern without one `*`, and for
    `{split}` if no split was asked for.
    """
    try:
        stated = tomli.loads(read_text(path)).get("files")
        return None if stated is None else _places(path.parent, stated, split)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_cameras(path: Path) -> Cameras:
    """
    What the `[frames]` of a `dataset.toml` state of the cameras, as those of a rig file do.

    Raises ValueError for what no camera has.
    """
    try:
        return cameras_from(parse_toml(path).get("frames"))
    except ValueError as error:
        raise ValueError(f"{path}: [frames]: {error}") from error


def _places(root: Path, stated: Any, split: str | None) -> dict[str, FilePattern]:
    if not isinstance(stated, dict) or not {"visible", "infrared"} <= stated.keys() <= set(PARTS):
        raise ValueError(f"[files] has visible, infrared and perhaps label, this has {stated!r}")
    places = {part: _place(root, str(text), split) for part, text in stated.items()}
    if places["visible"] == places["infrared"]:
        raise ValueError(f"visible and infrared are the same files, {stated['visible']!r}")
    return places


def _place(root: Path, text: str, split: str | None) -> FilePattern:
    if "{split}" in text and split is None:
        raise ValueError(f"{text!r} holds several splits: say which one")
    folder, _, pattern = text.replace("{split}", split or "").rpartition("/")
    check_pattern(pattern)
    return FilePattern(root / folder, pattern)
