"""
A network learns from the confident pixels of its own running mean (mean teacher).

The teacher sees the frames as they are. The student sees them as another day, gain and sensor would
give them, with blocks of one sensor black, so that each sensor has to stand in for the other.
"""

import copy
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from segmif.frames import MULTIPLE, FramePair, fit
from segmif.model.network import Network

from ..data.augmentation import Augmentation, augment_sensors
from .statistics import adapted_norms

CROP = (288, 384)  # height, width [px]
BATCH = 2
RATE = 2e-4
AVERAGE = 0.99  # of the teacher
LEAST = 0.7  # probability below which no pixel teaches
UPPER = 0.5  # share of each class's pixels, its most confident ones, that teach
MASKED = 0.25  # share of the blocks in which one sensor is black
AUGMENTATION = Augmentation(nightfall=0.1, misalignment=0.0, paste=0.0, dead_sensor=0.0)


@dataclass(frozen=True)
class Taught:
    """How long a network learnt."""

    steps: int
    seconds: float


def teach(
    network: Network, pairs: list[FramePair], *, steps: int, seconds: float, seed: int
) -> tuple[Network, Taught]:
    """The running mean of a network that learns from `pairs`; ends after `steps` or `seconds`."""
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    student, teacher = copy.deepcopy(network).eval(), copy.deepcopy(network).eval()
    teacher.requires_grad_(False)
    learning = _learning(student)
    optimizer = torch.optim.AdamW(learning, lr=RATE, weight_decay=0.0)
    began, done = time.monotonic(), 0
    for _ in tqdm(range(steps), desc="learning", unit="step"):
        frames = [_view(pairs[random.integers(len(pairs))], random) for _ in range(BATCH)]
        with torch.no_grad():
            target = pseudo_labels(teacher.predict(*_stacked(frames))[1])
        shown = [_as_elsewhere(frame, random) for frame in frames]
        logits = student.predict(*_stacked(shown))[1]
        if (target >= 0).any():
            loss = functional.cross_entropy(logits, target, ignore_index=-1)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for mean, new in zip(teacher.parameters(), student.parameters(), strict=True):
                    mean.lerp_(new, 1 - AVERAGE)
        done += 1
        if time.monotonic() - began > seconds:
            break
    return teacher, Taught(done, time.monotonic() - began)


def _learning(student: Network) -> list[torch.nn.Parameter]:
    """The parameters of the mask and of the norms; statistics stay."""
    student.requires_grad_(False)
    mask = dict(student.core.named_children())["mask"]
    found = [*mask.parameters()]
    found += [each for norm in adapted_norms(student) for each in norm.parameters()]
    unique = list({id(each): each for each in found}.values())
    for each in unique:
        each.requires_grad_(True)
    return unique


def pseudo_labels(logits: Tensor) -> Tensor:
    """Class ids (B, h, w) of logits (B, K, h, w); -1 for what is not confident for its class."""
    confidence, labels = logits.softmax(dim=1).max(dim=1)
    target = torch.full_like(labels, -1)
    for class_ in labels.unique():
        here = labels == class_
        least = max(LEAST, float(confidence[here].quantile(1 - UPPER)))
        target[here & (confidence >= least)] = class_
    return target


def _view(pair: FramePair, random: np.random.Generator) -> FramePair:
    """A part of a pair, at most of the size CROP, mirrored or not."""
    pair = pair if min(pair.infrared.shape) >= MULTIPLE else fit(pair)
    height, width = (
        min(side, most) // MULTIPLE * MULTIPLE
        for side, most in zip(pair.infrared.shape, CROP, strict=True)
    )
    top, left = (
        int(random.integers(side - part + 1))
        for side, part in zip(pair.infrared.shape, (height, width), strict=True)
    )
    place = slice(top, top + height), slice(left, left + width)
    step = 1 if random.random() < 0.5 else -1
    return FramePair(pair.visible[place][:, ::step], pair.infrared[place][:, ::step])


def _as_elsewhere(pair: FramePair, random: np.random.Generator) -> FramePair:
    """A pair by other light, optics and gain, with blocks of one sensor black."""
    visible, infrared = augment_sensors(
        pair.visible.copy(), pair.infrared.copy(), AUGMENTATION, random
    )
    blocks = tuple(side // MULTIPLE for side in infrared.shape)
    drawn = random.random(blocks).repeat(MULTIPLE, 0).repeat(MULTIPLE, 1)
    visible[drawn < MASKED / 2] = 0
    infrared[drawn > 1 - MASKED / 2] = 0
    return FramePair(visible, infrared)


def _stacked(pairs: list[FramePair]) -> tuple[Tensor, Tensor]:
    """Visible (B, H, W, 3) and infrared (B, H, W) in [0, 1]."""
    frames = ([pair.visible for pair in pairs], [pair.infrared for pair in pairs])
    return tensor(np.stack(frames[0])), tensor(np.stack(frames[1]))


def tensor(frames: NDArray[np.uint8]) -> Tensor:
    """Frames in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).float() / 255
