"""
Classes as CVAT names them beside its masks (`labelmap.txt`), and the palettes of indexed PNGs.

A mask of CVAT or of PASCAL VOC is an indexed PNG: its ids count within that file alone, and what
they mean follows from the colours of its palette.
"""

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segmif.classes import IGNORE, RGB, Taxonomy
from segmif.files import read_frame, read_text

from .class_codes import ClassCodes, Code, read_codes

CLASS_MAP, LABEL_MAP = "dataset.toml", "labelmap.txt"
BACKGROUND = "background"
IGNORED = "ignore"  # the class name under which tools see what counts nowhere (id 255)
VOID: RGB = (224, 224, 192)  # VOC paints outlines so, which count nowhere
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def read_label_map(path: Path, name: str) -> ClassCodes:
    """
    The classes of a CVAT `labelmap.txt`: lines NAME:RED,GREEN,BLUE:PARTS:ACTIONS.

    The background comes first, as an id of 0 is not drawn; `ignore` is no class. Raises
    ValueError with the line that is none, and for a name or a colour that stands twice.
    """
    colours: dict[str, RGB] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.startswith("#") or not line.strip():
            continue
        label, _, rest = line.partition(":")
        parts = rest.partition(":")[0].split(",")
        if len(parts) != 3 or not all(part.strip().isdecimal() for part in parts):
            raise ValueError(
                f"{path}, line {number}: {line!r} is no NAME:RED,GREEN,BLUE:PARTS:ACTIONS"
            )
        red, green, blue = (int(part) for part in parts)
        for held, colour in colours.items():
            if held == label.strip() or colour == (red, green, blue):
                raise ValueError(
                    f"{path}, line {number}: {line!r} has the name or the colour of {held}: give "
                    "each class its own"
                )
        colours[label.strip()] = (red, green, blue)
    void = colours.pop(IGNORED, VOID)
    if not colours:
        raise ValueError(f"{path} names no class: export the masks with their label map")
    names = tuple(sorted(colours, key=lambda each: each.lower() != BACKGROUND))
    taxonomy = Taxonomy(name, names, tuple(colours[each] for each in names))
    codes: dict[Code, int] = {VOID: IGNORE, void: IGNORE}
    codes |= {colour: id_ for id_, colour in enumerate(taxonomy.palette)}
    return ClassCodes(taxonomy, codes, by_palette=True)


def read_label(class_codes: ClassCodes, path: Path) -> tuple[NDArray[np.uint8], dict[Code, int]]:
    """
    Class ids (H, W) of a label file, and the pixels of each code that means nothing.

    Raises ImageError with the path, or ValueError if its palette is that of other classes than
    those that were assumed.
    """
    pixels = read_codes(path)
    colours = palette(read_frame(path)) if pixels.ndim == 2 else None
    if colours is not None:
        if class_codes.by_palette:
            table = np.zeros((256, 3), np.uint8)
            table[: len(colours)] = colours
            pixels = table[pixels]
        elif why := foreign_colours(pixels, colours, class_codes):
            raise ValueError(
                f"{path}: {why}: these ids are of other classes; name them in {CLASS_MAP}, or put "
                f"the {LABEL_MAP} that CVAT exports beside the folder of masks"
            )
    return class_codes.decode(pixels)


def palette(data: bytes) -> NDArray[np.uint8] | None:
    """The colours (N, 3) RGB of an indexed PNG; None for anything else."""
    if not data.startswith(PNG_MAGIC) or data[25:26] != b"\x03":
        return None
    at = len(PNG_MAGIC)
    while at + 8 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        if kind == b"PLTE":
            colours = np.frombuffer(data[at + 8 : at + 8 + size], np.uint8)
            return colours[: len(colours) // 3 * 3].reshape(-1, 3)
        at += size + 12
    return None


def foreign_colours(
    ids: NDArray[np.uint8], colours: NDArray[np.uint8], class_codes: ClassCodes
) -> str | None:
    """
    What a palette says against the ids (H, W) around it; None if it says nothing.

    An id in the colour of another class is never right; if the classes were only assumed, nor is
    one in a colour of none. A palette of greys names no class: many tools write one around ids.
    """
    taxonomy = class_codes.taxonomy
    for code in np.flatnonzero(np.bincount(ids.ravel(), minlength=256)).tolist():
        id_ = class_codes.codes.get(code, IGNORE)
        if id_ == IGNORE or code >= len(colours):
            continue
        shown = tuple(colours[code].tolist())
        if len(set(shown)) == 1 or shown == taxonomy.palette[id_]:
            continue
        if class_codes.assumed or shown in taxonomy.palette:
            return (
                f"its palette shows the id {code} as {shown}, which is not the colour of "
                f"{taxonomy.name}'s {taxonomy.names[id_]}, {taxonomy.palette[id_]}"
            )
    return None
