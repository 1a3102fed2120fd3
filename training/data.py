"""
Frames on disk (or rendered) to training samples.

A sample is a pure function of (seed, index): a run that is resumed at step n sees what it would
have seen. The data set knows neither mean nor std; pixels stay uint8.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from segmif.classes import IGNORE, MFNET
from segmif.images import read_infrared, read_labels, read_visible
from training import scenes
from training.augment import augment
from training.config import Phase, TrainConfig
from training.datasets import Labelled as Labelled

RENDERED_SCENES = 64
NIGHT = 50  # mean level of a visible frame below which it was taken after dark


def data_root() -> Path:
    """The folder of the real frames: `SEGMIF_DATA`, or `../shared/data`."""
    return Path(os.environ.get("SEGMIF_DATA", "../shared/data"))


def read_folder(folder: Path) -> list[Labelled]:
    """All pairs of `folder/{visible,infrared[,label]}`; without `label`, all pixels are IGNORE."""
    for part in ("visible", "infrared"):
        if not (folder / part).is_dir():
            raise FileNotFoundError(
                f"{folder} must hold the folders visible and infrared: no {part}"
            )
    names = sorted(path.name for path in (folder / "visible").iterdir())
    missing = [name for name in names if not (folder / "infrared" / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder}: {len(missing)} visible frames have no infrared partner, {missing[0]} first"
        )
    return [_read(folder, name) for name in names]


def _read(folder: Path, name: str) -> Labelled:
    visible = read_visible(folder / "visible" / name)
    infrared = read_infrared(folder / "infrared" / name)
    label_path = folder / "label" / name
    if label_path.parent.is_dir():
        labels = read_labels(label_path)
    else:
        labels = np.full(infrared.shape, IGNORE, np.uint8)
    if not visible.shape[:2] == infrared.shape == labels.shape:
        raise ValueError(
            f"{folder / 'visible' / name}: visible {visible.shape[:2]}, "
            f"infrared {infrared.shape} and "
            f"label {labels.shape} must be of one size"
        )
    return Labelled(name, visible, infrared, labels)


def read_training_frames(root: Path) -> list[Labelled]:
    """
    The real training frames under `root`; where there is no such folder, scenes that we render.
    """
    if not root.is_dir():
        return [
            Labelled(f"scene{seed}", scene.visible, scene.infrared, scene.labels)
            for seed in range(RENDERED_SCENES)
            for scene in [scenes.render(seed, 480, 640, night=seed % 2 == 1)]
        ]
    return read_folder(root / "mfnet" / "train") + read_folder(root / "roadscene")


class Samples(Dataset[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]):
    """Augmented crops: visible (h, w, 3), infrared (h, w), labels (h, w), all uint8."""

    def __init__(
        self, frames: list[Labelled], phase: Phase, config: TrainConfig, seed: tuple[int, ...]
    ) -> None:
        """
        `config.focus` is the share of crops that are centred on an object.

        Its class is drawn evenly, then whether it is seen by day or by night: cars, say, are rare
        after dark.
        """
        self.frames, self.phase, self.config, self.seed = frames, phase, config, seed
        self.holders: dict[int, dict[bool, list[int]]] = {}  # class, dark: indices of frames
        for index, frame in enumerate(frames):
            dark = bool(frame.visible.mean() < NIGHT)
            for id_ in set(np.unique(frame.labels).tolist()) & set(range(1, len(MFNET.names))):
                self.holders.setdefault(id_, {}).setdefault(dark, []).append(index)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        random = np.random.default_rng((*self.seed, index))
        frame, centre = self._draw(random)
        arrays = augment(
            frame.visible,
            frame.infrared,
            frame.labels,
            centre,
            self.phase.crop,
            self.phase.scales,
            self.config.augmentation,
            random,
        )
        visible, infrared, labels = map(torch.from_numpy, arrays)
        return visible, infrared, labels

    def _draw(self, random: np.random.Generator) -> tuple[Labelled, tuple[float, float]]:
        """A frame and the (row, column) its crop is centred on."""
        if self.holders and random.random() < self.config.focus:
            id_ = random.choice(sorted(self.holders))
            lights = self.holders[id_]
            frame = self.frames[random.choice(lights[random.choice(sorted(lights))])]
            rows, columns = np.nonzero(frame.labels == id_)
            pick = random.integers(len(rows))
            return frame, (float(rows[pick]), float(columns[pick]))
        frame = self.frames[random.integers(len(self.frames))]
        height, width = frame.labels.shape
        return frame, (random.uniform(0, height), random.uniform(0, width))


def batches(
    frames: list[Labelled], config: TrainConfig, first: int, stop: int
) -> Iterator[list[torch.Tensor]]:
    """The batches (visible, infrared, labels) of the steps first .. stop - 1, phase after phase."""
    begin = 0
    for number, phase in enumerate(config.phases):
        steps = range(max(first - begin, 0), min(stop - begin, phase.steps))
        begin += phase.steps
        samples = Samples(frames, phase, config, (config.seed, number))
        yield from DataLoader(
            samples,
            batch_size=phase.batch,
            sampler=range(steps.start * phase.batch, steps.stop * phase.batch),
            num_workers=config.workers,
        )


def class_shares(frames: list[Labelled]) -> torch.Tensor:
    """Share of each class among the labelled pixels, (K,)."""
    counts = sum(np.bincount(frame.labels.ravel(), minlength=256) for frame in frames)
    shares = torch.as_tensor(np.asarray(counts)[: len(MFNET.names)], dtype=torch.float32)
    return shares / shares.sum().clamp_min(1)
