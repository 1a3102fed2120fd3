"""What a result owes to the pairs before it: steadier labels, and objects with their tracks."""

from .object_tracks import ObjectTracks
from .objects import ObjectRules
from .result import Result, steadied
from .result_objects import with_objects
from .temporal import StreamMemory


def with_history(
    result: Result,
    memory: StreamMemory | None,
    objects: ObjectRules | None,
    tracks: ObjectTracks | None,
    *,
    confidence: bool,
) -> Result:
    """
    The result of the next pair of a stream, steadied by `memory` and with its `objects`.

    None leaves either out. `tracks`: those of the stream; None: a lone pair. `confidence`: whether
    to keep that after the memory. Raises as `with_objects`.
    """
    if memory:
        result = steadied(result, memory, confidence=confidence)
    return with_objects(result, objects, tracks) if objects else result
