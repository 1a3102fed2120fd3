"""
Frames of the data sets to training samples.

A sample is a pure function of (seed, index): a run that is resumed at step n sees what it would
have seen. The data set knows neither mean nor std; pixels stay uint8.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pydantic.dataclasses
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from segmif.classes import IGNORE, Taxonomy
from segmif.frames import MULTIPLE
from segmif.model.alignment_layer import STRIDE

from .augmentation import Augmentation, Floats, Views, augment_sensors, displaced_view, paste
from .crop_pools import PoolConfig, pools_of
from .datasets import LabelledPair
from .frames import FrameFacts, Frames
from .sources import STRICT


@pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=STRICT)
class Phase:
    """A part of a run with views of one size: cheap ones first, whole frames last."""

    steps: int
    batch: int
    crop: tuple[int, int]  # height, width in pixels; multiples of 32
    scales: tuple[float, float] = (0.7, 1.5)  # frames are made smaller or larger by such a factor

    def __post_init__(self) -> None:
        if not 0 < self.scales[0] <= self.scales[1]:
            raise ValueError(f"scales is {self.scales}: a smallest and a largest factor expected")
        if any(side % MULTIPLE for side in self.crop):
            raise ValueError(f"crop is {self.crop}: both sides must divide by {MULTIPLE}")


@dataclass(frozen=True, kw_only=True)
class BatchConfig:
    """What a batch holds, and in how many parts it is worked off."""

    align: float = 0.0  # weight of the loss of the infrared offset; 0: no offsets, no loss
    accumulate: int = 1  # parts in which a batch is worked off


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(PoolConfig, BatchConfig):
    """How samples are drawn and augmented."""

    phases: tuple[Phase, ...] = ()
    focus: float = 0.75  # share of the crops that are centred on an object
    views: int = 0  # different samples of a phase, which come again in turn; 0: each is new
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0

    @property
    def steps(self) -> int:
        """Optimiser steps of all phases."""
        return sum(phase.steps for phase in self.phases)


class Samples(Dataset[tuple[torch.Tensor, ...]]):
    """Augmented crops: visible (h, w, 3), infrared (h, w), labels (h, w), all uint8."""

    def __init__(
        self,
        frames: Sequence[LabelledPair],
        facts: Sequence[FrameFacts],
        taxonomy: Taxonomy,
        phase: Phase,
        config: SamplingConfig,
        seed: tuple[int, ...],
        sources: Sequence[int] = (),
    ) -> None:
        """
        `config.focus` is the share of crops that are centred on an object.

        Its class is drawn evenly but for `config.favour`, then whether it is seen by day or by
        night: cars, say, are rare after dark. Raises ValueError if no class has such a name.

        `sources` is the place of each frame's set in `config.data`, if any has a share of its own.
        """
        self.frames, self.phase, self.config, self.seed = frames, phase, config, seed
        self.background = taxonomy.background
        self.pools = pools_of(facts, taxonomy, config, sources)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        """Visible, infrared, labels and, if `config.align`, the offset (2, h/16, w/16) in px."""
        random = np.random.default_rng((*self.seed, self.view_of(index)))
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
        visible, infrared = augment_sensors(seen[0], seen[1], shares, random)
        arrays: list[NDArray[Any]] = [visible * shows[0], infrared * shows[1], seen[2]]
        if self.config.align:
            arrays.append(offset[:, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE])
        return tuple(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays)

    def view_of(self, index: int) -> int:
        """The first sample that equals that of an index."""
        return index % self.config.views if self.config.views else index

    def _view(self, random: np.random.Generator) -> tuple[Views, Floats]:
        frame, centre = self._draw(random)
        arrays = (frame.visible, frame.infrared, frame.labels)
        phase, shares = self.phase, self.config.augmentation
        return displaced_view(arrays, centre, phase.crop, phase.scales, shares, random)

    def _draw(self, random: np.random.Generator) -> tuple[LabelledPair, tuple[float, float]]:
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


def check_draws(frames: Frames, config: SamplingConfig) -> None:
    """ValueError if samples could not be drawn of these frames as the config says."""
    for phase in config.phases:
        if phase.batch // config.accumulate <= 1 and phase.crop == (MULTIPLE, MULTIPLE):
            raise ValueError(
                f"a step sees one view of {MULTIPLE}x{MULTIPLE} pixels, too few to normalise by: "
                "give a larger batch or crop, or accumulate less"
            )
        Samples(frames, frames.facts, frames.taxonomy, phase, config, (config.seed,))


def batches(
    frames: Frames, config: SamplingConfig, first: int, stop: int, share: tuple[int, int] = (0, 1)
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
            num_workers=workers(),
            pin_memory=torch.cuda.is_available(),
        )


def workers() -> int:
    """Processes that load: none beside a CPU that trains, up to 8 for a GPU."""
    return min(8, os.cpu_count() or 1) if torch.cuda.is_available() else 0
