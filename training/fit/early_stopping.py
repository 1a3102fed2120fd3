"""When to stop: by labelled frames kept out of training, never by a test set."""

import math
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from torch import nn

from .run_folder import save_atomically


class EarlyStopping:
    """Keeps the best network so far; with `patience`, ends a run that no longer improves."""

    def __init__(self, patience: int | None, path: Path, fabric: Fabric) -> None:
        """`patience` in validations without gain; None trains to the end and keeps what is last."""
        self.patience, self.path, self.fabric = patience, path, fabric
        self.best, self.age = -1.0, 0

    def observe(self, score: float, network: nn.Module) -> None:
        """Counts a validation, more is better; NaN (no validation) does not count."""
        if self.patience is None or math.isnan(score):
            return
        self.age += 1
        if score > self.best:
            self.best, self.age = score, 0
            save_atomically(self.fabric, self.path, {"network": network})

    @property
    def exhausted(self) -> bool:
        """Whether `patience` validations in a row brought no gain."""
        return self.patience is not None and self.age >= self.patience

    def restore_best(self, network: nn.Module) -> None:
        """Puts the best network back, if one was kept."""
        if self.patience is not None and self.best >= 0:
            self.fabric.load(self.path, {"network": network}, weights_only=True)

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"best": self.best, "age": self.age}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.best, self.age = state["best"], state["age"]
