"""The settings of a run: one TOML file, one frozen dataclass; an unknown key is an error."""

from dataclasses import field
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from segmif.frames import MULTIPLE
from segmif.model.config import VARIANTS, PairConfig
from segmif.parsing import parse_toml

from .data.augmentation import Augmentation
from .data.datasets import KINDS
from .data.datasets.partial_labels import PARTIAL
from .fit.distillation import DistillWeights
from .fit.losses import FusionWeights
from .fit.task_balance import Balancing

STRICT = ConfigDict(extra="forbid")  # a misspelt key must not be passed over


@dataclass(frozen=True, kw_only=True, config=STRICT)
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


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Source:
    """A data set of a run, as `datasets.open_set` takes it."""

    kind: str
    folder: str  # under --data
    split: str | None = None
    labels: str | None = None  # folder of other labels, under --data
    share: float | None = None  # of the crops that are of this set; None: the rest, evenly by frame
    names: tuple[str, ...] = ("*",)  # patterns of the moments to take: one drive of several

    def __post_init__(self) -> None:
        if self.kind not in (*KINDS, *PARTIAL):
            raise ValueError(
                f"kind of data is {self.kind!r}; there are {', '.join((*KINDS, *PARTIAL))}"
            )


DATA = (
    Source(kind="mfnet", folder="mfnet", split="train"),
    Source(kind="pairs", folder="roadscene"),
)
VALIDATION = Source(kind="mfnet", folder="mfnet", split="val")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainConfig:
    """One run; `focus` as in `data.Samples`."""

    variant: str
    data: tuple[Source, ...] = DATA
    validation: Source = VALIDATION
    cache_gib: float = 2.0  # of decoded frames that are kept in memory
    phases: tuple[Phase, ...] = ()
    finish: Phase | None = None  # of the fusion decoder alone, after all phases
    leave_out: int | None = (
        None  # group of `training/data/folds.toml` that MFNet and MSRS go without
    )
    encoder_rate: float = 0.1  # of the learning rate: for an encoder that comes pretrained
    frozen_stages: int = 0  # of such an encoder that do not learn, its stem with them
    align: float = 0.0  # weight of the loss of where infrared lies; 0: nobody asks
    focus: float = 0.75
    favour: dict[str, float] = field(default_factory=dict)  # class: so often as others it is drawn
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
    workers: int | None = None  # processes that load; None: 0 where the CPU is what trains
    save_every: int = 200  # steps
    validate_every: int = 600  # steps
    patience: int | None = None  # validations without gain that end the run; None: run to the end
    fusion: FusionWeights = field(default_factory=FusionWeights)
    fusion_enhanced: FusionWeights | None = None  # all weights where infrared is dark; None: same
    distill: DistillWeights = field(default_factory=DistillWeights)  # where there is a teacher

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant is {self.variant!r}; there are {', '.join(VARIANTS)}")
        named = [source.share for source in self.data if source.share is not None]
        if any(share <= 0 for share in named) or sum(named) > 1:
            raise ValueError(
                f"the shares of [[data]] are {', '.join(map(str, named))}: numbers above 0 "
                "expected, together at most 1"
            )
        if self.leave_out not in (None, 1, 2, 3, 4):
            raise ValueError(f"leave_out is {self.leave_out}: a group from 1 to 4 expected")
        if not self.phases and not self.finish:
            raise ValueError("there is nothing to do: give [[phases]], [finish] or both")
        if self.finish and not isinstance(VARIANTS[self.variant], PairConfig):
            raise ValueError(
                f"{self.variant} has no [finish]: its mask is made from the fused frame, so the "
                "fusion decoder cannot go on alone"
            )

    @property
    def fusion_weights(self) -> tuple[FusionWeights, FusionWeights]:
        """For pairs of grey infrared, and of enhanced."""
        return self.fusion, self.fusion_enhanced or self.fusion

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return sum(phase.steps for phase in self.phases)


def read_config(path: Path) -> TrainConfig:
    """The run that a TOML file describes; ValueError names what is unknown or out of range."""
    try:
        settings = parse_toml(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist: training/configs holds some") from None
    try:
        return TypeAdapter(TrainConfig).validate_python(settings)
    except ValidationError as error:
        faults = (
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors()
        )
        raise ValueError(
            f"{path}: {'; '.join(each.removeprefix(': ') for each in faults)}"
        ) from error
