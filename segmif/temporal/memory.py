"""
Temporal memory of a stream: steadies labels, confidence and fused luma by the pairs before.

Labels and their strength are warped by the motion of the picture. A new label replaces a
remembered one if it is confident enough, if it comes again, or if a sensor shows something new at
that place. So a label that flickers stays, and one that the scene changed does not.
"""

from dataclasses import dataclass
from typing import Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.classes import IGNORE
from segmif.frames import FramePair, Prediction
from segmif.imaging.luma import luma
from segmif.temporal.motion import Change, Guides, Motion, enlarged, guides_of, warped

Bytes = NDArray[np.uint8]
Reset = Literal["start", "size", "cut"]

REDUCTION = 2  # strength is remembered at half the size
CUT_SHARE = 0.3  # of the picture that is new: then it is another scene
OLD_LABELS = 0.8  # weight of the remembered label's strength against the new one's confidence
OPPOSED = 0.1  # share of a waiting label's confidence that weakens the remembered one
SURE = 180  # of 255: a label this confident waits for one pair at most
OLD_LUMA = 0.5  # weight of the remembered luma where nothing changed
LUMA_CHANGE = 16  # levels of change from which on the remembered luma has no part

LEVELS = np.arange(256)
# A new label of this confidence yields to a remembered one of more than that strength.
YIELDS_TO = np.minimum(LEVELS * (1 - OLD_LABELS) / OLD_LABELS, 255).astype(np.uint8)
DOUBTED = int(YIELDS_TO[SURE])  # strength at most of a label that another one opposed
PULL = (OLD_LUMA * LEVELS * np.maximum(1 - LEVELS / LUMA_CHANGE, 0)).round().astype(np.uint8)


@dataclass(frozen=True)
class Steadied:
    """A prediction with the part of the pairs before."""

    prediction: Prediction
    reset: Reset | None  # why the pairs before have no part; None: they have
    used: float  # share of the picture, 0 to 1, in which they have


@dataclass(frozen=True)
class _State:
    """What a pair leaves behind for the next one."""

    guides: Guides
    labels: Bytes  # (H, W)
    strength: Bytes  # of the labels, in the unit of confidence, at `REDUCTION`
    luma: Bytes  # (H, W) of the fused picture


class TemporalMemory:
    """The memory of one stream, whose pairs come in their order."""

    def __init__(self) -> None:
        self._motion = Motion()
        self._state: _State | None = None

    @property
    def pixels(self) -> int:
        """Size of the picture that is remembered; a little over two bytes each are held."""
        return self._state.luma.size if self._state else 0

    def forget(self) -> None:
        """Clear the memory: the next pair is the first."""
        self._state = None

    def steady(self, pair: FramePair, prediction: Prediction) -> Steadied:
        """
        Steady the prediction of the stream's next pair, and remember it.

        A remembered label brings its strength as confidence. Without a confidence, every new label
        counts as certain. `prediction` itself is not changed.
        """
        new = _State(
            guides_of(pair), prediction.labels, _strength(prediction), luma(prediction.fused)
        )
        last, change = self._state, self._change(new)
        if isinstance(change, str) or last is None:
            self._state = new
            return Steadied(prediction, cast(Reset, change), 0.0)
        old, trusted = _recalled(last, change)
        kept, strength, opposed = _decide(new, old, trusted)
        labels, confidence = _with_kept(prediction, old.labels, opposed, kept)
        fused, brightness = _steady_luma(prediction.fused, new.luma, old.luma, trusted)
        self._state = _State(new.guides, labels, strength, brightness)
        used = cv2.countNonZero(trusted) / trusted.size
        return Steadied(Prediction(fused, labels, confidence), None, used)

    def _change(self, new: _State) -> Change | Reset:
        """How the picture changed since the last pair, or why that does not count."""
        last = self._state
        if last is None:
            return "start"
        if last.luma.shape != new.luma.shape:
            return "size"
        change = self._motion.change(new.guides, last.guides)
        return "cut" if change.new_share > CUT_SHARE else change


def _strength(prediction: Prediction) -> Bytes:
    if prediction.confidence is None:
        return np.full_like(_reduced(prediction.labels), 255)
    return _reduced(prediction.confidence)


