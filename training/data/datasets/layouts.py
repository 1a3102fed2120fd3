"""Names of the folders of a data set, and of the set itself."""

from dataclasses import dataclass
from pathlib import Path

from segmif.classes import Taxonomy

SPLITS = frozenset({"train", "val", "test"})


@dataclass(frozen=True)
class Layout:
    """Names that the folders of a split may have, in lower case: archives differ in it."""

    visible: tuple[str, ...]
    infrared: tuple[str, ...]
    labels: tuple[str, ...] = ()  # none: its frames are not labelled
    taxonomy: Taxonomy | None = None  # None: as `dataset.toml` says, else as `training render`


def part_folder(folder: Path, names: tuple[str, ...]) -> Path:
    """The one folder in `folder` that has one of `names`, whatever its case."""
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    held = sorted(path for path in folder.iterdir() if path.is_dir())
    fitting = [path for path in held if path.name.lower() in names]
    if len(fitting) == 1:
        return fitting[0]
    there = ", ".join(path.name for path in fitting or held) or "no folder"
    raise FileNotFoundError(
        f"{folder} should hold one folder named {' or '.join(names)}, but there is {there}; "
        "is a split missing, or is it another kind of data set?"
    )


def set_name(root: Path, split: str | None) -> str:
    """`mfnet/val`, whether the split was named or is the end of the path."""
    folder, split = with_split(root, split)
    return f"{folder.name}/{split}" if split else folder.name


def with_split(root: Path, split: str | None) -> tuple[Path, str | None]:
    folder = root.resolve()
    if split is None and folder.name in SPLITS:
        return folder.parent, folder.name
    return folder, split
