"""
Frames of the data sets to training samples.

Every frame is read once before training begins, so that what cannot be read is known then. A
sample is a pure function of (seed, index): a run that is resumed at step n sees what it would
have seen. The data set knows neither mean nor std; pixels stay uint8.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from segmif.classes import IGNORE, MFNET, Taxonomy
from segmif.frames import MULTIPLE
from segmif.model.alignment_layer import STRIDE

from ..config import DATA, Phase, Source, TrainConfig
from . import folds
from .augmentation import Floats, Views, displaced_view, is_dark, paste, troubled
from .crop_pools import pools_of
from .datasets import FrameSet, notes_of, only, open_set
from .datasets import Labelled as Labelled
from .datasets.file_facts import Files, depths_of, doubt_notes
from .datasets.label_facts import LabelFacts, depth_notes
from .datasets.partial_labels import PARTIAL, partial_set
from .datasets.rendered import RenderedSet

RENDERED_SCENES = 64
READERS = (
    8  # threads at most: decoding, which runs without Python's lock, is soon faster than disks
)
SHOWN = 5  # broken frames that a message names


@dataclass(frozen=True)
class Facts:
    """What drawing samples needs to know of a frame without reading it again."""

    pixels: NDArray[np.int64]  # (256,) of each class id
    dark: bool
    files: Files = field(default_factory=dict)  # what reading them told
    digest: str = ""  # of what was read: both frames and the labels


class Frames(Sequence[Labelled]):
    """The frames of several sets in a row; as many as there is room for stay in memory."""

    def __init__(self, sets: Sequence[FrameSet], cache_gib: float) -> None:
        """
        Reads every frame once; sets without labels fit those with any.

        Raises ValueError for sets with unlike classes, or, once all were tried, with the broken
        frames and what is wrong with them.
        """
        self.taxonomy = common_taxonomy(sets)
        self._sets = sets
        self._places = [(each, index) for each in sets for index in range(len(each.names))]
        if not self._places:
            raise ValueError("there are no frames to train on; name data sets under [[data]]")
        self.sources = [number for number, each in enumerate(sets) for _ in each.names]
        self._kept: dict[int, Labelled] = {}
        self.facts = self._check(int(cache_gib * 2**30))
        self.remarks = self._judge(sets)  # sentences on what there is to mind

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Labelled:  # type: ignore[override]  # slices: nobody asks
        if index in self._kept:
            return self._kept[index]
        frames, place = self._places[index]
        return frames.read(place)

    @property
    def digests(self) -> dict[str, str]:
        """What was read of each frame, by the place of its set, the set's name and its own."""
        numbers = {id(each): number for number, each in enumerate(self._sets)}
        return {
            f"{numbers[id(frames)]}:{frames.name}/{frames.names[place]}": facts.digest
            for (frames, place), facts in zip(self._places, self.facts, strict=True)
        }

    def _check(self, room: int) -> list[Facts]:
        """
        The facts of all frames; those that come first are kept while there is room [bytes].

        Draws are spread evenly, so what came first serves as well as what came last.
        """
        facts: list[Facts] = []
        broken: list[str] = []
        with ThreadPoolExecutor(min(READERS, os.cpu_count() or 1)) as readers:
            looks = readers.map(self._look, range(len(self)))
            for look in tqdm(looks, total=len(self), desc="checking frames", unit="pair"):
                if isinstance(look, str):
                    broken.append(look)
                    continue
                frame, fact = look
                facts.append(fact)
                room -= frame.visible.nbytes + frame.infrared.nbytes + frame.labels.nbytes
                if room >= 0:
                    self._kept[len(facts) - 1] = frame
        if broken:
            raise ValueError(_sentence(broken, len(self)))
        return facts

    def _judge(self, sets: Sequence[FrameSet]) -> tuple[str, ...]:
        """What to mind in the sets; ValueError where labels of a set, or of all, teach nothing."""
        remarks: list[str] = []
        together = np.zeros(256, np.int64)
        for frames in sets:
            of_set = zip(self._places, self.facts, strict=True)
            facts = [fact for (each, _), fact in of_set if each is frames]
            files = [fact.files for fact in facts]
            depths = depth_notes(depths_of(files))
            said = [*notes_of(frames), *depths, *doubt_notes(files)]
            if frames.taxonomy:
                pixels = np.sum([fact.pixels for fact in facts], axis=0)
                labels = LabelFacts(frames.taxonomy, pixels)
                together = together + labels.pixels
                if labels.fault and not labels.known:
                    raise ValueError(f"{frames.name}: {labels.fault}")
                if labels.void:
                    said.append(f"{labels.void:.1%} of the pixels are not labelled (255)")
            remarks += (f"{frames.name}: {each}" for each in said)
        if fault := LabelFacts(self.taxonomy, together).fault:
            raise ValueError(fault)
        return tuple(remarks)

    def _look(self, index: int) -> tuple[Labelled, Facts] | str:
        """A frame and its facts, or what is wrong with it."""
        try:
            frame = self[index]
        except (OSError, ValueError) as error:
            return str(error)
        return frame, facts_of(frame)


