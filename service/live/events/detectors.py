"""What each kind of rule finds in a result."""

from collections.abc import Collection, Mapping
from typing import Protocol

import cv2
import numpy as np

from segmif.thermal.camera_profile import CameraProfile

from ...schemas.scene_objects import SceneObject
from .rules import MOVE_S, FaultRule, ObjectRule, Rule, TemperatureRule, WarmRule
from .view import Evidence, View

HOLD = 0.5  # of the least area: what keeps an event going
ZERO_C = 273.15  # kelvin


class Detector(Protocol):
    """Looks for what one rule is about."""

    def look(self, view: View, active: Collection[str]) -> Mapping[str, Evidence]:
        """The evidence by zone, or by fault; less is enough for those that are `active`."""


class ObjectDetector:
    """Finds objects whose anchor lies in a zone."""

    def __init__(self, rule: ObjectRule) -> None:
        self._rule = rule

    def look(self, view: View, active: Collection[str]) -> Mapping[str, Evidence]:
        """As `Detector.look`."""
        found = {}
        for key in view.keys(self._rule.zones):
            least = self._rule.min_area * (HOLD if key in active else 1)
            inside = [each for each in view.objects if self._fits(each, least, key, view)]
            if inside:
                found[key] = _evidence(inside)
        return found

    def _fits(self, each: SceneObject, least: float, key: str, view: View) -> bool:
        rule = self._rule
        if each.area < least or (rule.classes and each.name not in rule.classes):
            return False
        x, y = each.centroid
        if rule.anchor == "bottom":
            left, top, width, height = each.box
            x, y = left + (width - 1) / 2, top + height - 1
        return view.holds(key, x, y)


class WarmDetector:
    """Finds unknown objects whose centroid lies in a zone."""

    def __init__(self, rule: WarmRule) -> None:
        self._rule = rule

    def look(self, view: View, active: Collection[str]) -> Mapping[str, Evidence]:
        """As `Detector.look`."""
        rule, found = self._rule, {}
        moving = [
            each
            for each in view.unknown
            if each.contrast >= rule.contrast and each.speed >= rule.min_move / MOVE_S
        ]
        for key in view.keys(rule.zones):
            least = rule.min_area * (HOLD if key in active else 1)
            inside = [r for r in moving if r.area >= least and view.holds(key, *r.centroid)]
            if inside:
                largest = max(inside, key=lambda region: region.area)
                tracks = tuple(region.track for region in inside)
                found[key] = Evidence(largest.area, largest.box, (), tracks)
        return found


class TemperatureDetector:
    """Finds pixels beyond a temperature."""

    def __init__(self, rule: TemperatureRule) -> None:
        self._rule = rule

    def look(self, view: View, active: Collection[str]) -> Mapping[str, Evidence]:
        """As `Detector.look`; nothing without counts or without a stated temperature."""
        prepared = view.result.result.prepared
        counts, profile = prepared.counts, prepared.cameras.infrared
        if counts is None or profile.kelvin_per_count is None or not view.shows_infrared:
            return {}
        beyond = self._beyond(counts, profile)
        scale = view.size[0] * view.size[1] / counts.size
        found = {}
        for key in view.keys(self._rule.zones):
            inside = beyond & view.mask(key, (counts.shape[0], counts.shape[1]))
            area = round(cv2.countNonZero(inside) * scale)
            if area >= self._rule.min_area * (HOLD if key in active else 1) and area:
                values = counts[inside > 0]
                extreme = values.max() if self._rule.above_c is not None else values.min()
                found[key] = Evidence(
                    area, _box(inside, view), (), (), celsius(float(extreme), profile)
                )
        return found

    def _beyond(self, counts: np.ndarray, profile: CameraProfile) -> np.ndarray:
        """255 for each pixel (H, W) beyond the limit; counts of 0 are no measurement."""
        rule = self._rule
        if rule.above_c is not None:
            mask = counts > counts_of(rule.above_c, profile)
        else:
            mask = counts < counts_of(rule.below_c or 0.0, profile)
        measured = counts > 0
        for count in profile.invalid or ():
            measured &= counts != count
        return np.where(mask & measured, np.uint8(255), np.uint8(0))


class FaultDetector:
    """Finds faults of sensors; `lost` comes from the cameras, not from results."""

    def __init__(self, rule: FaultRule) -> None:
        self._rule = rule

    def look(self, view: View, active: Collection[str]) -> Mapping[str, Evidence]:
        """As `Detector.look`, by the name of the flag."""
        flags = view.result.result.prepared.condition.flags
        known = (flag for flag in flags if flag.partition("_")[2] in self._rule.faults)
        return {flag: Evidence() for flag in known}


def detector_of(rule: Rule) -> Detector:
    """The detector of a rule."""
    match rule:
        case ObjectRule():
            return ObjectDetector(rule)
        case WarmRule():
            return WarmDetector(rule)
        case TemperatureRule():
            return TemperatureDetector(rule)
        case FaultRule():
            return FaultDetector(rule)


def celsius(count: float, profile: CameraProfile) -> float:
    """The temperature that a profile states of a count."""
    assert profile.kelvin_per_count
    return round(profile.kelvin_per_count * count + (profile.kelvin_at_zero or 0.0) - ZERO_C, 2)


def counts_of(degrees_c: float, profile: CameraProfile) -> float:
    """The count of a temperature, as a fraction."""
    assert profile.kelvin_per_count
    return (degrees_c + ZERO_C - (profile.kelvin_at_zero or 0.0)) / profile.kelvin_per_count


def _evidence(objects: list[SceneObject]) -> Evidence:
    largest = max(objects, key=lambda each: each.area)
    classes = tuple(dict.fromkeys(each.name for each in objects))
    tracks = tuple(each.track for each in objects if each.track is not None)
    return Evidence(largest.area, largest.box, classes, tracks)


def _box(mask: np.ndarray, view: View) -> tuple[int, int, int, int]:
    left, top, width, height = cv2.boundingRect(mask)
    x_scale, y_scale = view.size[1] / mask.shape[1], view.size[0] / mask.shape[0]
    return (
        round(left * x_scale),
        round(top * y_scale),
        round(width * x_scale),
        round(height * y_scale),
    )
