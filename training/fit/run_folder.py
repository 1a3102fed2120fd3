"""The folder of a run: what was asked, where it ran, its curves, and the state to go on from."""

import json
import math
import platform
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from segmif.classes import Taxonomy, colorize
from segmif.files import read_text, shown, sync_file, sync_folder, temporary_stem, write_text
from segmif.frames import Prediction
from segmif.machine import command
from segmif.parsing import json_value

from ..data.datasets import LabelledPair
from .run_inputs import Inputs

CHECKPOINT = "checkpoint.pt"  # of the phases
FINISH = "finish.pt"  # of the fusion decoder alone, after them
BEST = "best.pt"  # of early stopping: the network that it would end with
EARLIER = "earlier-"  # before the name of a state that an earlier run left
CONFIG = "config.json"
ENVIRONMENT = "environment.json"
RECORD_EVERY = 20  # steps


def refuse_earlier_run(folder: Path) -> None:
    """Raises FileExistsError if a run left states here: a new one would replace its weights."""
    for name in (CHECKPOINT, FINISH):
        if (folder / name).exists():
            raise FileExistsError(
                f"{folder} holds the {name} of an earlier run: go on with it by --resume, name a "
                "new --folder, or begin anew in this one by --restart"
            )


def has_checkpoint(folder: Path) -> bool:
    """
    Whether the run of a folder has a checkpoint; False if it ended before its first one.

    Raises FileNotFoundError if there was no run.
    """
    if (folder / CHECKPOINT).is_file():
        return True
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(
            f"{folder} holds no run to go on with: name its --folder, or train without --resume to "
            "start"
        )
    return False


class Run:
    """One run's folder; with several devices, only the first writes."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], fabric: Fabric) -> None:
        """`settings` are noted in the folder; a run is resumed only with the same."""
        self.folder, self.fabric = folder, fabric
        self.settings = json.dumps(settings, indent=2, sort_keys=True, default=str)
        self.writer: SummaryWriter | None = None

    def check_resumable(self, state: str) -> None:
        """
        Raises FileNotFoundError without the file `state`, ValueError if the settings have changed.

        The run would not be the one that its folder describes.
        """
        needed = self.folder / state
        if not needed.is_file():
            raise FileNotFoundError(f"{needed} does not exist: train without --resume to start")
        noted = self.folder / CONFIG
        _refuse_other_settings(read_text(noted), self.settings, noted)

    def begin(self, inputs: Inputs, *, anew: bool) -> None:
        """
        Notes settings, environment and what there is to learn from.

        `anew`: what an earlier run left here to go on from is set aside as `earlier-NAME`, or
        --resume would take it for this one's.
        """
        self.fabric.barrier()  # others may still be reading what the first now writes
        if not self.fabric.is_global_zero:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in (CHECKPOINT, FINISH, BEST) if anew else ():
            left = self.folder / name
            if left.is_file():
                left.replace(self.folder / f"{EARLIER}{name}")
        environment = json.dumps(describe_environment(self.fabric), indent=2)
        write_text(self.folder / CONFIG, self.settings + "\n")
        write_text(self.folder / ENVIRONMENT, environment + "\n")
        inputs.note(self.folder)

    def open_curves(self, first: int) -> None:
        """Curves from the step `first` on; what an aborted run drew beyond it is hidden."""
        if self.fabric.is_global_zero:
            earlier = curve_files(self.folder)
            self.writer = SummaryWriter(self.folder, purge_step=first)
            keep_in_order(earlier, curve_files(self.folder))

    def record(self, step: int, values: Mapping[str, float]) -> None:
        """One point of each curve."""
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(name, value, step)

    def show(
        self,
        step: int,
        frame: LabelledPair,
        found: Prediction,
        classes: Taxonomy,
    ) -> None:
        """Infrared, visible, fused and mask of one pair, side by side."""
        if self.writer is not None:
            infrared = np.repeat(frame.infrared[..., None], 3, axis=2)
            mask = colorize(found.labels, classes)
            panel = np.hstack((infrared, frame.visible, found.fused, mask))
            self.writer.add_image(f"pairs/{shown(frame.name)}", panel, step, dataformats="HWC")

    def close(self) -> None:
        """Writes what is still held back."""
        if self.writer is not None:
            self.writer.close()

    def save(self, state: dict[str, Any], name: str = CHECKPOINT) -> None:
        """All that the next step depends on, and the settings that it is of."""
        if self.writer is not None:
            self.writer.flush()  # or a killed run's curves would end before its checkpoint
        if name == CHECKPOINT and self.fabric.is_global_zero:
            (self.folder / FINISH).unlink(missing_ok=True)  # went on from what is replaced now
        save_atomically(self.fabric, self.folder / name, state | {"settings": self.settings})

    def holds(self, name: str) -> bool:
        """Whether there is such a state to go on from; all devices get the first one's answer."""
        return self.fabric.broadcast((self.folder / name).is_file())

    def restore(self, state: dict[str, Any], name: str = CHECKPOINT) -> dict[str, Any]:
        """
        Puts modules and optimiser of `state` back in place; gives the rest of it.

        ValueError if the file is damaged, of other settings, or lacks part of `state`.
        """
        path = self.folder / name
        try:
            rest = dict(self.fabric.load(path, state, weights_only=True))
        except KeyError as error:
            raise ValueError(
                f"{path} lacks some of {', '.join(state)}: it was written in another precision or "
                "by another release; resume with those, or start a new run"
            ) from error
        except (RuntimeError, EOFError, UnpicklingError) as error:
            said = str(error).partition("\n")[0]
            raise ValueError(
                f"{path} cannot be read ({said}): if it is damaged, start a new run"
            ) from error
        if "settings" in rest:  # older files lack it
            _refuse_other_settings(rest["settings"], self.settings, path)
        return rest


