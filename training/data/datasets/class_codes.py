"""What the pixels of label files mean: ids or colours, by a benchmark or by a `dataset.toml`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmif.classes import IGNORE, RGB, Taxonomy
from segmif.files import read_frame
from segmif.imaging.codecs import VisibleFrame, decode_visible_frame, read_labels
from segmif.imaging.headers import ImageError
from segmif.parsing import parse_toml

from .published import FIGURES

Code = int | RGB  # of a class in a label file: a grey level (or palette index), or a colour

UNKNOWN = 254  # within this file, a code that means nothing; no benchmark has so many classes


@dataclass(frozen=True)
class ClassCodes:
    """Which class each code of a label file stands for."""

    taxonomy: Taxonomy
    codes: Mapping[Code, int]  # to class ids, or to IGNORE
    figures: frozenset[RGB] = frozenset()  # colours of pictures of labels, which are no codes
    by_palette: bool = False  # what an indexed PNG holds are the colours of its palette, not ids
    assumed: bool = False  # nothing beside the labels says that these are their classes

    def decode(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], dict[Code, int]]:
        """
        Class ids (H, W) of label pixels (H, W) or RGB (H, W, 3).

        Codes outside the map become IGNORE; how many pixels each of them has comes second.
        """
        grey = pixels.ndim == 2
        packed = pixels if grey else _pack(pixels)
        labels = (self._by_grey if grey else self._by_colour)[packed]
        strange = labels == UNKNOWN
        if not strange.any():
            return labels, {}
        labels[strange] = IGNORE
        found, counts = np.unique(packed[strange], return_counts=True)
        codes = found.tolist() if grey else [_unpack(code) for code in found.tolist()]
        return labels, dict(zip(codes, counts.tolist(), strict=True))

    def are_figures(self, unknown: Mapping[Code, int]) -> bool:
        """Whether most of these pixels, by code, have colours that only pictures of labels have."""
        painted = sum(count for code, count in unknown.items() if code in self.figures)
        return 2 * painted > sum(unknown.values())

    @cached_property
    def _by_grey(self) -> NDArray[np.uint8]:
        table = np.full(256, UNKNOWN, np.uint8)
        for code, id_ in self.codes.items():
            if isinstance(code, int):
                table[code] = id_
        return table

    @cached_property
    def _by_colour(self) -> NDArray[np.uint8]:
        """16 MiB, but one look-up a pixel; ids saved as three equal channels are ids."""
        table = np.full(1 << 24, UNKNOWN, np.uint8)
        greys: dict[RGB, int] = {(c, c, c): id_ for c, id_ in self.codes.items() if type(c) is int}
        colours = {code: id_ for code, id_ in self.codes.items() if isinstance(code, tuple)}
        for colour, id_ in (greys | colours).items():  # a colour of the palette is no id
            table[_pack(np.asarray(colour))] = id_
        return table


def by_taxonomy(taxonomy: Taxonomy, *, assumed: bool = False) -> ClassCodes:
    """Labels hold the ids of a benchmark, or the colours of its palette; 255 is IGNORE."""
    codes: dict[Code, int] = {IGNORE: IGNORE}
    for id_, colour in enumerate(taxonomy.palette):
        codes |= {id_: id_, colour: id_}
    figures = FIGURES.get(taxonomy.name, frozenset())
    return ClassCodes(taxonomy, codes, figures, assumed=assumed)


def read_class_map(path: Path) -> ClassCodes | None:
    """
    The classes that a `dataset.toml` names, the position in `classes` being the id:

        name = "yard"
        ignore = [7, [255, 255, 255]]  # what counts nowhere; 255 is so anyway
        [[classes]]
        name = "person"
        colour = [220, 20, 60]         # to show it in
        codes = [24, 25]               # ids or colours in the label files [position and colour]

    None if it has only `files` and `frames` (see `own_files`). Raises ValueError for an
    unknown key, two classes of one name, and a code that is none or stands for two classes.
    """
    settings = parse_toml(path)
    try:
        _refuse_unknown(settings, ("name", "ignore", "classes", "files", "frames"))
        if settings.keys() & {"files", "frames"} and "classes" not in settings:
            return None
        classes: list[dict[str, Any]] = settings["classes"]
        taxonomy = Taxonomy(
            str(settings["name"]),
            tuple(str(item["name"]) for item in classes),
            tuple(_colour(item["colour"]) for item in classes),
        )
        if len(set(taxonomy.names)) < len(taxonomy.names):
            raise ValueError(f"two classes have one name: {', '.join(sorted(taxonomy.names))}")
        return ClassCodes(taxonomy, _codes(classes, settings.get("ignore", [])))
    except KeyError as error:
        raise ValueError(f"{path}: the key {error} is missing") from None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error


def read_codes(path: Path) -> NDArray[np.uint8]:
    """
    The pixels of a label file as they are: (H, W) ids, or (H, W, 3) RGB; ImageError names the file.
    """
    try:
        return read_labels(path)
    except ImageError as error:
        if error.kind != "channels":
            raise
        frame = _colours(path)
        if frame is None or frame.grey or frame.depth != 8:
            advice = "save it as PNG of 8 bit, a class id or a colour a pixel"
            raise ImageError(error.kind, f"{error}; {advice}") from None
        return frame.pixels


def _colours(path: Path) -> VisibleFrame | None:
    try:
        return decode_visible_frame(read_frame(path))
    except ImageError:
        return None


def _codes(classes: list[dict[str, Any]], ignored: list[Any]) -> dict[Code, int]:
    meant = [(code, IGNORE) for code in map(_code, ignored)]
    for id_, item in enumerate(classes):
        _refuse_unknown(item, ("name", "colour", "codes"))
        codes = map(_code, item.get("codes", [id_, item["colour"]]))
        meant += [(code, id_) for code in codes]
    ids: dict[Code, int] = {}
    for code, id_ in meant:
        if code in ids:
            raise ValueError(f"the code {code} stands for two classes; give it to one")
        ids[code] = id_
    ids.setdefault(IGNORE, IGNORE)
    return ids


def _code(value: Any) -> Code:
    if isinstance(value, list):
        return _colour(value)
    if type(value) is not int or not 0 <= value <= 255:
        raise ValueError(f"the code {value!r} is neither an id 0..255 nor a colour [r, g, b]")
    return value


def _colour(value: Any) -> RGB:
    if isinstance(value, list) and len(value) == 3 and all(v in range(256) for v in value):
        return (value[0], value[1], value[2])
    raise ValueError(f"{value!r} is no colour; expected [r, g, b], each 0..255")


def _refuse_unknown(settings: Mapping[str, Any], known: Iterable[str]) -> None:
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ValueError(f"unknown key {', '.join(unknown)}; there are {', '.join(known)}")


def _pack(rgb: NDArray[Any]) -> NDArray[np.uint32]:
    """Colours (..., 3) to one number each (...), 0xRRGGBB."""
    red, green, blue = (rgb[..., channel].astype(np.uint32) for channel in range(3))
    return np.asarray(red << 16 | green << 8 | blue, np.uint32)


def _unpack(code: int) -> RGB:
    return code >> 16, code >> 8 & 255, code & 255
