"""
Which files of two folders show one moment: by their names, by patterns, or as a CSV file says.

A pattern is a file name without suffix and with one `*`, which stands for what the names of both
cameras share: `FLIR_*_RGB` and `FLIR_*_PreviewData`. Names that differ only in case, or in how
accents are composed, are the same. Of two files of one name, the one without loss is taken.
"""

import argparse
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segmif.name_patterns import Patterns, suggested
from segmif.parsing import read_table

# The lower, the rather taken: pixels as they were, pixels with loss.
LOSS = {".png": 0, ".tif": 0, ".tiff": 0, ".jpg": 1, ".jpeg": 1}
SUFFIXES = frozenset(LOSS)
EVERY = "*"
SHOWN = 3  # names in a sentence about many


@dataclass(frozen=True)
class FilePair:
    """Two files of one moment."""

    name: str  # what both names share
    visible: Path
    infrared: Path


@dataclass(frozen=True)
class Pairing:
    """How files find their partners; without a pairs file by name, within the patterns."""

    patterns: Patterns = (EVERY, EVERY)  # of visible, of infrared
    pairs: Path | None = None  # a CSV file with the columns visible and infrared


BY_NAME = Pairing()


@dataclass(frozen=True)
class Listing:
    """The frames of a folder by the part of their names that `*` stands for."""

    files: Mapping[str, Path]
    passed_over: tuple[str, ...] = ()  # a sentence on each file that a better one replaces
    ambiguous: tuple[str, ...] = ()  # a sentence on each name that two files have alike
    strange: tuple[Path, ...] = ()  # files that are no images by their suffix


@dataclass(frozen=True)
class Paired:
    """The pairs of two folders, sorted by name, and what is to be said of the rest."""

    pairs: tuple[FilePair, ...]
    complaints: tuple[str, ...] = ()  # a sentence on what cannot take part
    notes: tuple[str, ...] = ()  # a sentence on what was chosen


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that say how the files of two folders are paired."""
    parser.add_argument(
        "--pairs",
        type=Path,
        metavar="CSV",
        help="file with the columns visible and infrared, as `calibration pair` writes it "
        "[files of the same name]",
    )
    add_patterns(parser)


def add_patterns(parser: argparse.ArgumentParser) -> None:
    """The flag that names the files of each camera."""
    parser.add_argument(
        "--patterns",
        nargs=2,
        metavar=("VISIBLE", "INFRARED"),
        default=(EVERY, EVERY),
        help="names of the files without suffix, * for what both share: 'F_*_RGB' 'F_*_IR'",
    )


def pairing_of(args: argparse.Namespace) -> Pairing:
    """What the flags of `add_arguments` say; ValueError for patterns without one `*`."""
    return Pairing(patterns_of(args), args.pairs)


def patterns_of(args: argparse.Namespace) -> Patterns:
    """What the flag of `add_patterns` says; ValueError for patterns without one `*`."""
    visible, infrared = args.patterns
    check_pattern(visible)
    check_pattern(infrared)
    return visible, infrared


def check_pattern(pattern: str) -> None:
    """ValueError where a pattern has not one `*`."""
    if pattern.count("*") != 1 or "/" in pattern:
        raise ValueError(
            f"the pattern {pattern!r} must be a file name with one *, which stands for what the "
            "names of both cameras share"
        )


def pair_files(visible: Path, infrared: Path, how: Pairing = BY_NAME) -> Paired:
    """
    The pairs of two folders.

    Raises NotADirectoryError for what is no folder, ValueError where each file would be its own
    partner, and what `read_pairs` raises.
    """
    if how.pairs:
        return Paired(read_pairs(how.pairs, visible, infrared))
    lists = (list_frames(visible, how.patterns[0]), list_frames(infrared, how.patterns[1]))
    if how.patterns[0] == how.patterns[1] and visible.resolve() == infrared.resolve():
        raise ValueError(_one_folder(visible, list(lists[0].files)))
    first, second = same_names(*(each.files for each in lists))
    common = sorted(first.keys() & second.keys())
    strange = sorted({path for each in lists for path in each.strange})
    return Paired(
        tuple(FilePair(name, first[name], second[name]) for name in common),
        (
            *(f"{path}: not an image by its name, expected {sorted(SUFFIXES)}" for path in strange),
            *(sentence for each in lists for sentence in each.ambiguous),
            *_alone(visible, infrared, first, second),
        ),
        tuple(sentence for each in lists for sentence in each.passed_over),
    )


def list_frames(folder: Path, pattern: str = EVERY, also: Iterable[str] = ()) -> Listing:
    """
    The frames of a folder whose names fit a pattern, sorted; `also` are suffixes taken too.

    Raises NotADirectoryError for what is no folder.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder: expected one of JPEG, PNG or TIFF frames")
    ranks = dict.fromkeys(also, max(LOSS.values()) + 1) | LOSS
    fits = _regex(pattern)
    held: dict[str, list[Path]] = {}
    strange = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.is_dir():
            continue
        if path.suffix.lower() not in ranks:
            strange.append(path)
        elif match := fits.fullmatch(path.stem):
            held.setdefault(match[1], []).append(path)
    files, passed_over, ambiguous = {}, [], []
    for name, paths in held.items():
        best, *others = sorted(paths, key=lambda path: ranks[path.suffix.lower()])
        equal = [path for path in others if _rank(path, ranks) == _rank(best, ranks)]
        if equal:
            ambiguous.append(f"{best}: {equal[0].name} has the same name; remove one of them")
            continue
        files[name] = best
        passed_over += [f"{path}: {best.name} is taken, which has no loss" for path in others]
    return Listing(files, tuple(passed_over), tuple(ambiguous), tuple(strange))


