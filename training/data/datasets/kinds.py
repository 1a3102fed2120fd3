"""How each benchmark lays out its folders, and the one function that opens all of them."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from segmif.classes import FMB, MFNET, PST900
from segmif.files import TABLE_BYTES, read_text
from segmif.folders import listed

from .class_codes import by_taxonomy
from .layouts import SPLITS, Layout, part_folder, set_name, with_split
from .own import own_set
from .pairs import PairSet, RgbaSet, list_images, pair_set
from .published import PUBLISHED, count_note

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
    The pairs of a benchmark (`KINDS`) under `root`, of one split if it has several.

    `labels` is a folder of label files to take instead of the set's own. Raises ValueError or
    OSError if a folder is not as published, or if a pair lacks a frame or a label.
    """
    frames = locate(kind, root, split, labels)
    if frames.obstacles:
        raise ValueError(f"{frames.name}: {frames.obstacles[0]}")
    if frames.missing:
        name, parts = next(iter(frames.missing.items()))
        advice = frames.naming or "get or remove them; segmif training describe names them all"
        raise FileNotFoundError(
            f"{frames.name}: {len(frames.missing)} of {len(frames.expected)} pairs are not "
            f"complete, the first is {name} (no {', '.join(parts)}); {advice}"
        )
    if not frames.names:
        raise FileNotFoundError(f"{root}: {frames.name} holds no frames")
    return frames


def locate(kind: str, root: Path, split: str | None = None, labels: Path | None = None) -> PairSet:
    """As `open_set`, but takes a set whose pairs are not all complete."""
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
    """A benchmark whose taxonomy is known: a folder of a split holds a folder of each part."""
    assert layout.taxonomy is not None
    folder = root / split if split else root
    visible = list_images(part_folder(folder, layout.visible))
    infrared = list_images(part_folder(folder, layout.infrared))
    labelled = list_images(labels or part_folder(folder, layout.labels))
    return pair_set(
        set_name(root, split), (visible, infrared, labelled), by_taxonomy(layout.taxonomy)
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
    names = read_text(root / f"{split}.txt", TABLE_BYTES, names_files=True).split()
    # Mirrored copies, which a script of the archive makes, are no frames of their own.
    expected = tuple(name for name in names if not name.endswith("_flip"))
    images = _of(expected, root / "images")
    mirrored = len(names) - len(expected)
    note = f"{mirrored} mirrored copies (_flip) are left out: training mirrors frames itself"
    return RgbaSet(
        name=set_name(root, split),
        expected=expected,
        visible=images,
        infrared=images,
        labels=_of(expected, labels or root / "labels"),
        class_codes=by_taxonomy(MFNET),
        notes=(note,) if mirrored else (),
    )


def _of(expected: tuple[str, ...], folder: Path) -> dict[str, Path]:
    files = list_images(folder).files
    return {name: files[name] for name in expected if name in files}


def _counted(kind: str, root: Path, split: str | None, frames: PairSet) -> tuple[str, ...]:
    """How the pairs compare with those that were published."""
    folder, split = with_split(root, split)
    published, there = PUBLISHED[kind], len(frames.names)
    if split and published.splits:
        return count_note(frames.name, there, published.expected(split))
    if split:
        there = sum(_pairs_of(kind, folder, each) for each in SPLITS)
    return count_note(f"{folder.name}, all splits together,", there, published.expected(split))


def _pairs_of(kind: str, folder: Path, split: str) -> int:
    """Complete pairs of a split; 0 if it cannot be opened, which is for its own check to say."""
    try:
        return len(KINDS[kind](folder, split, None).names)
    except (OSError, ValueError):
        return 0


KINDS: dict[str, Callable[[Path, str | None, Path | None], PairSet]] = {
    "folder": partial(own_set, FOLDER),
    "pairs": partial(own_set, PAIRS),
    "mfnet": _mfnet,
    "msrs": partial(_in_folders, MSRS),
    "fmb": partial(_in_folders, FMB_FOLDERS),
    "pst900": partial(_in_folders, PST900_FOLDERS),
}
