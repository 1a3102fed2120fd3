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
        self._places = [(each, index) for each in sets for index in range(len(each.names))]
        if not self._places:
            raise ValueError("there are no frames to train on; name data sets under [[data]]")
        self.sources = [number for number, each in enumerate(sets) for _ in each.names]
        self._kept: dict[int, LabelledPair] = {}
        self.facts = self._check(int(cache_gib * 2**30))
        self.remarks = self._judge(sets)  # sentences on what there is to mind

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> LabelledPair:  # type: ignore[override]  # slices: nobody asks
        if index in self._kept:
            return self._kept[index]
        frames, place = self._places[index]
        return frames.read(place)

    @property
    def names(self) -> list[str]:
        """Of all frames, each as its set names it."""
        return [frames.names[place] for frames, place in self._places]

    @property
    def digests(self) -> dict[str, str]:
        """What was read of each frame, by the place of its set, the set's name and its own."""
        numbers = {id(each): number for number, each in enumerate(self._sets)}
        return {
            f"{numbers[id(frames)]}:{frames.name}/{frames.names[place]}": facts.digest
            for (frames, place), facts in zip(self._places, self.facts, strict=True)
        }

    def _check(self, room: int) -> list[FrameFacts]:
        """
        The facts of all frames; those that come first are kept while there is room [bytes].

        Draws are spread evenly, so what came first serves as well as what came last.
        """
        facts: list[FrameFacts] = []
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
        """What to mind in the sets; ValueError if labels of a set, or of all, teach nothing."""
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

    def _look(self, index: int) -> tuple[LabelledPair, FrameFacts] | str:
        """A frame and its facts, or what is wrong with it."""
        try:
            frame = self[index]
        except (OSError, ValueError) as error:
            return str(error)
        return frame, facts_of(frame)


def _sentence(broken: list[str], all_frames: int) -> str:
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
