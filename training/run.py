"""The folder of a run: what was asked, where it ran, its curves, and the state to go on from."""

import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch.utils.tensorboard import SummaryWriter

from segmif.classes import Taxonomy, colorize
from segmif.frames import Prediction
from training.config import TrainConfig
from training.datasets import Labelled

CHECKPOINT = "checkpoint.pt"
CONFIG = "config.json"
ENVIRONMENT = "environment.json"


class Run:
    """One run's folder; with several devices, only the first writes."""

    def __init__(self, folder: Path, config: TrainConfig, fabric: Fabric) -> None:
        self.folder, self.config, self.fabric = folder, config, fabric
        self.writer: SummaryWriter | None = None

    def begin(self, *, resume: bool) -> None:
        """
        Notes settings and environment.

        To resume, FileNotFoundError without a checkpoint, ValueError where the settings have
        changed since: the run would not be the one that its folder says.
        """
        settings = json.dumps(asdict(self.config), indent=2, sort_keys=True, default=str)
        noted = self.folder / CONFIG
        if resume:
            if not (self.folder / CHECKPOINT).is_file():
                raise FileNotFoundError(
                    f"{self.folder / CHECKPOINT} does not exist: train without --resume to start"
                )
            _refuse_other_settings(json.loads(noted.read_text()), json.loads(settings), noted)
        if not self.fabric.is_global_zero:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        noted.write_text(settings + "\n", encoding="utf-8")
        environment = json.dumps(describe_environment(self.fabric), indent=2)
        (self.folder / ENVIRONMENT).write_text(environment + "\n", encoding="utf-8")

    def open_curves(self, first: int) -> None:
        """Curves from the step `first` on; what an aborted run drew beyond it is hidden."""
        if self.fabric.is_global_zero:
            self.writer = SummaryWriter(self.folder, purge_step=first)

    def record(self, step: int, values: Mapping[str, float]) -> None:
        """One point of each curve."""
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(name, value, step)

    def show(
        self,
        step: int,
        frame: Labelled,
        found: Prediction,
        classes: Taxonomy,
    ) -> None:
        """Infrared, visible, fused and mask of one pair, side by side."""
        if self.writer is not None:
            infrared = np.repeat(frame.infrared[..., None], 3, axis=2)
            mask = colorize(found.labels, classes)
            panel = np.hstack((infrared, frame.visible, found.fused, mask))
            self.writer.add_image(f"pairs/{frame.name}", panel, step, dataformats="HWC")

    def close(self) -> None:
        """Writes what is still held back."""
        if self.writer is not None:
            self.writer.close()

    def save(self, state: dict[str, Any]) -> None:
        """All that the next step depends on; the file is replaced at once, never half-written."""
        beside = self.folder / f"{CHECKPOINT}.new"
        self.fabric.save(beside, state)
        if self.fabric.is_global_zero:
            beside.replace(self.folder / CHECKPOINT)
        self.fabric.barrier()

    def restore(self, state: dict[str, Any]) -> dict[str, Any]:
        """Puts modules and optimiser of `state` back in place; gives the rest of it."""
        return dict(self.fabric.load(self.folder / CHECKPOINT, state, weights_only=True))


def describe_environment(fabric: Fabric) -> dict[str, Any]:
    """Machine, versions, revision and command, to read a curve by."""
    cuda = fabric.device.type == "cuda"
    return {
        "command": sys.argv,
        "revision": git_revision(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(fabric.device) if cuda else "cpu",
        "devices": fabric.world_size,
    }


def git_revision() -> str | None:
    """The commit that the code stands at, with a + where it was changed since; None outside git."""
    where = Path(__file__).parent
    asked = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
    try:
        answer = subprocess.run(asked, cwd=where, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


def _refuse_other_settings(noted: dict[str, Any], asked: dict[str, Any], path: Path) -> None:
    changed = sorted(key for key in noted | asked if noted.get(key) != asked.get(key))
    if changed:
        raise ValueError(
            f"{path} was written with another {', '.join(changed)}: resume with the same config, "
            "or start a new run from its weights with --weights"
        )
