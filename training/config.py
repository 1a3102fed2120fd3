"""The settings of a run: one TOML file, one frozen dataclass; an unknown key is an error."""

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

from segmif.classes import TAXONOMIES
from segmif.frames import MULTIPLE
from segmif.model.config import VARIANTS
from training.augment import Augmentation
from training.balance import Balancing
from training.datasets import KINDS
from training.distill import DistillWeights
from training.losses import FusionWeights


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A part of a run with views of one size: cheap ones first, frames as they will come last."""

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
class Source:
    """A data set of a run, as `datasets.open_set` takes it."""

    kind: str
    folder: str  # under --data
    split: str | None = None
    labels: str | None = None  # folder of other labels, under --data

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind of data is {self.kind!r}; there are {', '.join(KINDS)}")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One run; `focus` as in `data.Samples`."""

    variant: str
    taxonomy: str = "mfnet"  # what the ids in the labels mean: a key of classes.TAXONOMIES
    data: tuple[Source, ...] = (
        Source(kind="mfnet", folder="mfnet", split="train"),
        Source(kind="pairs", folder="roadscene"),
    )
    cache_gib: float = 2.0  # of decoded frames that are kept in memory
    phases: tuple[Phase, ...]
    finish: Phase | None = None  # of the fusion decoder alone, after all phases
    focus: float = 0.75
    augmentation: Augmentation = field(default_factory=Augmentation)
    fuse_every: int = 3  # steps: fusion is learnt much sooner than the mask
    balance: Balancing = "dynamic"  # between fusion and segmentation
    accumulate: int = 1  # parts in which a batch is worked off
    learning_rate: float = 1.5e-3  # at its peak
    warmup: int = 200  # steps
    weight_decay: float = 0.02
    clip_norm: float = 5.0
    average: float = 0.995  # decay of the averaged weights, which are what is saved
    seed: int = 0
    workers: int = 0  # processes that load; 0 where the CPU is what trains
    save_every: int = 200  # steps
    validate_every: int = 600  # steps
    patience: int | None = None  # validations without gain that end the run; None: run to the end
    fusion: FusionWeights = field(default_factory=FusionWeights)
    distill: DistillWeights = field(default_factory=DistillWeights)  # where there is a teacher

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant is {self.variant!r}; there are {', '.join(VARIANTS)}")
        if self.taxonomy not in TAXONOMIES:
            raise ValueError(f"taxonomy is {self.taxonomy!r}; there are {', '.join(TAXONOMIES)}")
        if self.balance not in get_args(Balancing):
            options = ", ".join(get_args(Balancing))
            raise ValueError(f"balance is {self.balance!r}; there are {options}")

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return sum(phase.steps for phase in self.phases)


TABLES: dict[str, type] = {
    "augmentation": Augmentation,
    "fusion": FusionWeights,
    "distill": DistillWeights,
}


def read_config(path: Path) -> TrainConfig:
    """The run that a TOML file describes; ValueError names a key that does not exist."""
    settings = tomllib.loads(path.read_text(encoding="utf-8"))
    _refuse_unknown(TrainConfig, settings, path)
    for name, kind in TABLES.items():
        if name in settings:
            _refuse_unknown(kind, settings[name], path)
            settings[name] = kind(**settings[name])
    settings["phases"] = tuple(_phase(phase, path) for phase in settings.get("phases", []))
    if "data" in settings:
        settings["data"] = tuple(_source(source, path) for source in settings["data"])
    if "finish" in settings:
        settings["finish"] = _phase(settings["finish"], path)
    return TrainConfig(**settings)


def _source(settings: dict[str, Any], path: Path) -> Source:
    _refuse_unknown(Source, settings, path)
    return Source(**settings)


def _phase(settings: dict[str, Any], path: Path) -> Phase:
    _refuse_unknown(Phase, settings, path)
    pairs: dict[str, Any] = {
        name: tuple(settings[name]) for name in ("crop", "scales") if name in settings
    }
    return Phase(**settings | pairs)


def _refuse_unknown(kind: type, settings: dict[str, Any], path: Path) -> None:
    known = [item.name for item in fields(kind)]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ValueError(f"{path}: unknown key {', '.join(unknown)}; there are {', '.join(known)}")
