"""What moves before a camera that stands still: people and vehicles as boxes, frame by frame."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.geometry.rig import Floats

ROWS = 256  # frames are looked at in this height, if they are larger
NOISES = 5.0  # a pixel has changed if it differs by so many deviations of the frame's noise
LEAST_SHARE, MOST_SHARE = 0.0003, 0.2  # of the frame: of one target; of all that moves
BACKGROUND_FRAMES = 25  # of which the background is the median: nothing that moves stays in it
LEAST_NOISE = 1e-3  # [levels or counts] of a drawn frame
STRETCH_PAIRS = 300  # with a background of their own: light and warmth change in minutes

Picture = NDArray[np.float32]
Small = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Targets:
    """The moving things of one small frame [px of the small frame]."""

    middles: Floats  # (N, 2)
    sizes: Floats  # (N, 2) width, height


NO_TARGETS = Targets(np.empty((0, 2)), np.empty((0, 2)))


def small(frame: NDArray[Any]) -> Small:
    """A frame (H, W) at `ROWS` rows or fewer, of the same type."""
    factor = max(frame.shape[0] / ROWS, 1.0)
    size = round(frame.shape[1] / factor), round(frame.shape[0] / factor)
    return cast(Small, cv2.resize(frame, size, interpolation=cv2.INTER_AREA))


@dataclass(frozen=True)
class Difference:
    """What one small frame shows beyond the background."""

    picture: Picture  # (h, w) levels or counts
    noise: float  # standard deviation of its unchanged pixels

    def targets(self) -> Targets:
        """The boxes of what has changed; none if that is most of the frame."""
        moved = (np.abs(self.picture) > NOISES * self.noise).astype(np.uint8)
        return NO_TARGETS if self.everywhere() else _boxes(moved)

    def everywhere(self) -> bool:
        """Whether so much has changed that the camera itself must have moved."""
        return float((np.abs(self.picture) > NOISES * self.noise).mean()) > MOST_SHARE


class StillCamera:
    """The small frames of one camera, each compared with the background of its minutes."""

    def __init__(self, frames: Sequence[Small]) -> None:
        self._frames = frames
        count = max(round(len(frames) / STRETCH_PAIRS), 1)
        self._ends = np.linspace(0, len(frames), count + 1).astype(int)
        parts = [frames[a:b] for a, b in zip(self._ends[:-1], self._ends[1:], strict=True)]
        self._backgrounds = [_background(part) for part in parts]

    def difference(self, at: int) -> Difference:
        """Frame `at` less its background."""
        part = int(np.searchsorted(self._ends, at, side="right")) - 1
        picture = _smooth(self._frames[at]) - self._backgrounds[part]
        # A gain control and the sun change the whole frame at once.
        some = picture[::6, ::6]
        level = float(np.median(some))
        noise = 1.4826 * float(np.median(np.abs(some - level)))
        return Difference(picture - np.float32(level), noise + LEAST_NOISE)


def _smooth(frame: Small) -> Picture:
    return cast(Picture, cv2.GaussianBlur(frame.astype(np.float32), (5, 5), 1.0))


def _background(frames: Sequence[Small]) -> Picture:
    chosen = np.linspace(0, len(frames) - 1, min(BACKGROUND_FRAMES, len(frames))).round()
    pictures = [_smooth(frames[int(at)]) for at in chosen]
    levelled = [picture - np.median(picture) for picture in pictures]
    return cast(Picture, np.median(np.array(levelled), axis=0))


def _boxes(moved: NDArray[np.uint8]) -> Targets:
    """Boxes of connected regions; those that the frame's edge cuts are left out."""
    height, width = moved.shape
    closed = cv2.morphologyEx(moved, cv2.MORPH_CLOSE, np.ones((7, 5), np.uint8))
    opened = cv2.morphologyEx(closed, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=8)
    left, top, wide, high, area = stats[1:].T.astype(np.float64)
    whole = (left > 1) & (top > 1) & (left + wide < width - 1) & (top + high < height - 1)
    kept = whole & (area >= LEAST_SHARE * moved.size)
    middles = np.stack([left + (wide - 1) / 2, top + (high - 1) / 2], axis=1)
    return Targets(middles[kept], np.stack([wide, high], axis=1)[kept])
