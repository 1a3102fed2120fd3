"""
Frames of one sensor alone, whose labels know some classes only: CamVid's streets, boxed infrared.

The other sensor's frame is black. Ids from 250 on say which classes a pixel may be of (`ALLOWED`);
the loss counts them together. They are of the classes of MFNet.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.classes import IGNORE, MFNET, Taxonomy
from segmif.files import read_text
from segmif.imaging.codecs import read_labels

from .frame import FrameSet, LabelledPair
from .pairs import light

CAR, PERSON, BIKE = 1, 2, 3
NO_ROAD_USER, RIDER = 254, 253
ALLOWED = {NO_ROAD_USER: (0, 4, 5, 6, 7, 8), RIDER: (PERSON, BIKE)}  # ids that a pixel may be of

# of CamVid's 12 ids; a bicyclist is a person on a bike, in one id
CAMVID = np.full(256, IGNORE, np.uint8)
CAMVID[:11] = NO_ROAD_USER
CAMVID[[8, 9, 10]] = CAR, PERSON, RIDER
BOXED = (PERSON, BIKE, CAR)  # by the ids of the boxes


@dataclass(frozen=True)
class CamvidSet:
    """`visible` and `label` of CamVid."""

    root: Path
    taxonomy: Taxonomy = MFNET
    name: str = "camvid"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every frame with a label."""
        return tuple(sorted(path.stem for path in (self.root / "label").glob("*.png")))

    def read(self, index: int) -> LabelledPair:
        """A street by day, infrared black."""
        name = self.names[index]
        visible = _colours(next((self.root / "visible").glob(f"{name}.*")))
        labels = CAMVID[read_labels(self.root / "label" / f"{name}.png")]
        return LabelledPair(name, visible, np.zeros_like(labels), labels, "day")


@dataclass(frozen=True)
class BoxedSet:
    """`infrared` and `boxes` and, for some frames, `machine_label`: another network's mask."""

    root: Path
    taxonomy: Taxonomy = MFNET
    name: str = "thermal_only"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every frame."""
        return tuple(sorted(path.stem for path in (self.root / "infrared").iterdir()))

    def read(self, index: int) -> LabelledPair:
        """
        Infrared, visible black. Outside all boxes there is no road user; inside one, a pixel is
        known only if the other network gives it the class of the box.
        """
        name = self.names[index]
        infrared = _colours(next((self.root / "infrared").glob(f"{name}.*")))[..., 0]
        machine = self.root / "machine_label" / f"{name}.png"
        guess = read_labels(machine) if machine.is_file() else np.zeros_like(infrared)
        labels = boxed_labels(read_text(self.root / "boxes" / f"{name}.txt"), guess)
        return LabelledPair(
            name, np.zeros((*infrared.shape, 3), np.uint8), infrared, labels, light(name)
        )


def _colours(path: Path) -> NDArray[np.uint8]:
    """An image (H, W, 3) RGB; these sets also hold WebP, which `codecs` does not decode."""
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        raise ValueError(f"{path} cannot be decoded: get it again")
    return np.asarray(pixels, np.uint8)


def boxed_labels(boxes: str, guess: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels (H, W) from lines `id x y width height` (middle, shares of the frame) and a mask."""
    labels = np.full(guess.shape, NO_ROAD_USER, np.uint8)
    height, width = guess.shape
    found = [tuple(map(float, line.split()[:5])) for line in boxes.splitlines() if line.strip()]
    views = [
        (
            BOXED[int(id_)],
            slice(max(round((y - h / 2) * height), 0), round((y + h / 2) * height)),
            slice(max(round((x - w / 2) * width), 0), round((x + w / 2) * width)),
        )
        for id_, x, y, w, h in found
    ]
    for _, rows, columns in views:
        labels[rows, columns] = IGNORE
    for id_, rows, columns in views:
        inside = labels[rows, columns]
        inside[guess[rows, columns] == id_] = id_
    return labels


PARTIAL = ("camvid", "boxed")  # kinds of data


def partial_set(kind: str, root: Path) -> FrameSet:
    """The set of a kind in PARTIAL."""
    return CamvidSet(root) if kind == "camvid" else BoxedSet(root)
