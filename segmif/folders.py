"""
The one reader of a folder of pairs: by file names, by patterns, or by a CSV file.

A pattern is a file name without suffix and with one `*` for the part that both cameras share:
`FLIR_*_RGB` and `FLIR_*_PreviewData`. Names that differ only in case or in the composition of
accents are the same. Of two files of one name, the lossless one is taken.
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

# Rank by suffix, the lowest is taken: 0 lossless, 1 lossy.
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
    """How files are paired: by a CSV file, else by name within the patterns."""

    patterns: Patterns = (EVERY, EVERY)  # of visible, of infrared
    pairs: Path | None = None  # a CSV file with the columns visible and infrared


BY_NAME = Pairing()


@dataclass(frozen=True)
class Listing:
    """The frames of a folder by the part of their names that `*` matches."""

    files: Mapping[str, Path]
    # A sentence for each file with a lossless one of the same name.
    superseded: tuple[str, ...] = ()
    ambiguous: tuple[str, ...] = ()  # a sentence for each name of two equally good files
    not_images: tuple[Path, ...] = ()  # files with other suffixes


@dataclass(frozen=True)
class Paired:
    """The pairs of two folders, sorted by name, and sentences on the other files."""

    pairs: tuple[FilePair, ...]
    complaints: tuple[str, ...] = ()  # a sentence for each file without a pair
    notes: tuple[str, ...] = ()  # a sentence for each choice between files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags --pairs and --patterns."""
    parser.add_argument(
        "--pairs",
        type=Path,
        metavar="CSV",
        help="file with the columns visible and infrared, as `segmif calibrate pair` writes it "
        "[files of the same name]",
    )
    add_patterns(parser)


def add_patterns(parser: argparse.ArgumentParser) -> None:
    """The flag --patterns."""
    parser.add_argument(
        "--patterns",
        nargs=2,
        metavar=("VISIBLE", "INFRARED"),
        default=(EVERY, EVERY),
        help="names of the files without suffix, * for what both share: 'F_*_RGB' 'F_*_IR'",
    )


def pairing_of(args: argparse.Namespace) -> Pairing:
    """The value of the flags of `add_arguments`; ValueError for patterns without one `*`."""
    return Pairing(patterns_of(args), args.pairs)


def patterns_of(args: argparse.Namespace) -> Patterns:
    """The value of the flag of `add_patterns`; ValueError for patterns without one `*`."""
    visible, infrared = args.patterns
    check_pattern(visible)
    check_pattern(infrared)
    return visible, infrared


def check_pattern(pattern: str) -> None:
    """Raise ValueError for a pattern without exactly one `*`."""
    if pattern.count("*") != 1 or "/" in pattern:
        raise ValueError(
            f"the pattern {pattern!r} must be a file name with one *, which stands for what the "
            "names of both cameras share"
        )


def pair_files(visible: Path, infrared: Path, how: Pairing = BY_NAME) -> Paired:
    """
    The pairs of two folders.

    Raises NotADirectoryError for other paths than folders, ValueError if each file would be its
    own partner, and as `read_pairs`.
    """
    if how.pairs:
        return Paired(read_pairs(how.pairs, visible, infrared))
    visible_pattern, infrared_pattern = how.patterns
    of_visible = list_frames(visible, visible_pattern)
    of_infrared = list_frames(infrared, infrared_pattern)
    if visible_pattern == infrared_pattern and visible.resolve() == infrared.resolve():
        raise ValueError(_same_folder_error(visible, list(of_visible.files)))
    visible_files, infrared_files = same_names(of_visible.files, of_infrared.files)
    pairs = [
        FilePair(name, visible_files[name], infrared_files[name])
        for name in sorted(visible_files.keys() & infrared_files.keys())
    ]
    # A file of one folder for both cameras is in both lists, if no pattern excludes it.
    complaints = [
        f"{path}: not an image by its name, expected {sorted(SUFFIXES)}"
        for path in sorted({*of_visible.not_images, *of_infrared.not_images})
    ]
    complaints += [*of_visible.ambiguous, *of_infrared.ambiguous]
    complaints += _unpaired(visible, infrared, visible_files, infrared_files)
    notes = (*of_visible.superseded, *of_infrared.superseded)
    return Paired(tuple(pairs), tuple(complaints), notes)


