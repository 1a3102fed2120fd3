"""The settings of a run: one TOML file, one frozen dataclass; an unknown key is an error."""

from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from segmif.model.config import VARIANTS, PairConfig
from segmif.parsing import parse_toml

from .data.sources import STRICT
from .fit.fusion_phase import FusionPhaseConfig
from .fit.step import StepConfig
from .fit.validation import ValidationConfig


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainConfig(FusionPhaseConfig, StepConfig, ValidationConfig):
    """One run: the settings of all its parts, each declared beside the code that reads it."""

    variant: str
    frozen_stages: int = 0  # of a pretrained encoder that do not learn, its stem with them
    average: float = 0.995  # decay of the averaged weights, which are what is saved
    patience: int | None = None  # validations without gain that end the run; None: run to the end
    # Share of the weights that it starts from in those that are saved, in [0, 1). The mean of both
    # forgets less (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022).
    start_share: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variant not in VARIANTS:
            raise ValueError(f"variant is {self.variant!r}; there are {', '.join(VARIANTS)}")
        if not 0 <= self.start_share < 1:
            raise ValueError(f"start_share is {self.start_share}: 0 to less than 1 expected")
        if not self.phases and not self.finish:
            raise ValueError("there is nothing to do: give [[phases]], [finish] or both")
        if self.finish and not isinstance(VARIANTS[self.variant], PairConfig):
            raise ValueError(
                f"{self.variant} has no [finish]: its mask is made from the fused frame, so the "
                "fusion decoder cannot go on alone"
            )


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
