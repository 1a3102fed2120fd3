"""Patterns that would pair the files of two cameras whose names differ, found in the names."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

Patterns = tuple[str, str]  # of visible, of infrared: a name with one `*` for what both share

LOOKED_AT = 20  # names of each camera that patterns are sought in
LEAST_SHARE = 0.5  # of the camera with fewer files, which patterns must pair to be of any use


@dataclass(frozen=True)
class Suggestion:
    """Patterns, and how many pairs they would make."""

    patterns: Patterns
    pairs: int


def suggested(visible: Sequence[str], infrared: Sequence[str]) -> Suggestion | None:
    """The patterns that pair most of these names without suffix; None where none pairs half."""
    candidates = dict.fromkeys(_candidates(visible[:LOOKED_AT], infrared[:LOOKED_AT]))
    counted = [
        Suggestion(patterns, len(_keys(visible, patterns[0]) & _keys(infrared, patterns[1])))
        for patterns in candidates
    ]
    best = max(counted, key=lambda each: each.pairs, default=None)
    if best is None or best.pairs < LEAST_SHARE * min(len(visible), len(infrared)):
        return None
    return best


def _candidates(visible: Iterable[str], infrared: Sequence[str]) -> Iterable[Patterns]:
    """What is left of two names around each part that both share."""
    for one in visible:
        for other in infrared:
            for block in SequenceMatcher(None, one, other, False).get_matching_blocks():
                start, begin, size = block
                while size and _cut_before(one, other, start, begin):
                    start, begin, size = start + 1, begin + 1, size - 1
                while size and _cut_before(one, other, start + size, begin + size, ending=True):
                    size -= 1
                ends = one[:start], one[start + size :], other[:begin], other[begin + size :]
                if size and any(ends) and "*" not in "".join(ends):
                    yield f"{ends[0]}*{ends[1]}", f"{ends[2]}*{ends[3]}"


def _cut_before(one: str, other: str, at: int, place: int, *, ending: bool = False) -> bool:
    """
    Whether a part must not begin here (or end, with `ending`): inside a number or a word of either
    name, or with a separator.
    """
    inside = _alike(one, at - 1) or _alike(other, place - 1)
    edge = one[at - 1 : at] if ending else one[at : at + 1]
    return inside or not edge.isalnum()


def _alike(name: str, place: int) -> bool:
    """Whether the characters at `place` and after it are both digits, or both letters."""
    pair = name[place : place + 2] if place >= 0 else ""
    return len(pair) == 2 and (pair.isdigit() or pair.isalpha())


def _keys(names: Iterable[str], pattern: str) -> set[str]:
    before, after = pattern.split("*")
    least = len(before) + len(after)
    return {
        name[len(before) : len(name) - len(after)].casefold()
        for name in names
        if len(name) > least and name.startswith(before) and name.endswith(after)
    }
