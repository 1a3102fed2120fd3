"""
Label Studio: tasks as JSON, with brushes (run lengths) and polygons (per cent of the image).

Format: Label Studio's documentation, "Export annotations", "Raw JSON" and "Units of image
annotations". The package names its images as local files below the folder that holds it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.etree import ElementTree

import numpy as np
from pydantic import ConfigDict, FiniteFloat
from pydantic.dataclasses import dataclass as checked

from segmif.classes import Taxonomy
from segmif.files import write_bytes
from segmif.imaging.codecs import write_png
from segmif.parsing import parse_json

from ...data.datasets.class_codes import ClassCodes
from ..package import LABEL_BYTES, as_json, one_file, value_as
from ..run_lengths import brush_of, mask_of_brush
from ..shapes import AnnotatedImage, ClassNames, Shape, ellipse, outline_of, rectangle
from .base import Counter, ExportedImage, Labels, as_hex, check_size, label_colours, names_of

UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # what the tool puts before the name of an uploaded file
MOMENT = "segmif_moment"  # the key of a task's data that keeps the pair's name
CORNER = (0.0, 0.0)  # around the upper left one a rectangle is turned
LOOSE = ConfigDict(extra="ignore")


@checked(config=LOOSE)
class Value:
    """The geometry of a result; x, y and sizes in per cent."""

    brushlabels: list[str] = field(default_factory=list)
    polygonlabels: list[str] = field(default_factory=list)
    rectanglelabels: list[str] = field(default_factory=list)
    ellipselabels: list[str] = field(default_factory=list)
    rle: list[int] | None = None
    points: list[tuple[FiniteFloat, FiniteFloat]] | None = None
    x: FiniteFloat = 0.0
    y: FiniteFloat = 0.0
    width: FiniteFloat = 0.0
    height: FiniteFloat = 0.0
    radiusX: FiniteFloat = 0.0  # as the file has it
    radiusY: FiniteFloat = 0.0
    rotation: FiniteFloat = 0.0

    @property
    def labels(self) -> list[str]:
        """The classes of what is drawn; none if nothing is."""
        drawn = self.brushlabels or self.polygonlabels or self.ellipselabels
        return drawn or self.rectanglelabels


@checked(config=LOOSE)
class Result:
    """One thing that was drawn."""

    type: str
    value: Value
    original_width: int = 0
    original_height: int = 0
    image_rotation: FiniteFloat = 0.0


@checked(config=LOOSE)
class Annotation:
    """What one annotator drew."""

    result: list[dict[str, Any]] = field(default_factory=list)
    was_cancelled: bool = False
    updated_at: str = ""


@checked(config=LOOSE)
class Task:
    """An image with what was drawn on it."""

    data: dict[str, Any]
    annotations: list[Annotation] = field(default_factory=list)


def write(folder: Path, name: str, images: Iterable[ExportedImage], classes: Taxonomy) -> str:
    """`tasks.json`, `label_config.xml` and a folder of images for each view."""
    tasks: list[dict[str, Any]] = []
    views: tuple[str, ...] = ("visible",)
    for image in images:
        views = tuple(image.views)
        for view, pixels in image.views.items():
            (folder / view).mkdir(exist_ok=True)
            write_png(folder / view / f"{image.name}.png", pixels)
        links = {
            view: f"/data/local-files/?d={quote(f'{name}/{view}/{image.name}.png')}"
            for view in views
        }
        drawn = [entry for shape in image.shapes for entry in _entries(shape, image, views[0])]
        for number, entry in enumerate(drawn):
            entry["id"] = f"{image.name}-{number}"
        task: dict[str, Any] = {"data": links | {MOMENT: image.name}}
        if drawn:
            task["predictions" if image.predicted else "annotations"] = [{"result": drawn}]
        tasks.append(task)
    write_bytes(folder / "tasks.json", as_json(tasks), wait_for_disk=False)
    write_bytes(folder / "label_config.xml", _config(views, classes), wait_for_disk=False)
    return (
        "start Label Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and "
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT set to the folder that holds this one, set up a "
        "project by label_config.xml, add this folder as local storage, import tasks.json"
    )


def _config(views: Iterable[str], classes: Taxonomy) -> bytes:
    root = ElementTree.Element("View")
    first, *others = views
    for view in (first, *others):
        ElementTree.SubElement(root, "Image", {"name": view, "value": f"${view}", "zoom": "true"})
    for kind, name in (("BrushLabels", "mask"), ("PolygonLabels", "outline")):
        control = ElementTree.SubElement(root, kind, {"name": name, "toName": first})
        for label, colour in label_colours(classes).items():
            ElementTree.SubElement(control, "Label", {"value": label, "background": as_hex(colour)})
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8"))


def _entries(shape: Shape, image: ExportedImage, view: str) -> Iterator[dict[str, Any]]:
    height, width = image.size
    common = {
        "to_name": view,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
    }
    for outline in shape.outlines:
        points = (100 * outline / (width, height)).tolist()
        value = {"points": points, "closed": True, "polygonlabels": [shape.label]}
        yield common | {"from_name": "outline", "type": "polygonlabels", "value": value}
    if shape.mask is not None:
        rows, columns = shape.mask.shape
        whole = np.zeros((height, width), bool)
        whole[shape.top : shape.top + rows, shape.left : shape.left + columns] = shape.mask
        brush = {"format": "rle", "rle": brush_of(whole), "brushlabels": [shape.label]}
        yield common | {"from_name": "mask", "type": "brushlabels", "value": brush}


def read(source: Path, codes: ClassCodes | None) -> Labels:
    """Opens the JSON export of a project."""
    path = one_file(source, ".json", "JSON export of Label Studio")
    value = parse_json(path, LABEL_BYTES)
    if not isinstance(value, list) or any(
        not isinstance(task, dict) or "data" not in task for task in value
    ):
        raise ValueError(
            f"{path.name} holds no tasks of Label Studio: export the project as JSON (neither "
            "JSON-MIN nor CSV)"
        )
    tasks = [value_as(Task, task, f"{path.name}, task {n}") for n, task in enumerate(value, 1)]
    return LabelStudio(path.name, tasks)


class LabelStudio:
    """The tasks of a project. Of several annotations of a task the newest counts."""

    def __init__(self, name: str, tasks: list[Task]) -> None:
        self._name, self._tasks, self._left_out = name, tasks, Counter()

    def classes(self) -> ClassNames:
        """As `Labels` says: in the order in which they come, since an export lists none."""
        return ClassNames(names_of(self.images()))

    def images(self) -> Iterator[AnnotatedImage]:
        """As `Labels` says; tasks that nobody has done are left out."""
        self._left_out.counts.clear()
        for number, task in enumerate(self._tasks, start=1):
            done = [each for each in task.annotations if not each.was_cancelled]
            if len(done) > 1:
                self._left_out.add("older annotation of a task")
            if not done:
                self._left_out.add("task without an annotation")
                continue
            newest = max(done, key=lambda each: each.updated_at)
            where = f"{self._name}, task {number}"
            if image := self._image(task, newest, where):
                yield image

    def left_out(self) -> Mapping[str, int]:
        """As `Labels` says."""
        return self._left_out.counts

    def _image(self, task: Task, annotation: Annotation, where: str) -> AnnotatedImage | None:
        drawn = [
            value_as(Result, each, where) for each in annotation.result if each.get("value") or {}
        ]
        name, uploaded = _names_of(task, where)
        if not any(each.value.labels for each in drawn):
            return AnnotatedImage(name, 0, 0, (), uploaded)  # nothing but a result has a size
        sized = [each for each in drawn if each.original_width]
        if not sized:
            self._left_out.add("task without the size of its image")
            return None
        width, height = sized[0].original_width, sized[0].original_height
        check_size(where, width, height)
        shapes = [self._shape(each, (width, height), where) for each in drawn]
        return AnnotatedImage(name, width, height, tuple(filter(None, shapes)), uploaded)

    def _shape(self, each: Result, size: tuple[int, int], where: str) -> Shape | None:
        value, (width, height) = each.value, size
        if each.image_rotation % 360:
            raise ValueError(f"{where}: the image is turned: turn it back, then label it")
        labels = value.labels
        if len(labels) != 1:
            self._left_out.add(f"{each.type} without one class")
            return None
        share = np.array((width, height)) / 100
        try:
            if each.type == "brushlabels" and value.rle is not None:
                return Shape(labels[0], mask=mask_of_brush(value.rle, height, width))
            if each.type == "polygonlabels" and value.points is not None:
                outline = outline_of(value.points, where) * share
                return Shape(labels[0], (outline_of(outline.tolist(), where),))
        except ValueError as error:
            raise ValueError(f"{where}, {each.type} of {labels[0]!r}: {error}") from None
        x, y = (share * (value.x, value.y)).tolist()
        if each.type == "ellipselabels":
            radii = (share * (value.radiusX, value.radiusY)).tolist()
            return Shape(labels[0], (ellipse(x, y, (radii[0], radii[1]), value.rotation),))
        if each.type == "rectanglelabels":
            right, bottom = (share * (value.x + value.width, value.y + value.height)).tolist()
            around = rectangle(x, y, right, bottom, value.rotation, CORNER)
            return Shape(labels[0], (around,), is_box=True)
        self._left_out.add(each.type)
        return None


def _names_of(task: Task, where: str) -> tuple[str, str | None]:
    """
    The pair that we noted; else the file name that the task's first link ends with.

    The second is that name without what the tool puts before it; a date looks the same.
    """
    if isinstance(noted := task.data.get(MOMENT), str):
        return noted, None
    links = [link for link in task.data.values() if isinstance(link, str) and "." in link]
    if not links:
        raise ValueError(f"{where}: its data names no file")
    parts = urlsplit(links[0])
    path = parse_qs(parts.query).get("d", [unquote(parts.path)])[0]
    name = path.rpartition("/")[2]
    return name, UPLOADED.sub("", name) if UPLOADED.match(name) else None
