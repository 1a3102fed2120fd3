"""Where imported labels go: beside the frames of a folder, or into a new folder with copies."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from segmif.classes import IGNORE
from segmif.files import read_frame, write_bytes, write_text
from segmif.imaging.codecs import encode_indexed_png

from ..data.datasets.label_maps import CLASS_MAP
from ..data.datasets.own import class_map_of
from .class_file import class_file, with_classes
from .formats.base import Labels
from .label_import import LabelImport
from .staging import staged_folder


def label_in_place(work: LabelImport, labels: Labels, root: Path) -> None:
    """Put `label/` beside the frames; what nobody labelled is 255 everywhere."""
    with staged_folder(root / "label") as folder:
        for pair, data in work.files(labels.images()):
            write_bytes(folder / f"{pair}.png", data, wait_for_disk=False)
        for pair in sorted(set(work.pairs.names) - set(work.labelled)):
            height, width = work.pairs.visible_of(pair)[0].shape[:2]
            nothing = np.full((height, width), IGNORE, np.uint8)
            data = encode_indexed_png(nothing, work.taxonomy.palette, 6)
            write_bytes(folder / f"{pair}.png", data, wait_for_disk=False)
        # before the labels: classes without labels mislead nobody, labels without classes do
        path = class_map_of(root) or root / CLASS_MAP
        if (text := with_classes(path, work.taxonomy)) is not None:
            write_text(path, text)


def copy_labelled(
    work: LabelImport, labels: Labels, root: Path, cameras: Mapping[str, object] | None
) -> None:
    """Make a folder of the pairs that are labelled, as they were, and of their labels."""
    with staged_folder(root) as folder:
        for part in ("visible", "infrared", "label"):
            (folder / part).mkdir()
        for pair, data in work.files(labels.images()):
            write_bytes(folder / "label" / f"{pair}.png", data, wait_for_disk=False)
            for part, files in (("visible", work.pairs.visible), ("infrared", work.pairs.infrared)):
                path = files[pair]
                copy = folder / part / f"{pair}{path.suffix}"
                write_bytes(copy, read_frame(path), wait_for_disk=False)
        write_text(folder / CLASS_MAP, class_file(work.taxonomy, cameras))
