"""
Bring labels of a labelling tool into the folder layout that training reads.

`segmif train import --from cvat annotations.zip --out my-rig` labels the frames of `my-rig`. With
`--data`, the frames that have labels are copied from there into a new folder.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from segmif.files import shown

from ..data.datasets.class_codes import ClassCodes
from ..data.datasets.kinds import locate
from ..data.datasets.label_files import mask_folders
from ..data.datasets.label_maps import CLASS_MAP
from ..data.datasets.own import class_map_of
from .class_file import codes_of, frames_table, stated_classes, with_colours
from .formats import READERS
from .label_folders import copy_labelled, label_in_place
from .label_import import LabelImport
from .package import opened
from .shapes import IGNORED, ClassNames
from .staging import check_free


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `segmif train import`."""
    add = parser.add_argument
    add("source", type=Path, metavar="EXPORT", help="what the tool exported: file, folder or ZIP")
    add("--from", choices=tuple(READERS), required=True, dest="tool", help="the tool, or format")
    add("--out", type=Path, required=True, help="folder of the labelled pairs")
    add("--data", type=Path, help="folder of the pairs [--out, which then gets label/]")
    add("--split", help="train, val or test, if --data has several")
    add(
        "--classes",
        metavar="NAMES|TOML",
        help="classes in the order of their ids: a dataset.toml, or names with commas "
        "[dataset.toml of --data, else as the tool lists them]",
    )
    add(
        "--rename",
        action="append",
        default=[],
        metavar="OLD=NEW",
        help=f"a class of the tool by another name; {IGNORED} for what counts nowhere",
    )
    add(
        "--empty",
        choices=("skip", "background"),
        default="skip",
        help="images without a shape: nobody labelled them, or nothing is there [skip]",
    )


def main(args: argparse.Namespace) -> int:
    """Import the labels; gives the exit code."""
    data = args.data or args.out
    in_place = data.resolve() == args.out.resolve()
    if in_place:
        _check_unlabelled(data, args.split)
    else:
        check_free(args.out)
    pairs = locate("pairs", data, args.split)
    if not pairs.names:
        raise ValueError(f"{shown(data)} holds no pairs to label: name their folder by --data")
    name = args.out.resolve().name
    codes = stated_classes(args.classes, name) if args.classes else codes_of(data)
    if in_place:
        _check_ids(data, codes)
    renamed = _renamings(args.rename)
    with opened(args.source) as source:
        labels = READERS[args.tool](source, codes)
        found = labels.classes()
        _check_renaming(renamed, (*found.names, IGNORED))
        names = ClassNames(
            tuple(renamed.get(name, name) for name in found.names),
            {renamed.get(name, name): colour for name, colour in found.colours.items()},
        )
        taxonomy = codes.taxonomy if codes else with_colours(name, names)
        work = LabelImport(pairs, taxonomy, renamed, empty=args.empty == "background")
        if in_place:
            label_in_place(work, labels, args.out)
        else:
            copy_labelled(work, labels, args.out, frames_table(data))
        left_out = labels.left_out()
    print("\n".join(work.report(left_out)))
    print(f"check it: segmif training describe --kind folder --folder {shown(args.out)}")
    return 0


def _check_unlabelled(root: Path, split: str | None) -> None:
    """ValueError if a folder has labels already, or none can be put beside its frames."""
    other = "name another folder by --out, and this one by --data"
    if not root.is_dir():
        raise ValueError(f"{shown(root)} does not exist: name the folder of the pairs by --data")
    if split:
        raise ValueError(f"labels of one split do not go into its own folder: {other}")
    if held := mask_folders(root):
        raise ValueError(f"{shown(held[0])} holds labels already: {other}")


def _check_ids(root: Path, codes: ClassCodes | None) -> None:
    """ValueError if the ids of `codes` would be other classes by the folder's `dataset.toml`."""
    held = codes_of(root)
    if held is None or codes is None:
        return
    ids = range(len(codes.taxonomy.names))
    if held.taxonomy != codes.taxonomy or any(held.codes.get(id_) != id_ for id_ in ids):
        stated = shown(class_map_of(root) or root / CLASS_MAP)
        raise ValueError(
            f"{stated} names other classes or codes than the labels would have: name "
            "another folder by --out, and this one by --data"
        )


def _renamings(texts: Sequence[str]) -> dict[str, str]:
    renamed: dict[str, str] = {}
    for old, new in map(_renaming, texts):
        if renamed.setdefault(old, new) != new:
            raise ValueError(f"--rename gives {old} two names, {renamed[old]} and {new}: keep one")
    return renamed


def _renaming(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not (old and equals and new):
        raise ValueError(f"--rename {text!r}: OLD=NEW is expected")
    return old, new


def _check_renaming(renamed: Mapping[str, str], names: Sequence[str]) -> None:
    for old in renamed:
        if old not in names:
            raise ValueError(
                f"--rename {old}={renamed[old]}: the export has no class {old!r}, expected one of "
                f"{', '.join(dict.fromkeys(names))}"
            )
