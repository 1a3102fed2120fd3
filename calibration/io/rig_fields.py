"""Shared by the readers of foreign rig files: YAML fields, and options of the command line."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from segmif.files import read_text, shown, write_text
from segmif.parsing import MAX_YAML_BYTES, brief, yaml_value

SIDES = ("width", "height")
HEADER = re.compile(r"\A\s*%YAML[: ][^\n]*\n")  # OpenCV's first line, which no YAML parser takes

Document = dict[str, Any]


@dataclass(frozen=True)
class ReadOptions:
    """What a foreign file leaves open: which cameras, and their frame sizes."""

    visible: str | None = None  # camera of a Kalibr chain
    infrared: str | None = None
    visible_size: tuple[int, int] | None = None  # width, height [px], if the file has none
    infrared_size: tuple[int, int] | None = None


def load(path: Path) -> Document:
    """The fields of a YAML file; raises ValueError with the path."""
    text = read_text(path, MAX_YAML_BYTES)
    try:
        # Some camera_info files begin with OpenCV's own line.
        return fields(yaml_value(without_header(text)), "the file")
    except ValueError as error:
        raise ValueError(f"{shown(path)}: {error}") from None


def fields(value: object, name: str) -> Document:
    if not isinstance(value, dict):
        raise ValueError(f"{name} must have fields, got {brief(value)}")
    return value


def save(path: Path, comment: str, document: Document) -> None:
    text = yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=10**6)
    write_text(path, comment + text)


def error_text(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def without_header(text: str) -> str:
    """YAML without OpenCV's first line."""
    return HEADER.sub("", text, count=1)


def whole_number(value: object, name: str) -> int:
    """An integer from a file, as text in XML; raises ValueError that calls it `name`."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not re.fullmatch(r"-?\d{1,9}", text):
        raise ValueError(f"{name} must be a whole number, got {brief(value)}")
    return int(text)
