"""How each benchmark lays out its folders, and the one door to all of them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from segmif.classes import FMB, MFNET, PST900, Taxonomy
from training.datasets.coding import Coding, by_taxonomy, read_class_map
from training.datasets.pairs import PairSet, RgbaSet, files_by_name, listed
from training.datasets.published import PUBLISHED, count_note

CLASS_MAP = "dataset.toml"
SPLITS = frozenset({"train", "val", "test"})


@dataclass(frozen=True)
class Layout:
    """Names that the folders of a split may have, in lower case: archives differ in it."""

    visible: tuple[str, ...]
    infrared: tuple[str, ...]
    labels: tuple[str, ...] = ()  # none: its frames are not labelled
    taxonomy: Taxonomy | None = None  # None: as `dataset.toml` says, else as `training render`


FOLDER = Layout(("visible",), ("infrared",), ("label",))
# RoadScene: cropinfrared, crop_LR_visible; M3FD: Ir, Vis; TNO as commonly packed: ir, vi
PAIRS = Layout(
    ("visible", "vis", "vi", "rgb", "crop_lr_visible"),
    ("infrared", "ir", "thermal", "cropinfrared"),
)
MSRS = Layout(("vi",), ("ir",), ("segmentation_labels",), MFNET)
FMB_FOLDERS = Layout(("visible",), ("infrared",), ("label",), FMB)
PST900_FOLDERS = Layout(("rgb",), ("thermal",), ("labels",), PST900)


def open_set(
    kind: str, root: Path, split: str | None = None, labels: Path | None = None
) -> PairSet:
    """
    The pairs of a benchmark (`KINDS`) under `root`, of one split where it has several.

    `labels` is a folder of label files to take instead of the set's own. Raises ValueError or
    OSError where a folder is not as published, or where a moment lacks a frame or a label.
    """
    frames = locate(kind, root, split, labels)
    advice = "get or remove them; python -m training describe names them all"
    if frames.missing:
        name, parts = next(iter(frames.missing.items()))
        raise FileNotFoundError(
            f"{frames.name}: {len(frames.missing)} of {len(frames.moments)} moments are not "
            f"complete, the first is {name} (no {', '.join(parts)}); {advice}"
        )
    if not frames.names:
        raise FileNotFoundError(f"{root}: {frames.name} holds no frames")
    return frames


def locate(kind: str, root: Path, split: str | None = None, labels: Path | None = None) -> PairSet:
    """As `open_set`, but takes a set whose moments are not all complete."""
    if kind not in KINDS:
        raise ValueError(f"the kind of data set is {kind!r}; there are {', '.join(KINDS)}")
    frames = KINDS[kind](root, split, labels)
    published = PUBLISHED.get(kind)
    if published is None:
        return frames
    counted = _counted(kind, root, split, frames)
    notes = (*frames.notes, *published.traps, *counted)
    return replace(frames, notes=notes, published=published)


def _in_folders(layout: Layout, root: Path, split: str | None, labels: Path | None) -> PairSet:
    folder = root / split if split else root
    visible = files_by_name(_part(folder, layout.visible))
    infrared = files_by_name(_part(folder, layout.infrared))
    found = labels or _label_folder(folder, layout)
    labelled = files_by_name(found) if found else None
    return PairSet(
        name=_name(root, split),
        moments=tuple(sorted(visible.keys() | infrared.keys() | (labelled or {}).keys())),
        visible=visible,
        infrared=infrared,
        labels=labelled,
        coding=_coding(root, layout) if found else None,
    )


def _mfnet(root: Path, split: str | None, labels: Path | None) -> PairSet:
    """As published: `images` (RGBA), `labels` and a list of names for each split."""
    if not (root / "images").is_dir():  # as split into {visible,infrared,label}
        return _in_folders(replace(FOLDER, taxonomy=MFNET), root, split, labels)
    lists = sorted(path.stem for path in root.glob("*.txt"))
    if split not in lists:
        raise FileNotFoundError(
            f"{root} has no list of the split {split!r}; there are {listed(lists) or 'none'}"
        )
    names = (root / f"{split}.txt").read_text(encoding="utf-8").split()
    # Mirrored copies, which a script of the archive makes, are no frames of their own.
    moments = tuple(name for name in names if not name.endswith("_flip"))
    images = _of(moments, root / "images")
    mirrored = len(names) - len(moments)
    note = f"{mirrored} mirrored copies (_flip) are left out: training mirrors frames itself"
    return RgbaSet(
        name=_name(root, split),
        moments=moments,
        visible=images,
        infrared=images,
        labels=_of(moments, labels or root / "labels"),
        coding=by_taxonomy(MFNET),
        notes=(note,) if mirrored else (),
    )


def _of(moments: tuple[str, ...], folder: Path) -> dict[str, Path]:
    files = files_by_name(folder)
    return {name: files[name] for name in moments if name in files}


def _part(folder: Path, names: tuple[str, ...]) -> Path:
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


def _label_folder(folder: Path, layout: Layout) -> Path | None:
    """Where labels lie; a benchmark must have them, a folder of one's own may."""
    if layout.taxonomy is None and not any((folder / name).is_dir() for name in layout.labels):
        return None
    return _part(folder, layout.labels)


def _coding(root: Path, layout: Layout) -> Coding:
    class_map = root / CLASS_MAP
    if layout.taxonomy is None and class_map.is_file():
        return read_class_map(class_map)
    return by_taxonomy(layout.taxonomy or MFNET)


def _name(root: Path, split: str | None) -> str:
    """`mfnet/val`, whether the split was named or is the end of the path."""
    folder, split = _with_split(root, split)
    return f"{folder.name}/{split}" if split else folder.name


def _with_split(root: Path, split: str | None) -> tuple[Path, str | None]:
    folder = root.resolve()
    if split is None and folder.name in SPLITS:
        return folder.parent, folder.name
    return folder, split


def _counted(kind: str, root: Path, split: str | None, frames: PairSet) -> tuple[str, ...]:
    """How the pairs compare with those that were published."""
    folder, split = _with_split(root, split)
    published, there = PUBLISHED[kind], len(frames.names)
    if split and published.splits:
        return count_note(frames.name, there, published.expected(split))
    if split:
        there = sum(_pairs_of(kind, folder, each) for each in SPLITS)
    return count_note(f"{folder.name}, all splits together,", there, published.expected(split))


def _pairs_of(kind: str, folder: Path, split: str) -> int:
    """Complete pairs of a split; 0 where it cannot be opened, which is for its own check to say."""
    try:
        return len(KINDS[kind](folder, split, None).names)
    except (OSError, ValueError):
        return 0


KINDS: dict[str, Callable[[Path, str | None, Path | None], PairSet]] = {
    "folder": partial(_in_folders, FOLDER),
    "pairs": partial(_in_folders, PAIRS),
    "mfnet": _mfnet,
    "msrs": partial(_in_folders, MSRS),
    "fmb": partial(_in_folders, FMB_FOLDERS),
    "pst900": partial(_in_folders, PST900_FOLDERS),
}
