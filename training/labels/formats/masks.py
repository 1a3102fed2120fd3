"""
Masks as pictures: PASCAL VOC and CVAT's "Segmentation mask 1.1" with `labelmap.txt`, plain colours.

A picture holds palette indices, ids or colours; what they mean is read as training reads it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from segmif.classes import IGNORE
from segmif.files import shown
from segmif.folders import listed

from ...data.datasets.class_codes import ClassCodes
from ...data.datasets.label_maps import LABEL_MAP, read_label, read_label_map
from ..package import files_of
from ..shapes import IGNORED, AnnotatedImage, ClassNames, Shape
from .base import Labels

OBJECTS = "segmentationobject"  # instances, of which VOC and CVAT make pictures of their own


def read_voc(source: Path, codes: ClassCodes | None) -> Labels:
    """Opens pictures beside a `labelmap.txt`."""
    maps = [path for path in files_of(source, ".txt") if path.name == LABEL_MAP]
    if len(maps) != 1:
        raise ValueError(
            f"{shown(source)} holds {len(maps)} files {LABEL_MAP}, one is expected: it names the "
            "classes and colours of the masks. Write NAME:RED,GREEN,BLUE:: for each class, or "
            "import plain pictures by --from palette"
        )
    return MaskPictures(source, read_label_map(maps[0], source.name))


def read_palette(source: Path, codes: ClassCodes | None) -> Labels:
    """Opens plain pictures whose colours or ids `codes` names; ValueError without any."""
    if codes is None:
        raise ValueError(
            "nothing says what the colours mean: name a dataset.toml with names and colours by "
            "--classes"
        )
    return MaskPictures(source, codes)


class MaskPictures:
    """The pictures of a folder, as shapes: one mask for each class."""

    def __init__(self, source: Path, codes: ClassCodes) -> None:
        """Raises ValueError if there is no PNG."""
        inside = [path for path in files_of(source, ".png") if _is_of_classes(path, source)]
        if not inside:
            raise ValueError(f"{shown(source)} holds no PNG masks")
        self._paths, self._codes = inside, codes

    def classes(self) -> ClassNames:
        """As `Labels` says: in the order of the codes."""
        taxonomy = self._codes.taxonomy
        return ClassNames(taxonomy.names, dict(zip(taxonomy.names, taxonomy.palette, strict=True)))

    def images(self) -> Iterator[AnnotatedImage]:
        """As `Labels` says; ValueError for a colour that stands for no class."""
        names = self._codes.taxonomy.names
        for path in self._paths:
            labels, unknown = read_label(self._codes, path)
            if unknown:
                codes = listed(f"{code} ({count} pixels)" for code, count in unknown.items())
                raise ValueError(f"{path.name}: the codes {codes} stand for no class")
            shapes = tuple(
                Shape(IGNORED if id_ == IGNORE else names[id_], mask=labels == id_)
                for id_ in np.unique(labels).tolist()
            )
            yield AnnotatedImage(path.name, labels.shape[1], labels.shape[0], shapes)

    def left_out(self) -> Mapping[str, int]:
        """Nothing: every pixel has a code."""
        return {}


def _is_of_classes(path: Path, source: Path) -> bool:
    """Whether a picture is neither of instances nor, as VOC has it, a frame."""
    folders = (
        {part.lower() for part in path.relative_to(source).parts[:-1]} if source.is_dir() else set()
    )
    return not folders & {OBJECTS, "jpegimages"}
