"""
CVAT: "CVAT for images 1.1" out and back, and its "Segmentation mask 1.1" back.

Format: CVAT's documentation, "XML annotation format". A mask is runs by rows, off first, within
left, top, width and height. Images of one archive may have others beside them as context, in
`related_images/NAME_SUFFIX/`.
"""

import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from segmif.classes import Taxonomy
from segmif.files import write_bytes
from segmif.imaging.codecs import encode_png
from segmif.parsing import xml_root

from ...data.datasets.class_codes import ClassCodes
from ..package import as_json, files_of, label_text
from ..run_lengths import runs_of, values_of
from ..shapes import (
    AnnotatedImage,
    ClassNames,
    Outline,
    Shape,
    ellipse,
    outline_of,
    rectangle,
)
from . import masks
from .base import (
    Counter,
    ExportedImage,
    Labels,
    as_hex,
    check_size,
    colour_of_hex,
    label_colours,
)


def write(folder: Path, name: str, images: Iterable[ExportedImage], classes: Taxonomy) -> str:
    """`images.zip` to create a task of, `labels.json` for its labels, `annotations.xml`."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    labels = ElementTree.SubElement(_child(root, "meta", "task"), "labels")
    for name, colour in label_colours(classes).items():
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        ElementTree.SubElement(label, "color").text = as_hex(colour)
        ElementTree.SubElement(label, "type").text = "any"
        ElementTree.SubElement(label, "attributes")
    with zipfile.ZipFile(folder / "images.zip", "x", zipfile.ZIP_STORED) as archive:
        for number, image in enumerate(images):
            _add_images(archive, image)
            _add_shapes(root, number, image)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    write_bytes(folder / "annotations.xml", text, wait_for_disk=False)
    constructor = [
        {"name": name, "color": as_hex(colour), "type": "any", "attributes": []}
        for name, colour in label_colours(classes).items()
    ]
    write_bytes(folder / "labels.json", as_json(constructor), wait_for_disk=False)
    return (
        "create a task of images.zip with the labels of labels.json (tab Raw), then upload "
        "annotations.xml as CVAT 1.1"
    )


def _child(parent: ElementTree.Element, *names: str) -> ElementTree.Element:
    for name in names:
        parent = ElementTree.SubElement(parent, name)
    return parent


def _add_images(archive: zipfile.ZipFile, image: ExportedImage) -> None:
    (_, annotated), *others = image.views.items()
    archive.writestr(f"{image.name}.png", encode_png(annotated, 6))
    for view, pixels in others:
        archive.writestr(f"related_images/{image.name}_png/{view}.png", encode_png(pixels, 6))


def _add_shapes(root: ElementTree.Element, number: int, image: ExportedImage) -> None:
    height, width = image.size
    facts = {"id": number, "name": f"{image.name}.png", "width": width, "height": height}
    element = ElementTree.SubElement(root, "image", {k: str(v) for k, v in facts.items()})
    for shape in image.shapes:
        source = "auto" if image.predicted else "manual"
        common = {"label": shape.label, "source": source, "occluded": "0", "z_order": "0"}
        for outline in shape.outlines:
            points = ";".join(f"{x:.2f},{y:.2f}" for x, y in outline)
            ElementTree.SubElement(element, "polygon", common | {"points": points})
        if shape.mask is not None:
            rows, columns = shape.mask.shape
            place = {"left": shape.left, "top": shape.top, "width": columns, "height": rows}
            runs = ", ".join(map(str, runs_of(shape.mask.ravel())))
            of_mask = {"rle": runs} | {name: str(value) for name, value in place.items()}
            ElementTree.SubElement(element, "mask", common | of_mask)


def read(source: Path, codes: ClassCodes | None) -> Labels:
    """Opens an XML file, or masks with their labelmap.txt, whichever there is."""
    outlines = files_of(source, ".xml")
    if len(outlines) == 1:
        return CvatXml(outlines[0])
    if outlines:
        raise ValueError(f"{source} holds {len(outlines)} XML files: name the one that counts")
    return masks.read_voc(source, codes)


class CvatXml:
    """`annotations.xml` of "CVAT for images 1.1"."""

    def __init__(self, path: Path) -> None:
        """Raises ValueError for what is no XML, or of another kind."""
        self._path, self._left_out = path, Counter()
        try:
            self._root = xml_root(label_text(path))
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from None
        if self._root.tag != "annotations" or self._root.find("track") is not None:
            raise ValueError(
                f"{path.name} is no 'CVAT for images 1.1' (its root is {self._root.tag}): export "
                "the task in this format"
            )

    def classes(self) -> ClassNames:
        """As `Labels` says: in the order of the task's or project's labels."""
        names: dict[str, None] = {}
        colours = {}
        for label in self._root.iterfind("meta//labels/label"):
            name = label.findtext("name", "")
            names[name] = None
            if colour := colour_of_hex(label.findtext("color")):
                colours[name] = colour
        drawn = (
            shape.get("label", "") for image in self._root.iterfind("image") for shape in image
        )
        return ClassNames(tuple(dict.fromkeys((*names, *drawn))), colours)

    def images(self) -> Iterator[AnnotatedImage]:
        """As `Labels` says; shapes by their z order, then as they come."""
        for element in self._root.iterfind("image"):
            where = f"{self._path.name}, image {element.get('name')!r}"
            width, height = (_number(element, side, where) for side in ("width", "height"))
            check_size(where, width, height)
            drawn = sorted(element, key=lambda each: _number(each, "z_order", where, 0))
            shapes = (self._shape(each, where) for each in drawn)
            yield AnnotatedImage(
                element.get("name", ""), int(width), int(height), tuple(filter(None, shapes))
            )

    def left_out(self) -> Mapping[str, int]:
        """As `Labels` says."""
        return self._left_out.counts

    def _shape(self, element: ElementTree.Element, image: str) -> Shape | None:
        label, kind = element.get("label", ""), element.tag
        where = f"{image}, {kind} of {label!r}"
        try:
            if kind == "mask":
                return _mask(element, label, where)
            if kind == "polygon":
                return Shape(label, (_points(element, where),))
            if kind == "ellipse":
                x, y, *radii = (_number(element, name, where) for name in ("cx", "cy", "rx", "ry"))
                turn = _number(element, "rotation", where, 0)
                return Shape(label, (ellipse(x, y, (radii[0], radii[1]), turn),))
            if kind == "box":
                ends = [_number(element, name, where) for name in ("xtl", "ytl", "xbr", "ybr")]
                turn = _number(element, "rotation", where, 0)
                around = rectangle(ends[0], ends[1], ends[2], ends[3], turn)
                return Shape(label, (around,), is_box=True)
        except ValueError as error:
            text = str(error)
            raise ValueError(text if text.startswith(where) else f"{where}: {text}") from None
        self._left_out.add(kind)  # points, polylines, skeletons, tags: they cover no pixels
        return None


def _points(element: ElementTree.Element, where: str) -> Outline:
    pairs = [pair.split(",") for pair in element.get("points", "").split(";")]
    return outline_of([[float(value) for value in pair] for pair in pairs], where)


def _mask(element: ElementTree.Element, label: str, where: str) -> Shape:
    sides = ("left", "top", "width", "height")
    left, top, width, height = (int(_number(element, name, where)) for name in sides)
    check_size(where, width, height)
    runs = [int(run) for run in element.get("rle", "").split(",")]
    mask = values_of(runs, width * height).reshape(height, width)
    return Shape(label, mask=mask, left=left, top=top)


def _number(
    element: ElementTree.Element, name: str, where: str, default: float | None = None
) -> float:
    text = element.get(name)
    if text is None and default is not None:
        return default
    try:
        value = float(text or "")
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise ValueError(f"{where}: {name} is {text!r}, expected a number")
    return value
