"""What a result owes to the pairs before it: steadier labels, and objects with their tracks."""

from .objects import ObjectRules
from .pair_checks import StreamHistory
from .result import Result, steadied
from .result_objects import with_objects, with_unknown
from .temporal import StreamMemory


def with_history(
    result: Result,
    memory: StreamMemory | None,
    objects: ObjectRules | None,
    history: StreamHistory | None,
    stamp_ns: int,
    *,
    confidence: bool,
) -> Result:
    """
    The result of the next pair of a stream, steadied by `memory` and with its `objects`.

    None leaves either out. `history`: that of the stream; None: a lone pair. `stamp_ns`: when the
    pair was taken, or came. `confidence`: whether to keep that after the memory. Raises as
    `with_objects`.
    """
    if memory:
        result = steadied(result, memory, confidence=confidence)
    if not objects:
        return result
    result = with_objects(result, objects, history.tracks if history else None)
    if history and objects.unknown:
        result = with_unknown(result, objects.unknown, history.unknown, stamp_ns)
    return result