def save_atomically(fabric: Fabric, path: Path, state: dict[str, Any]) -> None:
    """Writes a state from all devices; the file is replaced at once, never half-written."""
    beside = path.with_name(
        f"{temporary_stem(path)}.part"
    )  # the next state takes its place if this fails
    try:
        fabric.save(beside, state)
        if fabric.is_global_zero:
            sync_file(beside)
            beside.replace(path)
            sync_folder(path.parent)
    except (OSError, RuntimeError) as error:  # torch's own for a disk that is full
        with suppress(OSError):
            beside.unlink()
        said = str(error).partition("\n")[0]
        raise OSError(f"{path} cannot be written ({said}): make room, then --resume") from error
    fabric.barrier()


def curve_files(folder: Path) -> list[Path]:
    """The files of a run's curves, in the order in which TensorBoard reads them."""
    return sorted(folder.glob("*tfevents*"))


def keep_in_order(earlier: list[Path], files: list[Path]) -> None:
    """
    Numbers the `earlier` ones of `files` unless they are read before the others, as they must be.

    A name holds second, host, process and count, as text: of one second, count 10 precedes 9, and
    a clock that was put back misleads too. Points would be hidden that must not be.
    """
    if files[: len(earlier)] != earlier:
        for number, path in enumerate(earlier):
            path.rename(path.with_name(f"{number:04}.{path.name}"))


def finite(parts: Mapping[str, Tensor], step: int) -> dict[str, float]:
    """Losses as numbers; ValueError if one is none: what follows would be lost work."""
    values = {name: value.item() for name, value in parts.items()}
    if not all(map(math.isfinite, values.values())):
        raise ValueError(
            f"the losses of step {step} are {values}: the run ends here, since what follows would "
            "be lost; try a lower learning_rate, or --precision 32-true"
        )
    return values


def describe_environment(fabric: Fabric) -> dict[str, Any]:
    """Machine, versions, revision and command, to read a curve by."""
    cuda = fabric.device.type == "cuda"
    return {
        "command": command(),
        "revision": git_revision(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(fabric.device) if cuda else "cpu",
        "devices": fabric.world_size,
    }


def git_revision() -> str | None:
    """The commit that the code stands at, with a + if it was changed since; None outside git."""
    where = Path(__file__).parent
    asked = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
    try:
        answer = subprocess.run(asked, cwd=where, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


def _refuse_other_settings(noted_json: str, asked_json: str, path: Path) -> None:
    try:
        noted, asked = json_value(noted_json), json.loads(asked_json)
    except ValueError as error:
        raise ValueError(f"{shown(path)}: its settings: {error}; start a new run") from None
    # settings that an earlier release had are not compared
    changed = sorted(key for key in asked if noted.get(key) != asked[key])
    if changed:
        raise ValueError(
            f"{path} was written with another {', '.join(changed)}: resume with the same settings, "
            "or start a new run from its weights in another folder (--folder)"
        )
