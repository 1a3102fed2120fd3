"""
Files of OpenCV's FileStorage (YAML, XML, JSON), read by Python's own parsers.

OpenCV's reader is unsafe: a type of 300 characters, a byte-order mark or deep nesting end the
process. A rig needs only numbers, words and small matrices of such a file.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast
from xml.etree.ElementTree import Element

import cv2
import numpy as np

from segmif.files import read_text, shown, write_text
from segmif.geometry.rig import Camera, Floats, Model, Rig, numbers, trim_coefficients
from segmif.parsing import MAX_YAML_BYTES, brief, json_value, xml_root, yaml_value

from .rig_fields import SIDES, Document, ReadOptions, whole_number, without_header

ELEMENTS = re.compile(r"(\d{0,2})[ucwsifdh]")  # channels and type of a matrix's elements
# OpenCV writes comments into JSON, which knows none.
STRING_OR_COMMENT = re.compile(r'(?P<string>"(?:[^"\\\n]|\\.)*"?)|//[^\n]*')
MAX_VALUES = 4096  # of a matrix


def read_opencv(paths: Sequence[Path], choice: ReadOptions) -> Rig:
    """
    Read M1 D1 M2 D2 R T, as OpenCV's stereo calibration sample names them, of one or two files.

    The sample writes no frame sizes: they come from `choice`.
    """
    document: Document = {}
    for path in paths:
        for name, value in read_storage(path).items():
            if document.setdefault(name, value) != value:
                raise ValueError(f"{name} stands in both files with other values")
    cameras = [
        _from_opencv(document, index, size)
        for index, size in ((1, choice.visible_size), (2, choice.infrared_size))
    ]
    R, place = matrix(document, "R"), matrix(document, "T")
    if R.shape != (3, 3) or place.size != 3:
        raise ValueError(f"R is {R.shape} and T {place.shape}, expected (3, 3) and (3, 1)")
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R, place.ravel()
    return Rig(cameras[0], cameras[1], T)


def write_opencv(paths: Sequence[Path], rig: Rig) -> None:
    """Write YAML, XML or JSON by the file's name, for cv2.FileStorage."""
    flags = cv2.FILE_STORAGE_WRITE | cv2.FILE_STORAGE_MEMORY
    storage = cv2.FileStorage(paths[0].name, flags)
    storage.writeComment("1 visible, 2 infrared; x2 = R x1 + T, metres")
    for index, camera in enumerate((rig.visible, rig.infrared), 1):
        storage.write(f"image_width{index}", camera.width)
        storage.write(f"image_height{index}", camera.height)
        storage.write(f"model{index}", camera.model)
        storage.write(f"M{index}", camera.K)
        storage.write(f"D{index}", camera.distortion.reshape(1, -1))
    storage.write("R", rig.R)
    storage.write("T", rig.t.reshape(3, 1))
    write_text(paths[0], storage.releaseAndGetString())


def _from_opencv(document: Document, index: int, size: tuple[int, int] | None) -> Camera:
    sides = [f"image_{side}{index}" for side in SIDES]
    if sides[0] in document or size is None:
        stated = (
            whole_number(document[sides[0]], sides[0]),
            whole_number(document[sides[1]], sides[1]),
        )
        if size not in (None, stated):
            raise ValueError(f"the file states {stated} for camera {index}, {size} was given")
        size = stated
    model = cast(Model, document.get(f"model{index}") or "radtan")
    distortion = matrix(document, f"D{index}").ravel()
    return Camera(*size, matrix(document, f"M{index}"), trim_coefficients(distortion, model), model)


def read_storage(path: Path) -> Document:
    """The values of a file by name; raises ValueError with the path and the fault."""
    text = read_text(path, MAX_YAML_BYTES)
    try:
        document = _parsed(text)
        if not isinstance(document, dict):
            raise ValueError(f"expected named values, got {brief(document)}")
    except ValueError as error:
        raise ValueError(f"{shown(path)}: {error}") from None
    return document


def matrix(document: Document, name: str) -> Floats:
    """A matrix (rows, columns) by its name; raises KeyError, or ValueError if it is no matrix."""
    entry = document[name]
    if not isinstance(entry, dict):
        raise ValueError(f"{name} must be a matrix, got {brief(entry)}")
    rows, columns = _sides(entry, name)
    elements = ELEMENTS.fullmatch(str(entry.get("dt")))
    if not elements:
        raise ValueError(f"{name} has elements of type {brief(entry.get('dt'))!r}, expected d or f")
    data = entry.get("data")
    if isinstance(data, str) and "base64" in data[:12]:
        raise ValueError(f"{name} is written in base64: write the file without it")
    values = numbers(data.split() if isinstance(data, str) else data, name).ravel()
    channels = int(elements[1] or 1)
    if values.size != rows * columns * channels or not np.isfinite(values).all():
        raise ValueError(
            f"{name} must hold {rows}x{columns}x{channels} finite numbers, got {values.size}: "
            f"{brief(values.tolist())}"
        )
    return values.reshape(rows, columns * channels)


def _parsed(text: str) -> Any:
    if text.lstrip()[:1] == "<":
        return _named(xml_root(text))
    if text.lstrip()[:1] != "{":
        return yaml_value(without_header(text))
    return json_value(STRING_OR_COMMENT.sub(lambda found: found["string"] or "", text))


def _named(root: Element) -> Document:
    if root.tag != "opencv_storage":
        raise ValueError(f"the root is <{brief(root.tag)}>, expected <opencv_storage>")
    return _children(root)


def _children(element: Element) -> Document:
    made: Document = {}
    for child in element:
        if child.tag in made:
            raise ValueError(f"<{brief(child.tag)}> stands twice")
        made[child.tag] = _children(child) if len(child) else (child.text or "").strip().strip('"')
    return made


def _sides(entry: Document, name: str) -> tuple[int, int]:
    sides = entry.get("sizes") or [entry.get("rows"), entry.get("cols")]
    found = [whole_number(side, f"a side of {name}") for side in sides] if len(sides) == 2 else []
    if not found or not all(0 < side <= MAX_VALUES for side in (*found, found[0] * found[1])):
        raise ValueError(f"{name} has the sides {brief(sides)}, expected rows and columns")
    return found[0], found[1]
