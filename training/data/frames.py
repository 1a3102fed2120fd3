"""The frames of a run: all are read once before training, so that a broken one is known then."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from segmif.classes import MFNET, Taxonomy

from .augmentation import is_dark
from .datasets import FrameSet, LabelledPair, notes_of
from .datasets.file_facts import Files, depths_of, doubt_notes
from .datasets.label_facts import LabelFacts, depth_notes

CACHE_GIB = 2.0  # of decoded frames that are kept in memory
READERS = 8  # threads at most: decoding runs without Python's lock, soon faster than disks
SHOWN = 5  # broken frames that a message names


@dataclass(frozen=True)
class FrameFacts:
    """What drawing samples needs to know of a frame without reading it again."""

    pixels: NDArray[np.int64]  # (256,) of each class id
    dark: bool
    files: Files = field(default_factory=dict)  # facts of their files
    digest: str = ""  # of what was read: both frames and the labels


class Frames(Sequence[LabelledPair]):
    """The frames of several sets in a row; as many as there is room for stay in memory."""

    def __init__(self, sets: Sequence[FrameSet], cache_gib: float = CACHE_GIB) -> None:
        """
        Reads every frame once; sets without labels fit those with any.

        Raises ValueError for sets with unlike classes, or, once all were tried, with the broken
        frames and what is wrong with them.
        """
        self.taxonomy = common_taxonomy(sets)
        self._sets = sets
        # A set and the index of a frame in it, for each frame.
        self._items = [(frames, index) for frames in sets for index in range(len(frames.names))]
        if not self._items:
            raise ValueError("there are no frames to train on; name data sets under [[data]]")
        self.sources = [number for number, each in enumerate(sets) for _ in each.names]
        self._kept: dict[int, LabelledPair] = {}
        self.facts = self._check(int(cache_gib * 2**30))
        self.remarks = self._remarks_on(sets)  # sentences on what there is to mind

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> LabelledPair:  # type: ignore[override]  # slices: nobody asks
        if index in self._kept:
            return self._kept[index]
        frames, index_in_set = self._items[index]
        return frames.read(index_in_set)

    @property
    def names(self) -> list[str]:
        """Of all frames, each as its set names it."""
        return [frames.names[index] for frames, index in self._items]

    @property
    def digests(self) -> dict[str, str]:
        """What was read of each frame, by the place of its set, the set's name and its own."""
        numbers = {id(each): number for number, each in enumerate(self._sets)}
        return {
            f"{numbers[id(frames)]}:{frames.name}/{frames.names[index]}": facts.digest
            for (frames, index), facts in zip(self._items, self.facts, strict=True)
        }

    def _check(self, room: int) -> list[FrameFacts]:
        """
        The facts of all frames; those that come first are kept while there is room [bytes].

        Draws are spread evenly, so what came first serves as well as what came last.
        """
        facts: list[FrameFacts] = []
        broken: list[str] = []
        with ThreadPoolExecutor(min(READERS, os.cpu_count() or 1)) as readers:
            checked = readers.map(self._checked, range(len(self)))
            for result in tqdm(checked, total=len(self), desc="checking frames", unit="pair"):
                if isinstance(result, str):
                    broken.append(result)
                    continue
                frame, frame_facts = result
                facts.append(frame_facts)
                room -= frame.visible.nbytes + frame.infrared.nbytes + frame.labels.nbytes
                if room >= 0:
                    self._kept[len(facts) - 1] = frame
        if broken:
            raise ValueError(_broken_frames(broken, len(self)))
        return facts

    def _remarks_on(self, sets: Sequence[FrameSet]) -> tuple[str, ...]:
        """What to mind in the sets; ValueError if labels of a set, or of all, teach nothing."""
        remarks: list[str] = []
        pixels_of_all = np.zeros(256, np.int64)  # by class id
        for frames in sets:
            facts_of_set = [
                facts
                for (owner, _), facts in zip(self._items, self.facts, strict=True)
                if owner is frames
            ]
            files = [facts.files for facts in facts_of_set]
            notes = [*notes_of(frames), *depth_notes(depths_of(files)), *doubt_notes(files)]
            if frames.taxonomy:
                pixels = np.sum([facts.pixels for facts in facts_of_set], axis=0)
                labels = LabelFacts(frames.taxonomy, pixels)
                pixels_of_all = pixels_of_all + labels.pixels
                if labels.fault and not labels.known:
                    raise ValueError(f"{frames.name}: {labels.fault}")
                if labels.void:
                    notes.append(f"{labels.void:.1%} of the pixels are not labelled (255)")
            remarks += [f"{frames.name}: {note}" for note in notes]
        if fault := LabelFacts(self.taxonomy, pixels_of_all).fault:
            raise ValueError(fault)
        return tuple(remarks)

    def _checked(self, index: int) -> tuple[LabelledPair, FrameFacts] | str:
        """A frame and its facts, or what is wrong with it."""
        try:
            frame = self[index]
        except (OSError, ValueError) as error:
            return str(error)
        return frame, facts_of(frame)


def _broken_frames(broken: list[str], all_frames: int) -> str:
    """A message with the first of the broken frames and what is wrong with them."""
    more = [f"and {len(broken) - SHOWN} more"] if len(broken) > SHOWN else []
    first = f"{len(broken)} of {all_frames} frames cannot be used:"
    advice = "`segmif training describe` says of each set what to fix"
    return "\n  ".join([first, *broken[:SHOWN], *more, advice])


def common_taxonomy(sets: Sequence[FrameSet]) -> Taxonomy:
    """The classes that all labelled sets share (MFNet's if none is labelled), or ValueError."""
    labelled = [(each.name, each.taxonomy) for each in sets if each.taxonomy]
    for name, taxonomy in labelled:
        if taxonomy != labelled[0][1]:
            raise ValueError(
                f"{labelled[0][0]} is labelled by {labelled[0][1].name}, {name} by "
                f"{taxonomy.name}: take one of the two, or give one other labels"
            )
    return labelled[0][1] if labelled else MFNET


def facts_of(frame: LabelledPair) -> FrameFacts:
    """Counts the pixels of each class; looks whether it was dark if nobody has said it."""
    dark = frame.light == "night" if frame.light else is_dark(frame.visible)
    read = hashlib.blake2b(digest_size=8)
    for array in (frame.visible, frame.infrared, frame.labels):
        read.update(str(array.shape).encode())
        read.update(np.ascontiguousarray(array).data)
    pixels = np.bincount(frame.labels.ravel(), minlength=256)
    return FrameFacts(pixels, dark, frame.files, read.hexdigest())