def same_names(*folders: Mapping[str, Path]) -> list[dict[str, Path]]:
    """
    The files of several folders under the same names, where these differ only in case or accents.

    The first folder that has a name decides how it is written. Names of which a folder has two
    that differ only so stay as they are.
    """
    doubled = {
        loose
        for files in folders
        for loose, count in Counter(map(_loose, files)).items()
        if count > 1
    }
    written: dict[str, str] = {}
    for name in (name for files in folders for name in files):
        written.setdefault(_loose(name), name)
    return [
        {name if _loose(name) in doubled else written[_loose(name)]: p for name, p in files.items()}
        for files in folders
    ]


def read_pairs(path: Path, visible: Path, infrared: Path) -> tuple[FilePair, ...]:
    """
    The files that a CSV file with the columns visible and infrared names, in its order.

    Raises OSError, or ValueError for a file that is none of that kind, for frames that are not
    there and for two pairs of one visible frame.
    """
    rows = read_table(path, ("visible", "infrared"))[1]
    pairs = [_row(path, line, row, visible, infrared) for line, row in rows]
    if not pairs:
        raise ValueError(f"{path} names no pair: have `calibration pair` write it anew")
    names = Counter(pair.name for pair in pairs)
    if doubled := [name for name, count in names.items() if count > 1]:
        raise ValueError(
            f"{path}: {listed(doubled)} stands in more than one pair; keep one of them"
        )
    return tuple(pairs)


def listed(words: Iterable[object], between: str = ", ") -> str:
    """The first few of many, and how many more there are."""
    shown = [str(word) for word in words]
    more = len(shown) - SHOWN
    return between.join(shown[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _row(
    path: Path, line: int, row: Mapping[str, str | None], visible: Path, infrared: Path
) -> FilePair:
    names = row["visible"], row["infrared"]
    if not (names[0] and names[1]):
        raise ValueError(f"{path}, line {line}: a visible and an infrared file name are expected")
    files = visible / names[0], infrared / names[1]
    for name in map(Path, (names[0], names[1])):
        if name.is_absolute() or ".." in name.parts:
            raise ValueError(f"{path}, line {line}: {name} leads out of the folder of its frames")
    for file in files:
        if not file.is_file():
            raise ValueError(f"{path}, line {line}: {file} is not a file")
    return FilePair(files[0].stem, *files)


def _alone(
    visible: Path, infrared: Path, first: Mapping[str, Path], second: Mapping[str, Path]
) -> list[str]:
    """A sentence on each file without a partner, or one where that is what most of them lack."""
    alone = sorted(first.keys() ^ second.keys())
    left = [[files[name].stem for name in alone if name in files] for files in (first, second)]
    advice = _advice(left)
    if advice or (alone and not first.keys() & second.keys()):
        one, other = (listed(names) or "no frame" for names in left)
        whole = (
            f"{visible} ({one}) and {infrared} ({other}) have {len(alone)} frames that pair with"
        )
        return [f"{whole} no frame of the other; {advice or TIMES}"]
    sentences = []
    for name in alone:
        path = first.get(name) or second[name]
        other_folder = infrared if name in first else visible
        sentences.append(f"{path}: no file of this name in {other_folder}")
    return sentences


TIMES = (
    "give the files of a moment one name, or state --patterns; frames named by their times are "
    "paired by `calibration pair`, whose file goes to --pairs"
)


def _one_folder(folder: Path, names: Sequence[str]) -> str:
    found = suggested(names, names)
    such = f", such as --patterns '{found.patterns[0]}' '{found.patterns[1]}'" if found else ""
    return (
        f"{folder} is named for both cameras, so each file would be its own partner: name two "
        f"folders, or say which files are of which camera{such}"
    )


def _advice(left: Sequence[Sequence[str]]) -> str:
    found = suggested(left[0], left[1])
    if found is None:
        return ""
    return (
        f"--patterns '{found.patterns[0]}' '{found.patterns[1]}' would pair {found.pairs} of them"
    )


def _regex(pattern: str) -> re.Pattern[str]:
    before, after = (re.escape(part) for part in pattern.split("*"))
    return re.compile(f"{before}(.+){after}", re.DOTALL)


def _rank(path: Path, ranks: Mapping[str, int]) -> int:
    return ranks[path.suffix.lower()]


def _loose(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