def _sentence(broken: list[str], all_frames: int) -> str:
    more = [f"and {len(broken) - SHOWN} more"] if len(broken) > SHOWN else []
    first = f"{len(broken)} of {all_frames} frames cannot be used:"
    advice = "`python -m training describe` says of each set what to fix"
    return "\n  ".join([first, *broken[:SHOWN], *more, advice])


def common_taxonomy(sets: Sequence[FrameSet]) -> Taxonomy:
    """The classes that all labelled sets share (MFNet's where none is labelled), or ValueError."""
    labelled = [(each.name, each.taxonomy) for each in sets if each.taxonomy]
    for name, taxonomy in labelled:
        if taxonomy != labelled[0][1]:
            raise ValueError(
                f"{labelled[0][0]} is labelled by {labelled[0][1].name}, {name} by "
                f"{taxonomy.name}: take one of the two, or give one other labels"
            )
    return labelled[0][1] if labelled else MFNET


def facts_of(frame: Labelled) -> Facts:
    """Counts the pixels of each class; looks whether it was dark where nobody has said it."""
    dark = frame.light == "night" if frame.light else is_dark(frame.visible)
    read = hashlib.blake2b(digest_size=8)
    for array in (frame.visible, frame.infrared, frame.labels):
        read.update(str(array.shape).encode())
        read.update(np.ascontiguousarray(array).data)
    pixels = np.bincount(frame.labels.ravel(), minlength=256)
    return Facts(pixels, dark, frame.files, read.hexdigest())


def data_root() -> Path:
    """The folder of the real frames: `SEGMIF_DATA`, or `../shared/data`."""
    return Path(os.environ.get("SEGMIF_DATA", "../shared/data"))


def named_root(named: Path | None) -> Path:
    """`named`, else `data_root`; ValueError where either was named and is no folder."""
    root = named or data_root()
    if (named or "SEGMIF_DATA" in os.environ) and not root.is_dir():
        raise ValueError(
            f"there is no folder {root}, which --data or SEGMIF_DATA names: without either, and "
            "without ../shared/data, training renders scenes"
        )
    return root


def training_sets(config: TrainConfig, root: Path) -> list[FrameSet]:
    """
    The sets of `config.data` under `root`.

    Where there is no such folder: rendered scenes, or ValueError if the config names its own sets.
    """
    if not root.is_dir():
        if config.data != DATA:
            raise ValueError(
                f"there is no folder {root}, under which the config's [[data]] lie: name it by "
                "--data or SEGMIF_DATA"
            )
        return [RenderedSet(RENDERED_SCENES)]
    sets = [open_source(source, root) for source in config.data]
    fold = config.leave_out
    if fold is None:
        return sets
    return [
        folds.without(frames, fold) if source.kind in folds.NUMBERED else frames
        for source, frames in zip(config.data, sets, strict=True)
    ]


def open_source(source: Source, root: Path) -> FrameSet:
    """The moments that a config names; raises what `open_set` and `only` raise."""
    if source.kind in PARTIAL:
        return only(partial_set(source.kind, root / source.folder), source.names)
    labels = root / source.labels if source.labels else None
    frames = open_set(source.kind, root / source.folder, source.split, labels)
    return only(frames, source.names)


