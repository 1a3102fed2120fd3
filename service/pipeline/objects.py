"""Objects of a mask: the connected regions of each class that has things, not areas."""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.classes import Taxonomy
from segmif.frames import Prediction

from ..schemas.scene_objects import SceneObject, SceneObjects

MOST_OBJECTS = 64  # of a pair; the largest
UNKNOWN = False  # whether unknown objects are looked for unless somebody states it


@dataclass(frozen=True)
class UnknownRules:
    """What counts as an unknown object."""

    contrast: float = 12  # mean levels of 255 above its surroundings: four times usual noise
    min_area: int = 128  # pixels of the visible frame
    speed: float = 0.015  # widths of the view a second, beyond the camera's motion

    @classmethod
    def loosest(cls, rules: Sequence["UnknownRules"]) -> "UnknownRules":
        """The rules by which everything is found that one of `rules` finds."""
        contrasts, areas, speeds = zip(*(astuple(each) for each in rules), strict=True)
        return cls(min(contrasts), min(areas), min(speeds))


@dataclass(frozen=True)
class ObjectRules:
    """What counts as an object."""

    classes: tuple[str, ...] = ()  # none: all whose regions are things
    min_area: int = 64  # pixels of the visible frame
    unknown: UnknownRules | None = None  # None: nobody looks for what has no class

    def ids(self, taxonomy: Taxonomy) -> tuple[int, ...]:
        """The class ids that they mean; raises ValueError for a class that there is not."""
        if not self.classes:
            return taxonomy.things
        return tuple(taxonomy.id_of(name) for name in self.classes)


def find_objects(
    prediction: Prediction, taxonomy: Taxonomy, rules: ObjectRules, size: tuple[int, int]
) -> SceneObjects:
    """
    The connected regions (8 neighbours) of each class, without tracks.

    `size` is that (H, W) of the visible frame: a mask of half the size gives boxes of the whole.
    Raises ValueError for rules with a class that the taxonomy lacks.
    """
    labels = prediction.labels
    scale = size[1] / labels.shape[1], size[0] / labels.shape[0]
    regions = [
        region
        for id in _present(labels, rules.ids(taxonomy))
        for region in _regions(labels, id, rules.min_area / (scale[0] * scale[1]))
    ]
    regions.sort(key=lambda region: region.area, reverse=True)
    found = [
        _described(region, prediction.confidence, taxonomy, scale)
        for region in regions[:MOST_OBJECTS]
    ]
    return SceneObjects(found=tuple(found), left_out=max(0, len(regions) - MOST_OBJECTS))


@dataclass(frozen=True)
class _Region:
    """A region in pixels of the mask."""

    id: int
    box: tuple[int, int, int, int]
    area: int
    centroid: tuple[float, float]
    number: int
    marks: NDArray[Any]  # within the box: `number` for its pixels


def _present(labels: NDArray[np.uint8], ids: Sequence[int]) -> list[int]:
    # np.unique and np.bincount take ten times as long.
    counts = cv2.calcHist([labels], [0], None, [256], [0, 256]).ravel()
    return [id for id in ids if counts[id]]


def _regions(labels: NDArray[np.uint8], id: int, min_area: float) -> Iterator[_Region]:
    mask = cv2.inRange(labels, np.array(id), np.array(id))
    x, y, width, height = cv2.boundingRect(mask)  # the rest of the frame need not be searched
    count, marks, stats, centroids = cv2.connectedComponentsWithStats(
        mask[y : y + height, x : x + width], connectivity=8, ltype=cv2.CV_16U
    )
    large = np.flatnonzero(stats[1:count, cv2.CC_STAT_AREA] >= min_area) + 1
    listed = large.tolist(), stats[large].tolist(), centroids[large].tolist()
    for number, (left, top, wide, high, area), (across, down) in zip(*listed, strict=True):
        centroid, inside = (x + across, y + down), marks[top : top + high, left : left + wide]
        yield _Region(id, (x + left, y + top, wide, high), area, centroid, number, inside)


def _described(
    region: _Region,
    confidence: NDArray[np.uint8] | None,
    taxonomy: Taxonomy,
    scale: tuple[float, float],
) -> SceneObject:
    left, top, width, height = region.box
    x_scale, y_scale = scale
    sure = None
    if confidence is not None:
        values = confidence[top : top + height, left : left + width][region.marks == region.number]
        sure = round(float(values.mean()) / 255, 4)
    return SceneObject(
        id=region.id,
        name=taxonomy.names[region.id],
        box=(
            round(left * x_scale),
            round(top * y_scale),
            round(width * x_scale),
            round(height * y_scale),
        ),
        area=round(region.area * x_scale * y_scale),
        centroid=(
            round((region.centroid[0] + 0.5) * x_scale - 0.5, 1),
            round((region.centroid[1] + 0.5) * y_scale - 0.5, 1),
        ),
        confidence=sure,
        track=None,
    )
