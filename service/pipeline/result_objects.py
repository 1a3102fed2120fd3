"""Adds the objects of its mask to a result."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from ..errors import BadParameter
from .object_tracks import ObjectTracks
from .objects import ObjectRules, find_objects
from .result import Result

T = TypeVar("T")


def finish_with_objects(
    finish: Callable[[Result], T], rules: ObjectRules, tracks: ObjectTracks | None, result: Result
) -> T:
    """Finish a result that has its objects too; `tracks` are those of its stream."""
    return finish(with_objects(result, rules, tracks))


def with_objects(result: Result, rules: ObjectRules, tracks: ObjectTracks | None) -> Result:
    """
    A result with the objects of its mask, numbered if it is one of a stream.

    Raises BadParameter for rules with a class that the network lacks.
    """
    with result.times.measure("objects"):
        taxonomy, prediction = result.runtime.manifest.classes, result.prediction
        height, width = result.prepared.visible_shape or prediction.labels.shape
        try:
            objects = find_objects(prediction, taxonomy, rules, (height, width))
        except ValueError as error:  # a reload may bring a network with other classes
            raise BadParameter(f"objects: {error}") from None
        if tracks:
            found = objects.found
            numbers = tracks.follow([each.id for each in found], [each.box for each in found])
            numbered = (
                each.model_copy(update={"track": number})
                for each, number in zip(found, numbers, strict=True)
            )
            objects = objects.model_copy(update={"found": tuple(numbered)})
    return replace(result, objects=objects)
