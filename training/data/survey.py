"""One walk over a data set on disk that stops at nothing, and what there is to fix."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from segmif.classes import Taxonomy
from segmif.folders import listed

from .datasets.class_codes import Code
from .datasets.file_facts import FileFacts, Files, depths_of, doubt_notes
from .datasets.frame import Light
from .datasets.label_facts import LabelFacts, counted_from_one, depth_notes
from .datasets.pairs import BITMAP, PairSet, light, size
from .datasets.published import Published
from .sensor_shift import shift

READERS = 8  # threads at most
FAR = 4.0  # [px] beyond it, edges of both sensors are visibly two
UNKNOWN = "light unknown"

Image = NDArray[np.uint8]


@dataclass
class PairFacts:
    """What the files of one pair are like."""

    name: str
    light: Light | None
    sizes: dict[str, str] = field(default_factory=dict)  # by part, WIDTHxHEIGHT
    broken: dict[Path, str] = field(default_factory=dict)  # what could not be read, and why
    pixels: NDArray[np.int64] | None = None  # (256,) by class id
    unknown: dict[Code, int] = field(default_factory=dict)  # pixels of codes outside the classes
    painted: bool = False  # most of them in the colours of a paper's figures
    files: dict[str, FileFacts] = field(default_factory=dict)  # facts of their files
    shift: float | None = None  # [px] between the sensors; None if a frame lacks or sizes differ


@dataclass(frozen=True)
class Survey:
    """A whole data set."""

    name: str
    taxonomy: Taxonomy | None
    counts: dict[str, int]  # files by part
    missing: dict[str, list[str]]  # the parts that an incomplete pair lacks
    pairs: tuple[PairFacts, ...]
    notes: tuple[str, ...]
    naming: str | None = None  # what would complete the pairs that lack a part
    obstacles: tuple[str, ...] = ()  # sentences on what keeps it from being read as it lies

    @property
    def complete(self) -> int:
        """Pairs of which every part can be read."""
        return sum(not (pair.broken or pair.name in self.missing) for pair in self.pairs)

    @property
    def sizes(self) -> dict[str, Counter[str]]:
        """How many frames have which size, by part."""
        return {
            part: Counter(pair.sizes[part] for pair in self.pairs if part in pair.sizes)
            for part in self.counts
        }

    @property
    def uneven(self) -> list[PairFacts]:
        """Pairs whose parts differ in size."""
        return [pair for pair in self.pairs if len(set(pair.sizes.values())) > 1]

    @property
    def depths(self) -> dict[str, Counter[int]]:
        """How many frames have how many bits a sample, by part."""
        return depths_of(self.files)

    @property
    def files(self) -> list[Files]:
        """The facts of the frame files of each pair."""
        return [pair.files for pair in self.pairs]

    @property
    def labels(self) -> LabelFacts | None:
        """The pixels of all labels; None if nothing is labelled."""
        if self.taxonomy is None:
            return None
        counts = [pair.pixels for pair in self.pairs if pair.pixels is not None]
        pixels = np.array([np.zeros(256, np.int64), *counts], np.int64)
        return LabelFacts(
            self.taxonomy, pixels.sum(0), sum(count for count, _ in self.unknown.values())
        )

    @property
    def unknown(self) -> dict[Code, tuple[int, int]]:
        """Codes outside the classes: pixels, and files that hold them."""
        return _codes(self.pairs)

    @property
    def lights(self) -> Counter[str]:
        """Pairs by day, by night, and of unknown light."""
        return Counter(pair.light or UNKNOWN for pair in self.pairs)

    @property
    def classes(self) -> dict[str, tuple[float, int]]:
        """Share of the labelled pixels (0..1) and number of frames that show it, by class."""
        if self.taxonomy is None:
            return {}
        counts = [
            pair.pixels[: len(self.taxonomy.names)]
            for pair in self.pairs
            if pair.pixels is not None
        ]
        if not counts:
            return dict.fromkeys(self.taxonomy.names, (0.0, 0))
        table = np.array(counts, np.int64)
        shares = table.sum(0) / max(table.sum(), 1)
        frames = (table > 0).sum(0)
        return {
            name: (float(share), int(shown))
            for name, share, shown in zip(self.taxonomy.names, shares, frames, strict=True)
        }

    @property
    def absent(self) -> list[str]:
        """Classes that no label shows."""
        return [name for name, (_, frames) in self.classes.items() if frames == 0]

    @property
    def shifts(self) -> NDArray[np.float64]:
        """[px] between the sensors, of each pair that can be compared."""
        return np.array([pair.shift for pair in self.pairs if pair.shift is not None])

    @property
    def far(self) -> list[PairFacts]:
        """Pairs whose sensors seem to be more than FAR apart, the worst first."""
        far = [pair for pair in self.pairs if pair.shift is not None and pair.shift > FAR]
        return sorted(far, key=lambda pair: pair.shift or 0.0, reverse=True)

    @property
    def to_fix(self) -> list[str]:
        """A sentence on each thing that keeps the set from being used."""
        lacking = [f"{name} ({', '.join(parts)})" for name, parts in self.missing.items()]
        uneven = [f"{pair.name} ({_sizes(pair)})" for pair in self.uneven]
        empty = not self.pairs and not self.obstacles
        return [
            *(["There are no frames; is it the right folder?"] if empty else []),
            *self.obstacles,
            *_sentence("Pairs that lack a part", lacking, self.naming or "Get it, or remove them"),
            *self._unread(),
            *_sentence("Pairs whose parts differ in size", uneven, "Bring them to one view"),
            *self._mislabelled(),
        ]

    @property
    def to_look_at(self) -> list[str]:
        """A sentence on what may be wrong: an estimate says so, which a person must confirm."""
        return [
            *depth_notes(self.depths),
            *doubt_notes(self.files),
            *_sentence(
                f"Pairs whose sensors may be more than {FAR:.0f} px apart, the worst first",
                [f"{pair.name} ({pair.shift:.0f} px)" for pair in self.far],
                "Look at them, and remove those that are",
            ),
        ]

    def _unread(self) -> list[str]:
        bitmaps, damaged = [], []
        for pair in self.pairs:
            for path, error in pair.broken.items():
                if path.suffix.lower() == BITMAP:
                    bitmaps.append(f"{path.parent.name}/{path.name}")
                else:
                    damaged.append(error)
        return [
            *_sentence(
                "Files that are BMP, which is not read",
                bitmaps,
                "Convert them to PNG, which loses nothing, and remove the BMP",
            ),
            *_sentence("Files that cannot be read", damaged, "Get them again, or remove them"),
        ]

    def _mislabelled(self) -> list[str]:
        label_count = self.counts.get("label", 0)
        unknown = _codes(pair for pair in self.pairs if not pair.painted)
        strange = [
            f"{code} ({pixels} pixels in {files} of {label_count} labels)"
            for code, (pixels, files) in unknown.items()
        ]
        return [
            *_sentence(
                "Labels in the colours of the paper's figures, which are not those of its label "
                "files",
                [pair.name for pair in self.pairs if pair.painted],
                "Take the label files as published",
            ),
            *_sentence(
                "Codes in the labels that stand for no class",
                strange,
                "Correct the labels or, of a set of your own, name the codes in its dataset.toml",
            ),
            *self._untaught(),
        ]

    def _untaught(self) -> list[str]:
        facts = self.labels
        if facts is None:
            return []
        shifted = counted_from_one(self.unknown, facts.taxonomy, int(facts.pixels[0]))
        return [f"{sentence}." for sentence in (shifted, facts.fault) if sentence]


def survey(frames: PairSet) -> Survey:
    """Looks at every file of a set."""
    with ThreadPoolExecutor(min(READERS, os.cpu_count() or 1)) as readers:
        looks = readers.map(partial(_look, frames), frames.expected)
        total = len(frames.expected)
        pairs = tuple(tqdm(looks, total=total, desc=frames.name, unit="pair"))
    return Survey(
        frames.name,
        frames.taxonomy,
        {part: len(files) for part, files in frames.parts.items()},
        frames.missing,
        pairs,
        (*frames.notes, *frames.assumptions, *_size_note(frames.published, pairs)),
        frames.naming,
        frames.obstacles,
    )


def _look(frames: PairSet, name: str) -> PairFacts:
    """What the files of one pair are like; what cannot be read is noted instead of raised."""
    facts = PairFacts(name, light(name))

    def read_visible(name: str) -> Image:
        image, facts.files["visible"] = frames.visible_of(name)
        return image

    def read_infrared(name: str) -> Image:
        image, facts.files["infrared"] = frames.infrared_of(name)
        return image

    visible = _try(read_visible, facts, "visible", frames)
    infrared = _try(read_infrared, facts, "infrared", frames)
    if visible is not None and infrared is not None and visible.shape[:2] == infrared.shape:
        facts.shift = shift(visible, infrared)

    def read_label(name: str) -> Image | None:
        labels, facts.unknown = frames.read_labels(name)
        facts.painted = frames.class_codes is not None and frames.class_codes.are_figures(
            facts.unknown
        )
        return labels

    labels = _try(read_label, facts, "label", frames)
    if labels is not None:
        facts.pixels = np.bincount(labels.ravel(), minlength=256)
    return facts


def _try(
    read: Callable[[str], Image | None], facts: PairFacts, part: str, frames: PairSet
) -> Image | None:
    """A part of a pair; None, and a note in the facts, if it cannot be read."""
    if facts.name not in frames.parts.get(part, {}):
        return None
    try:
        image = read(facts.name)
    except (OSError, ValueError) as error:
        facts.broken[frames.parts[part][facts.name]] = str(error)
        return None
    if image is not None:
        facts.sizes[part] = size(image)
    return image


def _codes(pairs: Iterable[PairFacts]) -> dict[Code, tuple[int, int]]:
    """Codes outside the classes, the most frequent first: pixels, and files that hold them."""
    pixels: Counter[Code] = Counter()
    files: Counter[Code] = Counter()
    for facts in pairs:
        pixels.update(facts.unknown)
        files.update(facts.unknown.keys())
    return {code: (count, files[code]) for code, count in pixels.most_common()}


def _size_note(published: Published | None, pairs: Sequence[PairFacts]) -> list[str]:
    """A sentence if images are not of the size that was published."""
    sizes = Counter(found for pair in pairs for found in pair.sizes.values())
    if published is None:
        return []
    others = [(found, count) for found, count in sizes.most_common() if found != published.size]
    if not others:
        return []
    what = listed(f"{found} ({count})" for found, count in others)
    return [
        f"{sum(count for _, count in others)} of {sizes.total()} images are not "
        f"{published.size} as published, but {what}: scaled or cut since, or another set"
    ]


def _sizes(facts: PairFacts) -> str:
    return ", ".join(f"{part} {found}" for part, found in facts.sizes.items())


def _sentence(what: str, cases: list[str], advice: str) -> list[str]:
    return [f"{what}, {len(cases)}: {listed(cases, '; ')}. {advice}."] if cases else []
