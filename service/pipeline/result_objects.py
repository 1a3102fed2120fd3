"""Adds the objects of its mask to a result, and what is unknown in it."""

from dataclasses import replace

from ..errors import BadParameter
from ..schemas.scene_objects import UnknownObject
from .object_ranges import with_ranges
from .object_tracks import ObjectTracks
from .objects import ObjectRules, UnknownRules, find_objects
from .result import Result
from .unknown_objects import UnknownObjects


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


def with_unknown(
    result: Result, rules: UnknownRules, finder: UnknownObjects, stamp_ns: int
) -> Result:
    """A result that has objects, with the unknown ones of its stream's next pair."""
    prepared, prediction = result.prepared, result.prediction
    if "infrared" not in prepared.condition.sensors:
        finder.forget()
        return _listing(result, ())
    with result.times.measure("unknown"):
        taxonomy, width = result.runtime.manifest.classes, prepared.full_size[1]
        found = finder.find(prepared.pair, prediction, taxonomy, rules, width, stamp_ns)
    return _listing(result, found)


def _listing(result: Result, unknown: tuple[UnknownObject, ...]) -> Result:
    assert result.objects is not None
    return replace(result, objects=result.objects.model_copy(update={"unknown": unknown}))
