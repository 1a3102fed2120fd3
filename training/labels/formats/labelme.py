"""
labelme: a JSON file beside each image, with polygons and masks.

Format: labelme's `LabelFile`. A mask is a base64 PNG within two points, its first and last pixel.
"""

import base64
import binascii
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict, FiniteFloat
from pydantic.dataclasses import dataclass as checked

from segmif.classes import Taxonomy
from segmif.files import write_bytes, write_text
from segmif.imaging.codecs import decode_labels, encode_png, write_png

from ...data.datasets.class_codes import ClassCodes
from ..package import as_json, files_of, json_as, label_text
from ..shapes import AnnotatedImage, ClassNames, Shape, ellipse, outline_of, rectangle
from .base import Counter, ExportedImage, Labels, check_size, label_colours, names_of

VERSION = "5.5.0"  # of the files that are written: the first with masks as they are now
FLAT = frozenset({"point", "points", "line", "linestrip"})  # they cover no pixels


@checked(config=ConfigDict(extra="ignore"))
class Drawn:
    """An entry of `shapes`."""

    label: str
    points: list[tuple[FiniteFloat, FiniteFloat]]
    shape_type: str = "polygon"
    mask: str | None = None


@checked(config=ConfigDict(extra="ignore"))
class Document:
    """What is read of a labelme file."""

    imagePath: str  # as the file has it
    imageWidth: int
    imageHeight: int
    shapes: list[Drawn] = field(default_factory=list)


def write(folder: Path, name: str, images: Iterable[ExportedImage], classes: Taxonomy) -> str:
    """`NAME.png` and `NAME.json` side by side, further views in folders, `labels.txt`."""
    for image in images:
        (_, annotated), *others = image.views.items()
        write_png(folder / f"{image.name}.png", annotated)
        for view, pixels in others:
            (folder / view).mkdir(exist_ok=True)
            write_png(folder / view / f"{image.name}.png", pixels)
        height, width = image.size
        document: dict[str, Any] = {
            "version": VERSION,
            "flags": {},
            "shapes": [entry for shape in image.shapes for entry in _entries(shape)],
            "imagePath": f"{image.name}.png",
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        write_bytes(folder / f"{image.name}.json", as_json(document), wait_for_disk=False)
    write_text(folder / "labels.txt", "".join(f"{name}\n" for name in label_colours(classes)))
    return "labelme . --labels labels.txt, in this folder"


def _entries(shape: Shape) -> Iterator[dict[str, Any]]:
    common: dict[str, Any] = {
        "label": shape.label,
        "group_id": None,
        "description": "",
        "flags": {},
    }
    for outline in shape.outlines:
        yield common | {"shape_type": "polygon", "points": outline.tolist(), "mask": None}
    if shape.mask is not None:
        height, width = shape.mask.shape
        ends = [[shape.left, shape.top], [shape.left + width - 1, shape.top + height - 1]]
        picture = base64.b64encode(encode_png(shape.mask.astype(np.uint8))).decode()
        yield common | {"shape_type": "mask", "points": ends, "mask": picture}


def read(source: Path, codes: ClassCodes | None) -> Labels:
    """Opens a JSON file, or all of a folder."""
    paths = files_of(source, ".json")
    if not paths:
        raise ValueError(f"{source} holds no JSON file: name the folder that labelme saved in")
    return Labelme(paths)


class Labelme:
    """The files of a folder."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths, self._left_out = paths, Counter()

    def classes(self) -> ClassNames:
        """As `Labels` says: those of `labels.txt` beside the files, then as they come."""
        listed = self._paths[0].with_name("labels.txt")
        lines = label_text(listed).split("\n") if listed.is_file() else []
        given = [line.strip() for line in lines if line.strip() and not line.startswith("_")]
        return ClassNames(tuple(dict.fromkeys((*given, *names_of(self.images())))))

    def images(self) -> Iterator[AnnotatedImage]:
        """As `Labels` says."""
        self._left_out.counts.clear()
        for path in self._paths:
            document = json_as(Document, path)
            check_size(path.name, document.imageWidth, document.imageHeight)
            drawn = (self._shape(each, document, path.name) for each in document.shapes)
            yield AnnotatedImage(
                document.imagePath.replace("\\", "/"),
                document.imageWidth,
                document.imageHeight,
                tuple(filter(None, drawn)),
            )

    def left_out(self) -> Mapping[str, int]:
        """As `Labels` says."""
        return self._left_out.counts

    def _shape(self, each: Drawn, document: Document, where: str) -> Shape | None:
        where = f"{where}, {each.shape_type} of {each.label!r}"
        if each.shape_type == "polygon":
            return Shape(each.label, (outline_of(each.points, where),))
        if each.shape_type in FLAT:
            self._left_out.add(each.shape_type)
            return None
        if len(each.points) != 2:
            raise ValueError(f"{where}: {len(each.points)} points, two are expected")
        (x0, y0), (x1, y1) = each.points
        if each.shape_type == "rectangle":
            return Shape(each.label, (rectangle(x0, y0, x1, y1),), is_box=True)
        if each.shape_type == "circle":
            radius = math.dist((x0, y0), (x1, y1))
            return Shape(each.label, (ellipse(x0, y0, (radius, radius)),))
        if each.shape_type == "mask":
            return _mask(each, where, (document.imageHeight, document.imageWidth))
        raise ValueError(f"{where}: this kind of shape is not read: draw a polygon or a mask")


def _mask(each: Drawn, where: str, size: tuple[int, int]) -> Shape:
    (x0, y0), (x1, y1) = ((int(x), int(y)) for x, y in each.points)
    try:
        data = base64.b64decode(each.mask or "", validate=True)
        mask = decode_labels(data, size[0] * size[1])
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{where}: its picture cannot be read: {error}") from None
    if mask.shape != (y1 - y0 + 1, x1 - x0 + 1):
        raise ValueError(
            f"{where}: its picture is {mask.shape[1]}x{mask.shape[0]}, its points span "
            f"{x1 - x0 + 1}x{y1 - y0 + 1}"
        )
    return Shape(each.label, mask=mask > 0, left=x0, top=y0)
