"""Images of a labelling tool as labels of pairs, and a report of what came in."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches

import numpy as np
from tqdm import tqdm

from segmif.classes import BACKGROUNDS, IGNORE, Taxonomy
from segmif.files import shown
from segmif.folders import listed
from segmif.imaging.codecs import encode_indexed_png

from ..data.datasets.pairs import PairSet
from .pair_names import PairNames
from .shapes import IGNORED, AnnotatedImage, paint


@dataclass
class LabelImport:
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
        self._pair_names = PairNames(self.pairs)
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
        """The pair and the label file of each labelled image; raises as `PairNames.pair_of`."""
        seen: dict[str, str] = {}
        for image in tqdm(images, desc="import", unit="image"):
            pair = self._pair_names.pair_of(image.name, image.uploaded)
            if pair in seen:
                raise ValueError(
                    f"the images {seen[pair]} and {image.name} are of one pair, {pair}"
                )
            seen[pair] = image.name
            image = self._sized(image, pair)
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

    def _sized(self, image: AnnotatedImage, pair: str) -> AnnotatedImage:
        """The image, with the frame's size if its tool says none; ValueError for another size."""
        height, width = self.pairs.visible_of(pair)[0].shape[:2]
        if not image.width:
            return replace(image, width=width, height=height)
        if (image.width, image.height) != (width, height):
            raise ValueError(
                f"{shown(image.name)} is labelled at {image.width}x{image.height}, the frame "
                f"{pair} is {width}x{height}: label frames at their own size"
            )
        return image

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
