"""The temporal memory of a stream: what it steadies, and what it must not delay."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from segmif.frames import FramePair, Prediction
from segmif.imaging.luma import luma
from segmif.temporal.memory import Steadied, TemporalMemory

HEIGHT, WIDTH, PAN = 240, 320, 3
PERSON, CAR = 2, 1
Bytes = NDArray[np.uint8]


def street(seed: int) -> Bytes:
    """A textured view (HEIGHT, 2 * WIDTH)."""
    noise = np.random.default_rng(seed).integers(0, 256, (HEIGHT, 2 * WIDTH)).astype(np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 4).astype(np.float32)
    return np.asarray(40 + 160 * (smooth - smooth.min()) / np.ptp(smooth), np.uint8)


class Camera:
    """Shows a street from ever further to the right, with noise, and an object if it is there."""

    def __init__(self, seed: int = 0) -> None:
        self.street, self.random, self.frame = street(seed), np.random.default_rng(seed), 0

    def place(self) -> tuple[slice, slice]:
        """Where the object stands in the frame that is next."""
        return slice(80, 160), slice(150 - PAN * self.frame, 180 - PAN * self.frame)

    def pair(self, heat: int | None = None) -> FramePair:
        """The next pair; an object of that heat stands in it."""
        visible, infrared = self._view(), self._view()
        if heat is not None:
            infrared[self.place()] = heat
        self.frame += 1
        return FramePair(np.dstack([visible] * 3), infrared)

    def _view(self) -> Bytes:
        shown = self.street[:, PAN * self.frame : PAN * self.frame + WIDTH]
        return np.asarray((shown + self.random.normal(0, 2, shown.shape)).clip(0, 255), np.uint8)


def predicted(pair: FramePair, labels: Bytes, confidence: int) -> Prediction:
    """What a network says: the infrared frame as fused picture, and these labels."""
    return Prediction(np.dstack([pair.infrared] * 3), labels, np.full_like(labels, confidence))


def empty() -> Bytes:
    """Labels without an object."""
    return np.zeros((HEIGHT, WIDTH), np.uint8)


def see(memory: TemporalMemory, camera: Camera, label: int, confidence: int = 230) -> Steadied:
    """A pair of a street in which a warm object always stands, labelled so."""
    labels = empty()
    labels[camera.place()] = label
    pair = camera.pair(heat=250)
    shown = memory.steady(pair, predicted(pair, labels, confidence))
    assert set(np.unique(shown.prediction.labels)) <= {0, CAR, PERSON}
    return shown


def share_of(steadied: Steadied, label: int, place: tuple[slice, slice]) -> float:
    """Share of a place that has this label, without its border of 4 px."""
    rows, columns = place
    inside = steadied.prediction.labels[
        rows.start + 4 : rows.stop - 4, columns.start + 4 : columns.stop - 4
    ]
    return float((inside == label).mean())


def test_a_label_that_flickers_for_one_pair_stays() -> None:
    memory, camera = TemporalMemory(), Camera()
    assert see(memory, camera, PERSON).reset == "start"
    see(memory, camera, PERSON)
    place = camera.place()
    flickering = see(memory, camera, CAR)
    assert flickering.reset is None and flickering.used > 0.9
    assert share_of(flickering, PERSON, place) > 0.95
    place = camera.place()
    assert share_of(see(memory, camera, CAR), CAR, place) > 0.95  # it came again


def test_a_label_that_nothing_in_the_picture_explains_waits_longer_if_it_is_unsure() -> None:
    memory, camera = TemporalMemory(), Camera()
    for _ in range(3):
        see(memory, camera, PERSON)
    shares = []
    for _ in range(4):
        place = camera.place()
        shares.append(share_of(see(memory, camera, CAR, confidence=120), CAR, place))
    assert shares[1] < 0.05 and shares[3] > 0.95


def test_an_object_that_enters_is_there_at_once_and_one_that_leaves_is_gone_at_once() -> None:
    memory, camera = TemporalMemory(), Camera()
    for heat in (None, None, 250, 250, None, None):
        labels, place = empty(), camera.place()
        if heat:
            labels[place] = PERSON
        pair = camera.pair(heat)
        shown = memory.steady(pair, predicted(pair, labels, 140))
        assert share_of(shown, PERSON, place) == (1 if heat else 0)


def test_another_scene_leaves_no_ghost_and_another_size_begins_anew() -> None:
    memory, camera, other = TemporalMemory(), Camera(1), Camera(2)
    for _ in range(3):
        see(memory, camera, PERSON)
    pair = other.pair()
    made = predicted(pair, empty(), 140)
    cut = memory.steady(pair, made)
    assert cut.reset == "cut" and cut.used == 0
    np.testing.assert_array_equal(cut.prediction.labels, made.labels)
    np.testing.assert_array_equal(cut.prediction.fused, made.fused)
    half = FramePair(pair.visible[::2, ::2].copy(), pair.infrared[::2, ::2].copy())
    assert memory.steady(half, predicted(half, empty()[::2, ::2], 140)).reset == "size"


def test_fused_luma_is_steadier_and_its_hue_stays() -> None:
    memory, camera = TemporalMemory(), Camera()
    changes, before = [], None
    for _ in range(5):
        pair = camera.pair()
        fused = np.dstack([pair.infrared, pair.infrared // 2, pair.infrared // 4])
        shown = memory.steady(pair, Prediction(fused, empty())).prediction.fused
        if before is not None:
            pairs = (before, (luma(fused), luma(shown)))
            alone, steadied = (
                cv2.absdiff(old[:, PAN:], new[:, :-PAN]).mean()
                for old, new in zip(*pairs, strict=True)
            )
            changes.append(steadied / alone)
            difference = shown.astype(int) - fused
            unclipped = (fused.min(-1) > 20) & (fused.max(-1) < 235)
            assert (np.ptp(difference, axis=-1)[unclipped] == 0).all()
        before = luma(fused), luma(shown)
    assert max(changes) < 0.8


def test_without_a_confidence_there_is_none_and_the_prediction_given_is_untouched() -> None:
    memory, camera = TemporalMemory(), Camera()
    pair, labels = camera.pair(), empty()
    fused = np.dstack([pair.infrared] * 3)
    for array in (fused, labels):
        array.setflags(write=False)
    for _ in range(3):
        shown = memory.steady(pair, Prediction(fused, labels))
        assert shown.prediction.confidence is None


@pytest.mark.parametrize("size", [(1, 1), (4, 1), (1, 4), (7, 9), (90, 122), (33, 640)])
def test_pictures_of_any_size_are_remembered(size: tuple[int, int]) -> None:
    memory, random = TemporalMemory(), np.random.default_rng(0)
    infrared = random.integers(0, 256, size).astype(np.uint8)
    pair = FramePair(np.dstack([infrared] * 3), infrared)
    labels = random.integers(0, 9, size).astype(np.uint8)
    for reset in ("start", None):
        shown = memory.steady(pair, predicted(pair, labels, 200))
        assert shown.reset == reset
        np.testing.assert_array_equal(shown.prediction.labels, labels)