class Samples(Dataset[tuple[torch.Tensor, ...]]):
    """Augmented crops: visible (h, w, 3), infrared (h, w), labels (h, w), all uint8."""

    def __init__(
        self,
        frames: Sequence[Labelled],
        facts: Sequence[Facts],
        taxonomy: Taxonomy,
        phase: Phase,
        config: TrainConfig,
        seed: tuple[int, ...],
        sources: Sequence[int] = (),
    ) -> None:
        """
        `config.focus` is the share of crops that are centred on an object.

        Its class is drawn evenly but for `config.favour`, then whether it is seen by day or by
        night: cars, say, are rare after dark. Raises ValueError where no class has such a name.

        `sources` is the place of each frame's set in `config.data`, if any has a share of its own.
        """
        self.frames, self.phase, self.config, self.seed = frames, phase, config, seed
        self.background = taxonomy.background
        self.pools = pools_of(facts, taxonomy, config, sources)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        """Visible, infrared, labels and, if `config.align`, the offset (2, h/16, w/16) in px."""
        random = np.random.default_rng((*self.seed, index))
        shares = self.config.augmentation
        seen, offset = self._view(random)
        if random.random() < shares.paste:
            other, elsewhere = self._view(random)
            if all(image.any() for image in (*seen[:2], *other[:2])):  # else a patch is black
                seen = paste(seen, other, random, self.background)
                pasted = (other[2] != self.background) & (other[2] != IGNORE)
                offset = np.where(pasted, elsewhere, offset)
        shows = [bool(image.any()) for image in seen[:2]]
        if not all(shows):  # one sensor is all there is, and the other's black stays black
            shares = replace(shares, dead_sensor=0.0)
        visible, infrared = troubled(seen[0], seen[1], shares, random)
        arrays: list[NDArray[Any]] = [visible * shows[0], infrared * shows[1], seen[2]]
        if self.config.align:
            arrays.append(offset[:, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE])
        return tuple(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays)

    def _view(self, random: np.random.Generator) -> tuple[Views, Floats]:
        frame, centre = self._draw(random)
        arrays = (frame.visible, frame.infrared, frame.labels)
        phase, shares = self.phase, self.config.augmentation
        return displaced_view(arrays, centre, phase.crop, phase.scales, shares, random)

    def _draw(self, random: np.random.Generator) -> tuple[Labelled, tuple[float, float]]:
        """A frame and the (row, column) its crop is centred on."""
        pool = self.pools[0]
        if len(self.pools) > 1:
            pool = self.pools[random.choice(len(self.pools), p=[each.share for each in self.pools])]
        if pool.holders and random.random() < self.config.focus:
            id_ = random.choice(sorted(pool.holders), p=pool.classes)
            lights = pool.holders[id_]
            frame = self.frames[random.choice(lights[random.choice(sorted(lights))])]
            places = np.flatnonzero(frame.labels == id_)
            place = int(places[random.integers(len(places))])
            row, column = divmod(place, frame.labels.shape[1])
            return frame, (float(row), float(column))
        frame = self.frames[pool.places[int(random.integers(len(pool.places)))]]
        height, width = frame.labels.shape
        return frame, (random.uniform(0, height), random.uniform(0, width))


def check_draws(frames: Frames, config: TrainConfig) -> None:
    """ValueError where samples could not be drawn of these frames as the config says."""
    for phase in config.phases:
        if phase.batch // config.accumulate <= 1 and phase.crop == (MULTIPLE, MULTIPLE):
            raise ValueError(
                f"a step sees one view of {MULTIPLE}x{MULTIPLE} pixels, too few to normalise by: "
                "give a larger batch or crop, or accumulate less"
            )
        Samples(frames, frames.facts, frames.taxonomy, phase, config, (config.seed,))


def batches(
    frames: Frames, config: TrainConfig, first: int, stop: int, share: tuple[int, int] = (0, 1)
) -> Iterator[list[torch.Tensor]]:
    """
    The batches (visible, infrared, labels) of the steps first .. stop - 1, phase after phase.

    `share` (number, count) takes every count-th sample: what one of several devices works off. All
    together see the same samples as one would.
    """
    number, count = share
    begin = 0
    for index, phase in enumerate(config.phases):
        if phase.batch % count:
            raise ValueError(f"a batch of {phase.batch} does not divide among {count} devices")
        steps = range(max(first - begin, 0), min(stop - begin, phase.steps))
        begin += phase.steps
        seed = (config.seed, index)
        samples = Samples(
            frames, frames.facts, frames.taxonomy, phase, config, seed, frames.sources
        )
        yield from DataLoader(
            samples,
            batch_size=phase.batch // count,
            sampler=range(steps.start * phase.batch + number, steps.stop * phase.batch, count),
            num_workers=workers(config),
            pin_memory=torch.cuda.is_available(),
        )


def workers(config: TrainConfig) -> int:
    """Processes that load: none beside a CPU that trains, some cores' worth for a GPU."""
    if config.workers is not None:
        return config.workers
    return min(8, os.cpu_count() or 1) if torch.cuda.is_available() else 0
