"""Which pair an image of a labelling tool shows, by its name."""

import unicodedata
from difflib import get_close_matches
from pathlib import PurePosixPath

from segmif.files import shown
from segmif.folders import SUFFIXES, listed

from ..data.datasets.pairs import PairSet


class PairNames:
    """Finds pairs by what tools make of their names: other folders, suffix, case or accents."""

    def __init__(self, pairs: PairSet) -> None:
        """ValueError if two names cannot be told apart."""
        self._pairs = pairs
        self._names = {_folded(name): name for name in pairs.names}
        if len(self._names) < len(pairs.names):
            raise ValueError(
                "two pairs have names that differ in case or accents alone: rename one"
            )

    def pair_of(self, name: str, otherwise: str | None = None) -> str:
        """
        The pair of an image of the tool, by the first of its names that a pair has.

        Raises ValueError if there is none.
        """
        stem = ""
        for each in (name, otherwise) if otherwise else (name,):
            base = PurePosixPath(each.replace("\\", "/")).name
            known = PurePosixPath(base).suffix.lower() in SUFFIXES
            stem = base[: base.rindex(".")] if known else base
            for candidate in (base, stem):
                if pair := self._names.get(_folded(candidate)):
                    return pair
        alike = get_close_matches(stem, self._pairs.names, 1)
        hint = f"; {alike[0]} is the most like it" if alike else ""
        raise ValueError(
            f"the image {shown(name)!r} is of none of the {len(self._pairs.names)} pairs of "
            f"{self._pairs.name} ({listed(self._pairs.names)}){hint}"
        )


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
