"""Data sets of one's own: folders of visible and infrared, and labels under whatever name."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from segmif.classes import MFNET
from segmif.folders import EVERY
from segmif.thermal.camera_profile import Cameras

from .class_codes import ClassCodes, by_taxonomy, read_class_map, read_codes
from .label_files import (
    OURS,
    PAIRS_ALONE,
    class_map_wanted,
    likely_masks,
    mask_folders,
    remedy,
    unread_labels,
)
from .label_maps import CLASS_MAP, LABEL_MAP, read_label_map
from .layouts import SPLITS, Layout, part_folder, set_name
from .own_files import PARTS, FilePattern, read_cameras, read_files
from .pairs import PairSet, list_images, pair_set


def own_set(layout: Layout, root: Path, split: str | None, labels: Path | None) -> PairSet:
    """
    A set as `dataset.toml` says, else in folders of the layout's names, either way around: of a
    split (`train/visible`) or of a sensor (`visible/train`).

    Raises ValueError for masks of which nothing says what they mean, and for several folders of
    masks; OSError for folders that are not there.
    """
    class_map = class_map_of(root)
    folder = root / split if split and (root / split).is_dir() else root
    places = read_files(class_map, split) if class_map else None
    if places is None:
        places = _usual(layout, root, split)
    if found := labels or (None if "label" in places else _masks(layout, folder, root, split)):
        places = {**places, "label": FilePattern(found, EVERY)}
    there = [places[part] for part in PARTS if part in places]
    lists = [list_images(place.folder, place.pattern) for place in there]
    cameras = read_cameras(class_map) if class_map else Cameras()
    frames = replace(pair_set(set_name(root, split), lists, None), cameras=cameras)
    if held := _held_splits(places["visible"].folder, frames):
        return replace(frames, obstacles=(f"{places['visible'].folder} holds no frames; {held}",))
    if "label" in places:
        masks = places["label"].folder
        return replace(
            frames, class_codes=_class_codes(root, masks, class_map, stated=labels is not None)
        )
    beside = unread_labels((root, folder, *(place.folder for place in places.values())))
    if layout.labels and (likely := likely_masks(folder, [place.folder for place in there])):
        return replace(frames, obstacles=tuple(f"{each}. {PAIRS_ALONE}" for each in likely))
    if layout.labels:
        return replace(frames, obstacles=tuple(f"{each}. {remedy(root)}" for each in beside))
    masked = [f"{each} holds masks" for each in mask_folders(folder)]
    notes = (f"{each}: kind 'pairs' leaves labels out" for each in (*masked, *beside))
    return replace(frames, notes=(*frames.notes, *notes))


def _held_splits(visible: Path, frames: PairSet) -> str | None:
    """What to do if a sensor's folder holds folders alone."""
    held = [] if frames.visible else [path.name for path in visible.iterdir() if path.is_dir()]
    return f"name the split: {', '.join(sorted(held))}." if held else None


def _usual(layout: Layout, root: Path, split: str | None) -> dict[str, FilePattern]:
    return {
        "visible": FilePattern(_sensor(root, split, layout.visible), EVERY),
        "infrared": FilePattern(_sensor(root, split, layout.infrared), EVERY),
    }


def class_map_of(root: Path) -> Path | None:
    """The `dataset.toml` of a set; that of all splits if `root` is one of them."""
    whole = root.absolute()  # "." has no name
    folders = (root, whole.parent) if whole.name in SPLITS else (root,)
    return next((each / CLASS_MAP for each in folders if (each / CLASS_MAP).is_file()), None)


def _sensor(root: Path, split: str | None, names: tuple[str, ...]) -> Path:
    """The folder of a sensor's frames, of a split if there is one."""
    if split is None or (root / split).is_dir():
        return part_folder(root / split if split else root, names)
    try:
        sensor = part_folder(root, names)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no folder {root / split}") from None
    if not (sensor / split).is_dir():
        held = ", ".join(sorted(path.name for path in sensor.iterdir() if path.is_dir()))
        raise FileNotFoundError(
            f"there is neither a folder {root / split} nor {sensor / split}; {sensor} holds "
            f"{held or 'no folder'}"
        )
    return sensor / split


def _masks(layout: Layout, folder: Path, root: Path, split: str | None) -> Path | None:
    """The folder of masks beside the frames; a set of the kind `pairs` has none."""
    if not layout.labels:
        return None
    found = mask_folders(folder, split if folder == root else None)
    ours = [path for path in found if OURS in (path.name.lower(), path.parent.name.lower())]
    if len(found) > 1 and len(ours) != 1:
        raise ValueError(
            f"{folder} holds masks in {', '.join(path.name for path in found)}: name the one that "
            f"counts under [files] in {folder / CLASS_MAP}, or keep one"
        )
    return next(iter(ours or found), None)


def _class_codes(root: Path, masks: Path, class_map: Path | None, *, stated: bool) -> ClassCodes:
    """What the masks mean; ValueError if nothing says it."""
    if class_map and (class_codes := read_class_map(class_map)):
        return class_codes
    for folder in (masks, masks.parent, root):
        if (folder / LABEL_MAP).is_file():
            return read_label_map(folder / LABEL_MAP, root.resolve().name)
    if stated or OURS in (masks.name.lower(), masks.parent.name.lower()):
        return by_taxonomy(MFNET, assumed=True)
    raise ValueError(class_map_wanted(root, masks, _first_codes(masks)))


def _first_codes(masks: Path) -> list[object]:
    """The values in the first mask that can be read."""
    for path in list_images(masks).files.values():
        try:
            pixels = read_codes(path)
        except (OSError, ValueError):
            continue
        if pixels.ndim == 2:
            return list(np.unique(pixels).tolist())
        return [tuple(colour) for colour in np.unique(pixels.reshape(-1, 3), axis=0).tolist()[:6]]
    return ["none can be read"]
