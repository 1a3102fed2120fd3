"""How the picture of a stream moved since its last pair, and where it shows something new."""

from dataclasses import dataclass
from functools import cached_property
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.frames import FramePair
from segmif.imaging.luma import luma

Bytes = NDArray[np.uint8]
Field = NDArray[np.float32]

GUIDE_ROWS = 160  # motion is estimated at about this height
SMALLEST_GUIDE = 16  # [px] of a side; smaller pictures count as still
NOVELTY_LEVELS = 6.0  # of 255 beyond the motion, in a guide: noise averages out there
NOVELTY_NOISES = 4.0  # the same for noisy sensors, in medians of the difference
MOST_NOISE = 3.0  # [levels] of that median that can be noise, and not another scene
MOST_DRIFT = 16.0  # [levels] of a whole picture's change that can be a gain control
BORDER = np.ones((3, 3), np.uint8)  # what is new reaches a little further than it is seen
SAMPLED = 4  # every so many rows and columns make the medians


@dataclass(frozen=True)
class Guides:
    """A pair small enough to compare it cheaply with the next one; all planes are (h, w)."""

    visible: Bytes  # luma
    infrared: Bytes

    @property
    def both(self) -> Bytes:
        """The mean: what either camera shows guides the motion."""
        return cast(Bytes, cv2.addWeighted(self.visible, 0.5, self.infrared, 0.5, 0))


@dataclass(frozen=True)
class Change:
    """What became of the picture since the pair before."""

    flow: Field  # (h, w, 2) px: where each guide pixel lay, to the right and down
    novel: Bytes  # (h, w), 255 where a sensor shows something new
    new_share: float  # of the picture, 0 to 1


def guides_of(pair: FramePair) -> Guides:
    """A pair at about `GUIDE_ROWS` rows."""
    return Guides(_guide(luma(pair.visible)), _guide(pair.infrared))


def _guide(frame: Bytes) -> Bytes:
    """A frame (H, W): halved as often as that fits, which is fast, then brought to its size."""
    height, width = frame.shape
    factor = max(round(height / GUIDE_ROWS), 1)
    size = max(width // factor, 1), max(height // factor, 1)
    while frame.shape[0] >= 2 * size[1]:
        half = max(frame.shape[1] // 2, 1), frame.shape[0] // 2
        frame = cast(Bytes, cv2.resize(frame, half, interpolation=cv2.INTER_AREA))
    return cast(Bytes, cv2.resize(frame, size))


class Motion:
    """Dense motion by inverse search (DIS, Kroeger et al., 2016); keeps its buffers."""

    @cached_property  # most memories, such as those of lone pairs, never need it
    def _flow(self) -> cv2.DISOpticalFlow:
        flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        flow.setGradientDescentIterations(5)  # more follow the noise
        return flow

    def change(self, new: Guides, old: Guides) -> Change:
        """
        How the picture changed from `old` to `new`, two guides of one size.

        Noise and a change of a whole picture's level, as by a gain control, are nothing new.
        """
        flow = self._estimate(new.both, old.both)
        novel = cv2.bitwise_or(
            _novelty(new.visible, old.visible, flow),
            _novelty(new.infrared, old.infrared, flow),
        )
        share = cv2.countNonZero(novel) / novel.size
        return Change(flow, cast(Bytes, cv2.dilate(novel, BORDER)), share)

    def _estimate(self, new: Bytes, old: Bytes) -> Field:
        if min(new.shape) < SMALLEST_GUIDE:
            return np.zeros((*new.shape, 2), np.float32)
        return cast(Field, self._flow.calc(new, old, None))  # type: ignore[call-overload]


def enlarged(flow: Field, shape: tuple[int, ...]) -> Field:
    """The motion of each pixel of a plane (H, W), in its pixels."""
    height, width = shape
    scale = width / flow.shape[1], height / flow.shape[0], 0, 0
    scaled = cv2.multiply(flow, scale)  # type: ignore[call-overload]
    return cast(Field, cv2.resize(scaled, (width, height)))


def warped(plane: Bytes, flow: Field, *, nearest_or: int | None = None) -> Bytes:
    """
    A plane (H, W) with what lay where `flow` (H, W, 2) says.

    Bilinear, and beyond the edge what the edge shows.

    With `nearest_or` it is by nearest pixels, and beyond the edge that value.
    """
    how, edge = cv2.INTER_LINEAR, cv2.BORDER_REPLICATE
    if nearest_or is not None:
        how, edge = cv2.INTER_NEAREST, cv2.BORDER_CONSTANT
    # The second map is for those in fixed point, which take longer.
    moved = cv2.remap(  # type: ignore[call-overload]
        plane, flow, None, how | cv2.WARP_RELATIVE_MAP, borderMode=edge, borderValue=nearest_or or 0
    )
    return cast(Bytes, moved)


def _novelty(after: Bytes, before: Bytes, flow: Field) -> Bytes:
    """255 where a sensor (h, w) shows what it did not before."""
    change = cv2.subtract(after, warped(before, flow), dtype=cv2.CV_16S)
    sample = change[::SAMPLED, ::SAMPLED]
    level = float(np.clip(np.median(sample), -MOST_DRIFT, MOST_DRIFT))
    noise = min(float(np.median(np.abs(sample - level))), MOST_NOISE)
    bound = NOVELTY_LEVELS + NOVELTY_NOISES * noise
    return cast(Bytes, cv2.bitwise_not(cv2.inRange(change, level - bound, level + bound)))
