"""The ranges of objects, if the parallax of the rig gives them."""

import math

from segmif.geometry.object_range import object_range
from segmif.imaging.luma import luma

from ..schemas.scene_objects import SceneObject, SceneObjects
from .prepare import PreparedPair

MOST_RANGED = 16  # of a pair; the largest


def with_ranges(objects: SceneObjects, prepared: PreparedPair) -> SceneObjects:
    """
    The largest objects with their range, as far as it can be measured.

    A calibrated rig, both frames at full size, and infrared that nothing has moved beyond the rig's
    alignment are needed.
    """
    rig = prepared.parallax_rig
    if rig is None or not objects.found:
        return objects
    assert prepared.rig_alignment is not None  # else there is no such rig
    plane_m = prepared.rig_alignment.depth_m or math.inf
    grey, infrared = luma(prepared.pair.visible), prepared.pair.infrared

    def ranged(one: SceneObject) -> SceneObject:
        found = object_range(rig, plane_m, grey, infrared, one.box)
        if found is None:
            return one
        stated = {"range_m": round(found.distance_m, 2), "range_std_m": round(found.std_m, 2)}
        return one.model_copy(update=stated)

    first, rest = objects.found[:MOST_RANGED], objects.found[MOST_RANGED:]
    return objects.model_copy(update={"found": (*map(ranged, first), *rest)})
