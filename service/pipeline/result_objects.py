"""Adds the objects of its mask to a result."""

from dataclasses import replace

from ..errors import BadParameter
from .object_ranges import with_ranges
from .object_tracks import ObjectTracks
from .objects import ObjectRules, find_objects
from .result import Result


def with_objects(result: Result, rules: ObjectRules, tracks: ObjectTracks | None) -> Result:
    """
    A result with the objects of its mask and their ranges, numbered if it is one of a stream.

    Raises BadParameter for rules with a class that the network lacks.
    """
    with result.times.measure("objects"):
        taxonomy, prediction = result.runtime.manifest.classes, result.prediction
        try:
            objects = find_objects(prediction, taxonomy, rules, result.prepared.full_size)
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
        objects = with_ranges(objects, result.prepared)
    return replace(result, objects=objects)
