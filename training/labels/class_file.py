"""Classes for labels: stated, of the data, or as a tool lists them; written as `dataset.toml`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segmif.classes import BACKGROUNDS, RGB, Taxonomy
from segmif.files import read_text
from segmif.parsing import parse_toml

from ..data.datasets.class_codes import ClassCodes, by_taxonomy, read_class_map
from ..data.datasets.own import class_map_of
from .shapes import IGNORED, ClassNames

BACKGROUND = "background"


def stated_classes(text: str, name: str) -> ClassCodes:
    """The classes that `--classes` states: a `dataset.toml`, or names in order with commas."""
    path = Path(text)
    if path.suffix == ".toml":
        codes = read_class_map(path)
        if codes is None:
            raise ValueError(f"{path} names no [[classes]]")
        return codes
    names = [each.strip() for each in text.split(",")]
    if "" in names or len(set(names)) < len(names):
        raise ValueError(f"--classes {text!r}: a name is empty or stands twice")
    return by_taxonomy(with_colours(name, ClassNames(tuple(names))))


def with_colours(name: str, found: ClassNames) -> Taxonomy:
    """
    A taxonomy of these classes, the background first; it is added if nothing is called so.

    Classes without a colour, or with one that another has, get one of their own.
    """
    names = [each for each in dict.fromkeys(found.names) if each != IGNORED]
    if not any(each.lower() in BACKGROUNDS for each in names):
        names.insert(0, BACKGROUND)
    names.sort(key=lambda each: each.lower() not in BACKGROUNDS)
    taken: dict[RGB, str] = {}
    for each in names:
        colour = found.colours.get(each)
        if each.lower() in BACKGROUNDS:
            colour = (0, 0, 0)
        if colour is not None:
            taken.setdefault(colour, each)
    colours = {each: colour for colour, each in taken.items()}
    free = (colour for id_ in range(1, 256) if (colour := voc_colour(id_)) not in taken)
    return Taxonomy(name, tuple(names), tuple(colours.get(each) or next(free) for each in names))


def voc_colour(id_: int) -> RGB:
    """The colour of an id in PASCAL VOC's map: its bits, from the lowest, to the highest."""
    channels = [0, 0, 0]
    for place in range(8):
        for channel in range(3):
            channels[channel] |= (id_ >> (3 * place + channel) & 1) << (7 - place)
    return channels[0], channels[1], channels[2]


def class_file(taxonomy: Taxonomy, frames: Mapping[str, Any] | None = None) -> str:
    """The text of a `dataset.toml` with these classes and, if there is one, a table [frames]."""
    of_cameras = f"frames = {_toml(frames)}\n" if frames else ""
    return f"name = {_toml(taxonomy.name)}\n{of_cameras}\n{_classes(taxonomy)}"


def with_classes(path: Path, taxonomy: Taxonomy) -> str | None:
    """The text of a `dataset.toml` with classes added; None if it names classes already."""
    if not path.is_file():
        return class_file(taxonomy)
    settings = parse_toml(path)
    if "classes" in settings:
        return None
    name = "" if "name" in settings else f"name = {_toml(taxonomy.name)}\n"
    return f"{name}{read_text(path).rstrip()}\n\n{_classes(taxonomy)}"


def _classes(taxonomy: Taxonomy) -> str:
    pairs = zip(taxonomy.names, taxonomy.palette, strict=True)
    return "".join(
        f"[[classes]]\nname = {_toml(name)}\ncolour = {_toml(colour)}\n" for name, colour in pairs
    )


def _toml(value: Any) -> str:
    """A value as TOML; tables within one line."""
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_toml(key)} = {_toml(item)}' for key, item in value.items())} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    # its strings, numbers and booleans are those of JSON, but for one character
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def codes_of(root: Path) -> ClassCodes | None:
    """The classes that the `dataset.toml` of a folder of pairs names; None if it names none."""
    path = class_map_of(root)
    return read_class_map(path) if path else None


def frames_table(root: Path) -> Mapping[str, Any] | None:
    """What the `dataset.toml` of a folder of pairs states of the cameras; None if nothing."""
    path = class_map_of(root)
    return parse_toml(path).get("frames") if path else None