def _recalled(last: _State, change: Change) -> tuple[_State, Bytes]:
    """The last state in the view of the new pair, and 255 where it counts, at `REDUCTION`."""
    flow = enlarged(change.flow, last.labels.shape)
    old = _State(
        last.guides,
        warped(last.labels, flow, nearest_or=IGNORE),
        warped(last.strength, enlarged(change.flow, last.strength.shape), nearest_or=0),
        warped(last.luma, flow),
    )
    inside = cv2.inRange(_reduced(old.labels), 0, IGNORE - 1)
    size = last.strength.shape[::-1]
    novel = cv2.resize(change.novel, size, interpolation=cv2.INTER_NEAREST)
    trusted = cv2.subtract(inside, novel)
    return old, cast(Bytes, trusted)


def _decide(new: _State, old: _State, trusted: Bytes) -> tuple[Bytes, Bytes, Bytes]:
    """
    Which remembered labels stay against other new ones: 255 there, (H, W).

    Also the strength to remember, and that which is left to labels that stay, at `REDUCTION`.
    """
    stronger = cv2.compare(old.strength, cv2.LUT(new.strength, YIELDS_TO), cv2.CMP_GT)
    able = cast(Bytes, cv2.bitwise_and(stronger, trusted))
    may_stay = _doubled(able, new.labels.shape)
    inside = cv2.inRange(old.labels, 0, IGNORE - 1)
    other = cv2.bitwise_and(cv2.compare(new.labels, old.labels, cv2.CMP_NE), inside)
    kept = cv2.bitwise_and(other, may_stay)
    same = cv2.compare(_reduced(new.labels), _reduced(old.labels), cv2.CMP_EQ)
    confirmed = cv2.addWeighted(old.strength, OLD_LABELS, new.strength, 1 - OLD_LABELS, 0)
    opposed = cv2.addWeighted(old.strength, OLD_LABELS, new.strength, -OPPOSED, 0)
    strength = new.strength.copy()
    cv2.copyTo(confirmed, cv2.bitwise_and(same, trusted), strength)
    # One pixel that stays is enough: else the others would hide that it was opposed.
    size = strength.shape[::-1]
    any_kept = cv2.inRange(cv2.resize(kept, size, interpolation=cv2.INTER_AREA), 1, 255)
    cv2.copyTo(np.minimum(opposed, DOUBTED), any_kept, strength)
    return cast(Bytes, kept), strength, cast(Bytes, opposed)


def _with_kept(
    prediction: Prediction, old: Bytes, opposed: Bytes, kept: Bytes
) -> tuple[Bytes, Bytes | None]:
    """Labels and confidence (H, W), with the remembered ones where they are kept."""
    labels = prediction.labels.copy()
    cv2.copyTo(old, kept, labels)
    if prediction.confidence is None:
        return labels, None
    confidence = prediction.confidence.copy()
    cv2.copyTo(_doubled(opposed, labels.shape), kept, confidence)
    return labels, confidence


def _steady_luma(
    fused: Bytes, brightness: Bytes, old: Bytes, trusted: Bytes
) -> tuple[Bytes, Bytes]:
    """
    Fused (H, W, 3) with its luma drawn to the remembered one if that is near, and its luma.

    All three channels change alike, so that the hue stays.
    """
    where = _doubled(trusted, brightness.shape)
    pull = cv2.bitwise_and(cv2.LUT(cv2.absdiff(old, brightness), PULL), where)
    brighter = cv2.bitwise_and(pull, cv2.compare(old, brightness, cv2.CMP_GT))
    darker = cv2.subtract(pull, brighter)
    steadied = cv2.subtract(
        cv2.add(fused, cv2.cvtColor(brighter, cv2.COLOR_GRAY2RGB)),
        cv2.cvtColor(darker, cv2.COLOR_GRAY2RGB),
    )
    return cast(Bytes, steadied), cast(Bytes, cv2.subtract(cv2.add(brightness, brighter), darker))


def _reduced(plane: Bytes) -> Bytes:
    return np.ascontiguousarray(plane[::REDUCTION, ::REDUCTION])


def _doubled(plane: Bytes, shape: tuple[int, ...]) -> Bytes:
    """A plane at `REDUCTION` as one (H, W); a sixth of the time of `cv2.resize`."""
    rows, columns = plane.shape
    twice = (plane.astype(np.uint16) * 257).view(np.uint8)  # both bytes are the pixel
    doubled = np.empty((rows, REDUCTION, REDUCTION * columns), np.uint8)
    doubled[:] = twice[:, None]
    return doubled.reshape(REDUCTION * rows, -1)[: shape[0], : shape[1]]
