"""
Bring labels of a labelling tool into the folder layout that training reads.

`segmif train import --from cvat annotations.zip --out my-rig` labels the frames of `my-rig`. With
`--data`, the frames that have labels are copied from there into a new folder.
"""

import argparse
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

import numpy as np
from tqdm import tqdm

from segmif.classes import BACKGROUNDS, IGNORE, Taxonomy
from segmif.files import read_frame, shown, write_bytes, write_text
from segmif.folders import SUFFIXES, listed
from segmif.imaging.codecs import encode_indexed_png

from ..data.datasets.class_codes import ClassCodes, read_class_map
from ..data.datasets.kinds import locate
from ..data.datasets.label_files import mask_folders
from ..data.datasets.label_maps import CLASS_MAP
from ..data.datasets.pairs import PairSet
from .class_file import class_file, frames_table, stated_classes, with_classes, with_colours
from .formats import READERS
from .formats.base import Labels
from .package import opened
from .shapes import IGNORED, AnnotatedImage, ClassNames, paint
from .staging import check_free, staged_folder


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
    codes = stated_classes(args.classes, name) if args.classes else _codes_of(data)
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
        work = _Import(pairs, taxonomy, renamed, empty=args.empty == "background")
        if in_place:
            _label_in_place(work, labels, args.out)
        else:
            _copy_labelled(work, labels, args.out, frames_table(data))
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
    held = _codes_of(root)
    if held is None or codes is None:
        return
    ids = range(len(codes.taxonomy.names))
    if held.taxonomy != codes.taxonomy or any(held.codes.get(id_) != id_ for id_ in ids):
        raise ValueError(
            f"{shown(root / CLASS_MAP)} names other classes or codes than the labels would have: "
            "name another folder by --out, and this one by --data"
        )


def _codes_of(root: Path) -> ClassCodes | None:
    path = root / CLASS_MAP
    return read_class_map(path) if path.is_file() else None


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


