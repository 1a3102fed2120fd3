"""
COCO: `instances_NAME.json` with polygons and run lengths, compressed or not.

Format: cocodataset.org, "Data format", 1. Object detection; run lengths go by columns, off first.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict, FiniteFloat
from pydantic.dataclasses import dataclass as checked

from segmif.classes import Taxonomy
from segmif.files import write_bytes
from segmif.imaging.codecs import write_png

from ...data.datasets.class_codes import ClassCodes
from ..package import as_json, files_of, json_as
from ..run_lengths import coco_counts, coco_mask
from ..shapes import AnnotatedImage, ClassNames, Shape, outline_of, rectangle
from .base import Counter, ExportedImage, Labels, check_size, label_colours

LOOSE = ConfigDict(extra="ignore")


@checked(config=LOOSE)
class RunLengths:
    """A mask as it stands in the file."""

    size: tuple[int, int]  # height, width
    counts: str | list[int]


@checked(config=LOOSE)
class Image:
    """An entry of `images`."""

    id: int
    file_name: str
    width: int
    height: int


@checked(config=LOOSE)
class Category:
    """An entry of `categories`."""

    id: int
    name: str


@checked(config=LOOSE)
class Annotation:
    """An entry of `annotations`."""

    image_id: int
    category_id: int
    segmentation: list[list[FiniteFloat]] | RunLengths | None = None
    bbox: list[FiniteFloat] | None = None  # x, y, width, height


@checked(config=LOOSE)
class Document:
    """What is read of a COCO file."""

    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category]


def write(folder: Path, name: str, images: Iterable[ExportedImage], classes: Taxonomy) -> str:
    """`images/`, a folder for each other view, and `annotations/instances_default.json`."""
    names = list(label_colours(classes))
    document: dict[str, list[Any]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": id_, "name": name} for id_, name in enumerate(names, start=1)],
    }
    for number, image in enumerate(images, start=1):
        (_, annotated), *others = image.views.items()
        for place, pixels in (("images", annotated), *others):
            (folder / place).mkdir(exist_ok=True)
            write_png(folder / place / f"{image.name}.png", pixels)
        height, width = image.size
        facts = {"id": number, "file_name": f"{image.name}.png", "width": width, "height": height}
        document["images"].append(facts)
        for shape in image.shapes:
            document["annotations"].append(
                {
                    "id": len(document["annotations"]) + 1,
                    "image_id": number,
                    "category_id": names.index(shape.label) + 1,
                    "iscrowd": 0,
                    **_geometry(shape, height, width),
                }
            )
    (folder / "annotations").mkdir()
    path = folder / "annotations" / "instances_default.json"
    write_bytes(path, as_json(document), wait_for_disk=False)
    return "import images/ and annotations/instances_default.json as COCO 1.0"


def _geometry(shape: Shape, height: int, width: int) -> dict[str, Any]:
    """Segmentation, area and box (x, y, width, height) of a shape."""
    if shape.mask is None:
        (outline,) = shape.outlines
        low, high = outline.min(0), outline.max(0)
        x, y = outline.T
        area = 0.5 * abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1)))
        return {
            "segmentation": [outline.ravel().tolist()],
            "area": area,
            "bbox": [*low.tolist(), *(high - low).tolist()],
        }
    rows, columns = shape.mask.shape
    whole = np.zeros((height, width), bool)
    whole[shape.top : shape.top + rows, shape.left : shape.left + columns] = shape.mask
    return {
        "segmentation": {"size": [height, width], "counts": coco_counts(whole)},
        "area": int(shape.mask.sum()),
        "bbox": [shape.left, shape.top, columns, rows],
    }


def read(source: Path, codes: ClassCodes | None) -> Labels:
    """Opens one JSON file, or those of a folder together."""
    paths = files_of(source, ".json")
    if not paths:
        raise ValueError(f"{source} holds no JSON file: name the file that was exported as COCO")
    return Coco([(path.name, json_as(Document, path)) for path in paths])


@dataclass
class Coco:
    """Documents of one export: a tool writes one for each subset."""

    documents: list[tuple[str, Document]]

    def __post_init__(self) -> None:
        """Raises ValueError for an id that stands twice, or for one of nothing."""
        self._left_out = Counter()
        for name, document in self.documents:
            for what, entries in (("image", document.images), ("category", document.categories)):
                ids = [entry.id for entry in entries]
                if len(set(ids)) < len(ids):
                    raise ValueError(f"{name}: an {what} id stands twice")
            images = {each.id for each in document.images}
            categories = {each.id for each in document.categories}
            for number, each in enumerate(document.annotations):
                if each.image_id not in images or each.category_id not in categories:
                    raise ValueError(
                        f"{name}: annotation {number} is of image {each.image_id} and category "
                        f"{each.category_id}, of which one is not listed"
                    )

    def classes(self) -> ClassNames:
        """As `Labels` says: by their ids."""
        of_all = [each for _, document in self.documents for each in document.categories]
        ordered = sorted(of_all, key=lambda each: each.id)
        return ClassNames(tuple(dict.fromkeys(each.name for each in ordered)))

    def images(self) -> Iterator[AnnotatedImage]:
        """As `Labels` says."""
        for name, document in self.documents:
            names = {each.id: each.name for each in document.categories}
            by_image: dict[int, list[Annotation]] = {each.id: [] for each in document.images}
            for annotation in document.annotations:
                by_image[annotation.image_id].append(annotation)
            for image in document.images:
                where = f"{name}, {image.file_name}"
                check_size(where, image.width, image.height)
                drawn = (
                    self._shape(each, names[each.category_id], image, where)
                    for each in by_image[image.id]
                )
                shapes = tuple(filter(None, drawn))
                yield AnnotatedImage(image.file_name, image.width, image.height, shapes)

    def left_out(self) -> Mapping[str, int]:
        """As `Labels` says."""
        return self._left_out.counts

    def _shape(self, each: Annotation, label: str, image: Image, where: str) -> Shape | None:
        held = each.segmentation
        if isinstance(held, RunLengths):
            if held.size != (image.height, image.width):
                height, width = held.size
                raise ValueError(
                    f"{where}: a mask of {label} is {width}x{height}, the image "
                    f"{image.width}x{image.height}"
                )
            try:
                return Shape(label, mask=coco_mask(held.counts, image.height, image.width))
            except ValueError as error:
                raise ValueError(f"{where}, {label}: {error}") from None
        if held:
            rings = (outline_of(_paired(ring, where), where) for ring in held)
            return Shape(label, tuple(rings))
        if each.bbox and len(each.bbox) == 4:
            left, top, across, down = each.bbox
            around = rectangle(left, top, left + across, top + down)
            return Shape(label, (around,), is_box=True)
        self._left_out.add("annotation without a segmentation")
        return None


def _paired(numbers: list[float], where: str) -> list[list[float]]:
    if len(numbers) % 2:
        raise ValueError(f"{where}: a polygon has {len(numbers)} numbers, pairs are expected")
    return [numbers[at : at + 2] for at in range(0, len(numbers), 2)]
