"""What rules look at: a result, and the zones in its pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ...schemas.scene_objects import SceneObject, UnknownObject
from ..live_result import LiveResult
from .rules import Zone

WHOLE_VIEW = ""  # the key of evidence without a zone
Box = tuple[int, int, int, int]  # left, top, width, height


@dataclass(frozen=True)
class Evidence:
    """What one result shows of an event, in pixels of the visible frame."""

    area: int = 0
    box: Box | None = None
    classes: tuple[str, ...] = ()
    tracks: tuple[int, ...] = ()
    celsius: float | None = None


class View(NamedTuple):
    """A result and the zones of its rig."""

    result: LiveResult
    zones: Mapping[str, Zone]

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the visible frame, or of what stands for it."""
        return self.result.result.prepared.full_size

    @property
    def objects(self) -> Sequence[SceneObject]:
        """The objects of the mask."""
        found = self.result.result.objects
        return found.found if found else ()

    @property
    def unknown(self) -> Sequence[UnknownObject]:
        """What is warm, moves and fits no class."""
        found = self.result.result.objects
        return (found.unknown if found else None) or ()

    @property
    def shows_infrared(self) -> bool:
        """Whether the infrared frame shows something."""
        return "infrared" in self.result.result.prepared.condition.sensors

    def keys(self, names: Sequence[str]) -> Sequence[str]:
        """The zones of a rule, or the key of the whole view."""
        return names or (WHOLE_VIEW,)

    def holds(self, key: str, x: float, y: float) -> bool:
        """Whether a point in pixels of the visible frame lies in a zone or on its border."""
        if key == WHOLE_VIEW:
            return True
        polygon = _pixels(self.zones[key], *self.size)
        return cv2.pointPolygonTest(polygon, (float(x), float(y)), False) >= 0

    def mask(self, key: str, shape: tuple[int, int]) -> NDArray[np.uint8]:
        """The pixels (h, w) of a zone as 255, in a picture of the view of any size."""
        if key == WHOLE_VIEW:
            return np.full(shape, 255, np.uint8)
        return _mask(self.zones[key], self.size, shape)


@lru_cache(128)
def _pixels(zone: Zone, height: int, width: int) -> NDArray[np.float32]:
    """The corners (n, 2) in pixels of a view."""
    corners = np.array(zone.polygon, np.float32)
    if zone.units == "pixels":
        return corners
    return corners * np.array([width, height], np.float32)


@lru_cache(128)
def _mask(zone: Zone, size: tuple[int, int], shape: tuple[int, int]) -> NDArray[np.uint8]:
    scale = np.array([shape[1] / size[1], shape[0] / size[0]], np.float32)
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.rint(_pixels(zone, *size) * scale).astype(np.int32)], 255)
    return mask