@dataclass
class _Import:
    """Turns images of a tool into labels of pairs, and counts."""

    pairs: PairSet
    taxonomy: Taxonomy
    renamed: Mapping[str, str]
    empty: bool  # an image without a shape shows nothing but background
    labelled: list[str] = field(default_factory=list)  # pairs
    unlabelled: list[str] = field(default_factory=list)  # pairs whose image has no shape
    pixels: Counter[int] = field(default_factory=Counter)  # by id
    overlapping: int = 0
    boxed: int = 0
    without_pixels: int = 0  # shapes

    def __post_init__(self) -> None:
        self._names = {_folded(name): name for name in self.pairs.names}
        if len(self._names) < len(self.pairs.names):
            raise ValueError(
                "two pairs have names that differ in case or accents alone: rename one"
            )
        names, background = self.taxonomy.names, self.taxonomy.background
        if IGNORED in names:
            raise ValueError(
                f"a class is called {IGNORED!r}, which stands for what counts nowhere: give it "
                "another name"
            )
        self._ids = {name: id_ for id_, name in enumerate(names)} | {IGNORED: IGNORE}
        self._named = tuple(self._ids)
        if names[background].lower() in BACKGROUNDS:  # tools call it otherwise
            self._ids = dict.fromkeys(BACKGROUNDS, background) | self._ids

    def files(self, images: Iterable[AnnotatedImage]) -> Iterator[tuple[str, bytes]]:
        """The pair and the label file of each labelled image; ValueError as `_pair_of`."""
        seen: dict[str, str] = {}
        for image in tqdm(images, desc="import", unit="image"):
            pair = self._pair_of(image.name)
            if pair in seen:
                raise ValueError(
                    f"the images {seen[pair]} and {image.name} are of one pair, {pair}"
                )
            seen[pair] = image.name
            self._check_size(image, pair)
            if not image.shapes and not self.empty:
                self.unlabelled.append(pair)
                continue
            self.labelled.append(pair)
            yield pair, self._painted(image)
        if not self.labelled:
            raise ValueError(
                f"no image has a shape ({len(self.unlabelled)} have none): is it the right export?"
            )

    def report(self, left_out: Mapping[str, int]) -> list[str]:
        """Sentences on what came in and what did not."""
        total = max(sum(self.pixels.values()), 1)
        shares = (
            f"{name} {self.pixels[id_] / total:.2%}" for id_, name in enumerate(self.taxonomy.names)
        )
        lines = [
            f"{len(self.labelled)} of {len(self.pairs.names)} pairs are labelled: "
            f"{', '.join(shares)}; not labelled {self.pixels[IGNORE] / total:.2%}"
        ]
        if self.unlabelled:
            lines.append(
                f"{len(self.unlabelled)} images have no shape and are left out "
                f"({listed(self.unlabelled)}): --empty background takes them as background"
            )
        if self.overlapping:
            lines.append(
                f"{self.overlapping / total:.2%} of the pixels lie in shapes of two classes: the "
                "one that is drawn later has them"
            )
        if self.boxed:
            lines.append(
                f"{self.boxed} boxes say where objects are, not which pixels they have: what no "
                "other shape covers in them counts nowhere"
            )
        if self.without_pixels:
            lines.append(
                f"{self.without_pixels} shapes cover no pixel of their image and are left out: "
                "were they drawn on frames of another size?"
            )
        lines += [f"left out: {count} times {kind}" for kind, count in left_out.items()]
        return lines

    def _pair_of(self, name: str) -> str:
        """The pair of an image of the tool; ValueError if there is none."""
        base = PurePosixPath(name.replace("\\", "/")).name
        stem = base[: base.rindex(".")] if PurePosixPath(base).suffix.lower() in SUFFIXES else base
        for candidate in (base, stem):
            if pair := self._names.get(_folded(candidate)):
                return pair
        alike = get_close_matches(stem, self.pairs.names, 1)
        hint = f"; {alike[0]} is the most like it" if alike else ""
        raise ValueError(
            f"the image {shown(name)!r} is of none of the {len(self.pairs.names)} pairs of "
            f"{self.pairs.name} ({listed(self.pairs.names)}){hint}"
        )

    def _check_size(self, image: AnnotatedImage, pair: str) -> None:
        height, width = self.pairs.visible_of(pair)[0].shape[:2]
        if (image.width, image.height) != (width, height):
            raise ValueError(
                f"{shown(image.name)} is labelled at {image.width}x{image.height}, the frame "
                f"{pair} is {width}x{height}: label frames at their own size"
            )

    def _painted(self, image: AnnotatedImage) -> bytes:
        shapes = tuple(
            replace(shape, label=self.renamed.get(shape.label, shape.label))
            for shape in image.shapes
        )
        self._check_names([shape.label for shape in shapes], image.name)
        painted = paint(replace(image, shapes=shapes), self._ids, self.taxonomy.background)
        self.overlapping += painted.overlapping
        self.boxed += painted.boxed
        self.without_pixels += painted.empty
        found, counts = np.unique(painted.labels, return_counts=True)
        self.pixels.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))
        return encode_indexed_png(painted.labels, self.taxonomy.palette, 6)

    def _check_names(self, labels: Sequence[str], image: str) -> None:
        for label in labels:
            if label in self._ids:
                continue
            alike = get_close_matches(label.lower(), self._named, 1)
            hint = f" '{label}={alike[0]}'" if alike else f" 'OLD=NEW', or '{label}={IGNORED}'"
            raise ValueError(
                f"{shown(image)}: the class {label!r} is none of {', '.join(self._named)}; name "
                f"all by --classes, or rename it by --rename{hint}"
            )


def _label_in_place(work: _Import, labels: Labels, root: Path) -> None:
    """Put `label/` beside the frames; what nobody labelled is 255 everywhere."""
    with staged_folder(root / "label") as folder:
        for pair, data in work.files(labels.images()):
            write_bytes(folder / f"{pair}.png", data, wait_for_disk=False)
        for pair in sorted(set(work.pairs.names) - set(work.labelled)):
            height, width = work.pairs.visible_of(pair)[0].shape[:2]
            nothing = np.full((height, width), IGNORE, np.uint8)
            data = encode_indexed_png(nothing, work.taxonomy.palette, 6)
            write_bytes(folder / f"{pair}.png", data, wait_for_disk=False)
        # before the labels: classes without labels mislead nobody, labels without classes do
        if (text := with_classes(root / CLASS_MAP, work.taxonomy)) is not None:
            write_text(root / CLASS_MAP, text)


def _copy_labelled(
    work: _Import, labels: Labels, root: Path, cameras: Mapping[str, object] | None
) -> None:
    """Make a folder of the pairs that are labelled, as they were, and of their labels."""
    with staged_folder(root) as folder:
        for part in ("visible", "infrared", "label"):
            (folder / part).mkdir()
        for pair, data in work.files(labels.images()):
            write_bytes(folder / "label" / f"{pair}.png", data, wait_for_disk=False)
            for part, files in (("visible", work.pairs.visible), ("infrared", work.pairs.infrared)):
                path = files[pair]
                copy = folder / part / f"{pair}{path.suffix}"
                write_bytes(copy, read_frame(path), wait_for_disk=False)
        write_text(folder / CLASS_MAP, class_file(work.taxonomy, cameras))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
