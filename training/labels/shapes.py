"""What an annotation tool draws on an image: masks, outlines and boxes, each with a class name."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from segmif.classes import IGNORE, RGB

from ..data.datasets.label_maps import IGNORED as IGNORED

Mask = NDArray[np.bool_]
Labels = NDArray[np.uint8]  # (H, W) class ids
Outline = NDArray[np.float64]  # (N, 2) x, y in pixels; (0, 0) is the corner of the first pixel

FARTHEST = 1e6  # [px] of a point of an outline


@dataclass(frozen=True)
class Shape:
    """One annotation: the union of its outlines, or a mask at a place of the image."""

    label: str
    outlines: tuple[Outline, ...] = ()
    mask: Mask | None = None  # (h, w)
    left: int = 0  # of the mask's first pixel
    top: int = 0
    is_box: bool = False  # states where an object is, not which pixels it has


@dataclass(frozen=True)
class AnnotatedImage:
    """The shapes of one image, in the order in which they are drawn."""

    name: str  # as the tool has it: perhaps with folders and a suffix
    width: int  # [px]; 0 if the tool does not say it of an image without shapes
    height: int  # [px]
    shapes: tuple[Shape, ...]
    uploaded: str | None = None  # the name before the tool changed it, if it did


@dataclass(frozen=True)
class ClassNames:
    """The classes that a tool knows, in its order, and the colours of those that have one."""

    names: tuple[str, ...] = ()
    colours: Mapping[str, RGB] = field(default_factory=dict)


@dataclass
class Painted:
    """Labels made from shapes, and what had to be decided on the way."""

    labels: Labels
    overlapping: int = 0  # pixels that shapes of two classes claim; the later shape has them
    boxed: int = 0  # boxes; what no other shape covers in them counts nowhere
    empty: int = 0  # shapes without a pixel of the image


def paint(image: AnnotatedImage, ids: Mapping[str, int], background: int) -> Painted:
    """
    The class ids of an image: of each pixel that of the last shape over it, else `background`.

    `ids` has every class name of the shapes. Raises ValueError for a mask that leaves the image,
    and for an outline that lies nowhere.
    """
    labels = np.full((image.height, image.width), background, np.uint8)
    painted = Painted(labels)
    covered = np.zeros(labels.shape, bool)
    for shape in image.shapes:
        covers = False
        for inside, rows, columns in _areas(shape, image):
            covers |= bool(inside.any())
            id_ = ids[shape.label]
            there, held = labels[rows, columns], covered[rows, columns]
            if shape.is_box:
                there[inside & ~held] = IGNORE
                continue
            painted.overlapping += int((inside & held & (there != id_)).sum())
            there[inside] = id_
            held |= inside
        painted.boxed += shape.is_box
        painted.empty += not covers
    return painted


def _areas(shape: Shape, image: AnnotatedImage) -> Iterable[tuple[Mask, slice, slice]]:
    """The pixels of a shape: a mask and the rows and columns that it lies in."""
    if shape.mask is not None:
        height, width = shape.mask.shape
        bottom, right = shape.top + height, shape.left + width
        if shape.left < 0 or shape.top < 0 or right > image.width or bottom > image.height:
            raise ValueError(
                f"{image.name}: a mask of {shape.label} covers x {shape.left} to {right} and y "
                f"{shape.top} to {bottom}, the image is {image.width}x{image.height}"
            )
        yield shape.mask, slice(shape.top, bottom), slice(shape.left, right)
    for outline in shape.outlines:
        if not (np.abs(outline) <= FARTHEST).all():  # a circle may have an infinite radius
            raise ValueError(f"{image.name}: a shape of {shape.label} lies nowhere in an image")
        low = np.clip(np.floor(outline.min(0)), 0, (image.width, image.height)).astype(int)
        high = np.clip(np.ceil(outline.max(0)), 0, (image.width, image.height)).astype(int)
        width, height = (high - low).tolist()
        if width and height:
            inside = filled(outline - low, height, width)
            yield inside, slice(low[1], high[1]), slice(low[0], high[0])


def filled(outline: Outline, height: int, width: int) -> Mask:
    """
    The pixels (height, width) whose centre lies within an outline, by the even-odd rule.

    An outline along the edges of pixels gives exactly these pixels.
    """
    toggles = np.zeros((height, width + 1), np.int32)
    for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if y1 < y0:
            x0, y0, x1, y1 = x1, y1, x0, y0
        # the rows whose centre, row + 0.5, lies in y0 .. y1
        first, last = (int(np.clip(np.ceil(y - 0.5), 0, height)) for y in (y0, y1))
        if first == last:
            continue
        rows = np.arange(first, last)
        crossings = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
        columns = np.clip(np.ceil(crossings - 0.5), 0, width).astype(np.int64)
        toggles[rows, columns] += 1
    return (np.cumsum(toggles[:, :width], axis=1) & 1).astype(bool)


def ellipse(x: float, y: float, radii: tuple[float, float], degrees: float = 0.0) -> Outline:
    """The outline of an ellipse around (x, y), turned clockwise as tools show it."""
    angles = np.linspace(0, 2 * np.pi, 128, endpoint=False)
    with np.errstate(all="ignore"):  # `paint` refuses what is not finite
        around = np.stack((radii[0] * np.cos(angles), radii[1] * np.sin(angles)), axis=1)
        return np.add(turned(around, degrees), (x, y))


def rectangle(
    left: float,
    top: float,
    right: float,
    bottom: float,
    degrees: float = 0,
    around: tuple[float, float] = (0.5, 0.5),
) -> Outline:
    """The outline of a rectangle, turned clockwise `around` a point, in shares of its sides."""
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)
    with np.errstate(all="ignore"):  # likewise
        pivot = corners[0] + (corners[2] - corners[0]) * around
        return np.asarray(turned(corners - pivot, degrees) + pivot, np.float64)


def turned(points: Outline, degrees: float) -> Outline:
    """Points turned around the origin, clockwise in an image whose y points down."""
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    return np.asarray(points @ np.array([[cosine, sine], [-sine, cosine]]), np.float64)


def outline_of(points: Sequence[Sequence[float]], where: str) -> Outline:
    """Points as an outline; ValueError for fewer than three and for what is no number."""
    outline = np.asarray(points, np.float64)
    if outline.ndim != 2 or outline.shape[1] != 2 or len(outline) < 3:
        raise ValueError(f"{where}: an outline needs three points x, y or more")
    if not (np.abs(outline) <= FARTHEST).all():
        raise ValueError(f"{where}: an outline has a point that lies nowhere in an image")
    return outline
