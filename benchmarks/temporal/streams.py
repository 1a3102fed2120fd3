"""Streams with a known motion and known persons: a pan over one pair, people who come and go."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.classes import TAXONOMIES
from segmif.frames import MULTIPLE, FramePair
from training.data.datasets import open_set
from training.data.synthetic.scenes import render

Bytes = NDArray[np.uint8]
Generator = np.random.Generator

PERSON = TAXONOMIES["mfnet"].names.index("person")
NOISE = 2.0  # [levels] deviation of each sensor's noise
PAN = 2  # [px] to the right from frame to frame
WALK = 3  # [px] that a person moves in the scene, from frame to frame
LEAST_PIXELS, MOST_SHARE = 250, 0.1  # of a person that is cut out: pixels, share of the frame
BEFORE, PRESENT, AFTER = 2, 3, 2  # frames without, with and without the persons
FRAMES = BEFORE + PRESENT + AFTER
PERSONS = 5  # of a stream at most
TRIES = 50  # places that are tried for a person
KEPT_APART = 12  # [px] between a person and other objects


@dataclass(frozen=True)
class Scene:
    """A labelled pair, all (H, W)."""

    visible: Bytes  # and 3
    infrared: Bytes
    labels: Bytes
    night: bool


@dataclass(frozen=True)
class CutOut:
    """A person as both cameras show it, with the rows it stood in."""

    scene: Scene
    rows: slice
    columns: slice
    mask: Bytes  # (h, w) 255: the person


@dataclass(frozen=True)
class Entry:
    """Where a person stands in each frame of a stream, as a mask (H, W) of bool."""

    masks: tuple[NDArray[np.bool_], ...]


@dataclass(frozen=True)
class Stream:
    """Successive pairs, and the persons who enter in frame `BEFORE` and leave after `PRESENT`."""

    pairs: tuple[FramePair, ...]
    entries: tuple[Entry, ...]


def real_scenes(root: Path, split: str) -> list[Scene]:
    """The pairs of `mfnet` in a split."""
    frames = open_set("mfnet", root / "mfnet", split)
    read = (frames.read(index) for index in range(len(frames.names)))
    return [Scene(f.visible, f.infrared, f.labels, f.light == "night") for f in read]


def rendered_scenes(count: int, first_seed: int) -> list[Scene]:
    """Rendered streets, by day and by night in turn."""
    scenes = []
    for seed in range(first_seed, first_seed + count):
        drawn = render(seed, 480, 640, seed % 2 == 1)
        scenes.append(Scene(drawn.visible, drawn.infrared, drawn.labels, seed % 2 == 1))
    return scenes


def cut_outs(scenes: Sequence[Scene]) -> Iterator[CutOut]:
    """The persons who stand whole in a frame."""
    for scene in scenes:
        height, width = scene.labels.shape
        _, places, boxes, _ = cv2.connectedComponentsWithStats(
            (scene.labels == PERSON).view(np.uint8)
        )
        for number, (x, y, w, h, pixels) in enumerate(boxes[1:].tolist(), 1):
            inside = x > 0 and y > 0 and x + w < width and y + h < height
            if inside and LEAST_PIXELS <= pixels <= MOST_SHARE * height * width and h > w:
                rows, columns = slice(y, y + h), slice(x, x + w)
                mask = np.where(places[rows, columns] == number, 255, 0).astype(np.uint8)
                yield CutOut(scene, rows, columns, mask)


def streams_with_entries(
    backgrounds: Sequence[Scene], persons: Sequence[CutOut], random: Generator
) -> Iterator[Stream]:
    """A pan over each background, which persons of the same time of day enter and leave."""
    for background in backgrounds:
        usable = [each for each in persons if each.scene.night == background.night]
        taken = background.labels > 0
        placed = []
        for person in random.permutation(np.arange(len(usable)))[: 4 * PERSONS].tolist():
            left = _free_place(taken, usable[person], random)
            if left is not None and len(placed) < PERSONS:
                placed.append((usable[person], left))
        yield _stream(background, placed, random)


def _free_place(taken: NDArray[np.bool_], person: CutOut, random: Generator) -> int | None:
    """A column at which a person stands in front of no object, which is then taken."""
    width = taken.shape[1]
    wide = person.mask.shape[1] + WALK * PRESENT
    room = width - PAN * FRAMES - wide - 2 * MULTIPLE
    for _ in range(TRIES):
        left = PAN * FRAMES + int(random.integers(0, max(room, 1)))
        around = slice(max(left - KEPT_APART, 0), left + wide + KEPT_APART)
        if not taken[person.rows, around].any():
            taken[person.rows, around] = True
            return left
    return None


def _stream(background: Scene, placed: Sequence[tuple[CutOut, int]], random: Generator) -> Stream:
    height, width = background.labels.shape
    height = height // MULTIPLE * MULTIPLE
    shown = (width - PAN * FRAMES) // MULTIPLE * MULTIPLE
    pairs, masks = [], [[] for _ in placed]
    for number in range(FRAMES):
        visible, infrared = background.visible.copy(), background.infrared.copy()
        view = slice(number * PAN, number * PAN + shown)
        steps = min(max(number - BEFORE, 0), PRESENT - 1)
        for each, (person, left) in zip(masks, placed, strict=True):
            columns = slice(left + steps * WALK, left + steps * WALK + person.mask.shape[1])
            where = np.zeros((len(background.labels), width), np.bool_)
            where[person.rows, columns] = person.mask > 0
            if BEFORE <= number < BEFORE + PRESENT:
                source = person.scene
                visible[where] = source.visible[person.rows, person.columns][person.mask > 0]
                infrared[where] = source.infrared[person.rows, person.columns][person.mask > 0]
            each.append(where[:height, view])
        pairs.append(
            FramePair(noisy(visible[:height, view], random), noisy(infrared[:height, view], random))
        )
    return Stream(tuple(pairs), tuple(Entry(tuple(each)) for each in masks))


def noisy(image: Bytes, random: Generator) -> Bytes:
    """An image with noise of `NOISE` levels."""
    noise = random.normal(0, NOISE, image.shape)
    return np.asarray((image + noise).round().clip(0, 255), np.uint8)