def list_frames(folder: Path, pattern: str = EVERY, also: Iterable[str] = ()) -> Listing:
    """
    The frames of a folder whose names fit a pattern, sorted; `also` are suffixes taken too.

    Raises NotADirectoryError for other paths than folders.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder: expected one of JPEG, PNG or TIFF frames")
    ranks = dict.fromkeys(also, max(LOSS.values()) + 1) | LOSS
    name_pattern = _regex(pattern)
    candidates: dict[str, list[Path]] = {}  # files by the part of their names that `*` matches
    not_images = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.is_dir():
            continue
        if path.suffix.lower() not in ranks:
            not_images.append(path)
        elif match := name_pattern.fullmatch(path.stem):
            candidates.setdefault(match[1], []).append(path)
    files, superseded, ambiguous = {}, [], []
    for name, paths in candidates.items():
        best, *others = sorted(paths, key=lambda path: _rank(path, ranks))
        equal = [path for path in others if _rank(path, ranks) == _rank(best, ranks)]
        if equal:
            ambiguous.append(f"{best}: {equal[0].name} has the same name; remove one of them")
            continue
        files[name] = best
        superseded += [f"{path}: {best.name} is taken, which has no loss" for path in others]
    return Listing(files, tuple(superseded), tuple(ambiguous), tuple(not_images))


def same_names(*folders: Mapping[str, Path]) -> list[dict[str, Path]]:
    """
    The files of several folders, with one spelling for names that differ only in case or accents.

    The first folder decides the spelling. If a folder has two such names, they stay as they are.
    """
    spelling: dict[str, str] = {}  # by the folded name
    ambiguous: set[str] = set()  # folded names that one folder holds twice
    for files in folders:
        counts = Counter(map(_folded, files))
        ambiguous |= {folded for folded, count in counts.items() if count > 1}
        for name in files:
            spelling.setdefault(_folded(name), name)

    def common(name: str) -> str:
        folded = _folded(name)
        return name if folded in ambiguous else spelling[folded]

    return [{common(name): path for name, path in files.items()} for files in folders]


def read_pairs(path: Path, visible: Path, infrared: Path) -> tuple[FilePair, ...]:
    """
    The files that a CSV file with the columns visible and infrared names, in its order.

    Raises OSError, or ValueError for other files, for missing frames and for two pairs of one
    visible frame.
    """
    rows = read_table(path, ("visible", "infrared"))[1]
    pairs = [_row(path, line, row, visible, infrared) for line, row in rows]
    if not pairs:
        raise ValueError(f"{path} names no pair: have `segmif calibrate pair` write it anew")
    names = Counter(pair.name for pair in pairs)
    if doubled := [name for name, count in names.items() if count > 1]:
        raise ValueError(
            f"{path}: {listed(doubled)} stands in more than one pair; keep one of them"
        )
    return tuple(pairs)


def listed(words: Iterable[object], between: str = ", ") -> str:
    """The first few of many words, and the number of the others."""
    shown = [str(word) for word in words]
    more = len(shown) - SHOWN
    return between.join(shown[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _row(
    path: Path, line: int, row: Mapping[str, str | None], visible: Path, infrared: Path
) -> FilePair:
    """The pair that a line of the CSV file `path` names; ValueError without two such files."""
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


def _unpaired(
    visible: Path,
    infrared: Path,
    visible_files: Mapping[str, Path],
    infrared_files: Mapping[str, Path],
) -> list[str]:
    """A sentence for each file without a partner, or one for all if nothing pairs by name."""
    unpaired = sorted(visible_files.keys() ^ infrared_files.keys())
    visible_stems = [visible_files[name].stem for name in unpaired if name in visible_files]
    infrared_stems = [infrared_files[name].stem for name in unpaired if name in infrared_files]
    advice = _advice(visible_stems, infrared_stems)
    if advice or (unpaired and not visible_files.keys() & infrared_files.keys()):
        return [
            f"{visible} ({listed(visible_stems) or 'no frame'}) and "
            f"{infrared} ({listed(infrared_stems) or 'no frame'}) have {len(unpaired)} frames that "
            f"pair with no frame of the other; {advice or TIMES}"
        ]
    return [
        f"{visible_files[name]}: no file of this name in {infrared}"
        if name in visible_files
        else f"{infrared_files[name]}: no file of this name in {visible}"
        for name in unpaired
    ]


TIMES = (
    "give the files of a moment one name, or state --patterns; frames named by their times are "
    "paired by `segmif calibrate pair`, whose file goes to --pairs"
)


def _same_folder_error(folder: Path, names: Sequence[str]) -> str:
    found = suggested(names, names)
    such = f", such as --patterns '{found.patterns[0]}' '{found.patterns[1]}'" if found else ""
    return (
        f"{folder} is named for both cameras, so each file would be its own partner: name two "
        f"folders, or say which files are of which camera{such}"
    )


def _advice(visible_stems: Sequence[str], infrared_stems: Sequence[str]) -> str:
    """Which patterns would pair frames whose names do not; empty if none is found."""
    found = suggested(visible_stems, infrared_stems)
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


def _folded(name: str) -> str:
    """A name without the differences of case and of composed accents."""
    return unicodedata.normalize("NFC", name).casefold()
