"""Suggests patterns that pair the files of two cameras by the parts their names share."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

Patterns = tuple[str, str]  # of visible, of infrared: a name with one `*` for what both share

MAX_NAMES = 20  # of each camera that are compared
MIN_SHARE = 0.5  # of the camera with fewer files: suggested patterns pair at least that


@dataclass(frozen=True)
class Suggestion:
    """Patterns, and how many pairs they would make."""

    patterns: Patterns
    pairs: int


def suggested(visible: Sequence[str], infrared: Sequence[str]) -> Suggestion | None:
    """The patterns that pair most of these names without suffix; None if none pairs half."""
    candidates = dict.fromkeys(_candidates(visible[:MAX_NAMES], infrared[:MAX_NAMES]))
    counted = [
        Suggestion(patterns, len(_keys(visible, patterns[0]) & _keys(infrared, patterns[1])))
        for patterns in candidates
    ]
    best = max(counted, key=lambda each: each.pairs, default=None)
    if best is None or best.pairs < MIN_SHARE * min(len(visible), len(infrared)):
        return None
    return best


def _candidates(visible: Iterable[str], infrared: Sequence[str]) -> Iterable[Patterns]:
    """The rest of two names around each part that both share, as patterns."""
    for one in visible:
        for other in infrared:
            for block in SequenceMatcher(None, one, other, False).get_matching_blocks():
                start, begin, size = block
                while size and _splits_word(one, other, start, begin):
                    start, begin, size = start + 1, begin + 1, size - 1
                while size and _splits_word(one, other, start + size, begin + size, ending=True):
                    size -= 1
                ends = one[:start], one[start + size :], other[:begin], other[begin + size :]
                if size and any(ends) and "*" not in "".join(ends):
                    yield f"{ends[0]}*{ends[1]}", f"{ends[2]}*{ends[3]}"


def _splits_word(one: str, other: str, at: int, place: int, *, ending: bool = False) -> bool:
    """
    Whether a part must not begin here (or end, with `ending`): inside a number or a word of either
    name, or with a separator.
    """
    inside = _same_kind(one, at - 1) or _same_kind(other, place - 1)
    edge = one[at - 1 : at] if ending else one[at : at + 1]
    return inside or not edge.isalnum()


def _same_kind(name: str, place: int) -> bool:
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
