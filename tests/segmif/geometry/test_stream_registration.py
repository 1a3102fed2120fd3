"""The registration of a stream: what it finds in a few pairs, and what it leaves alone."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from segmif.geometry.stream.registration import Registered, StreamRegistration
from segmif.geometry.stream.surfaces import REACH, SIDE, TILE, Tiles, surfaces

HEIGHT, WIDTH, PAN = 240, 320, 2
Bytes = NDArray[np.uint8]


def street(seed: int) -> Bytes:
    """A view (HEIGHT, 2 * WIDTH) of plain shapes on a rough ground."""
    random = np.random.default_rng(seed)
    view = random.integers(90, 110, (HEIGHT, 2 * WIDTH)).astype(np.uint8)
    for _ in range(120):
        x, y = int(random.integers(2 * WIDTH)), int(random.integers(HEIGHT))
        corner = x + int(random.integers(10, 50)), y + int(random.integers(10, 50))
        cv2.rectangle(view, (x, y), corner, int(random.integers(256)), -1)
    return cv2.GaussianBlur(view, (3, 3), 0.8).astype(np.uint8)


class Cameras:
    """Two cameras that pan over a street; infrared shows it inverted, with noise, and off."""

    def __init__(self, seed: int = 0, *, other: int | None = None) -> None:
        self.visible = street(seed)
        self.infrared = 255 - street(seed if other is None else other)
        self.random, self.frame = np.random.default_rng(seed), 0

    def pair(self, off: tuple[float, float], near: float = 0) -> tuple[Bytes, Bytes]:
        """The next pair; below its middle, infrared is `near` px further to the right."""
        view = slice(PAN * self.frame, PAN * self.frame + WIDTH)
        self.frame += 1
        colour, heat = self.visible[:, view], self.infrared[:, view]
        moved = shifted(heat, off)
        if near:
            moved[HEIGHT // 2 :] = shifted(heat, (off[0] + near, off[1]))[HEIGHT // 2 :]
        noise = (each + self.random.normal(0, 2, each.shape) for each in (colour, moved))
        shown = [np.ascontiguousarray(each.clip(0, 255).astype(np.uint8)) for each in noise]
        return shown[0], shown[1]


def shifted(plane: Bytes, by: tuple[float, float]) -> Bytes:
    there = np.array([[1, 0, by[0]], [0, 1, by[1]]], np.float64)
    return np.asarray(cv2.warpAffine(plane, there, plane.shape[::-1]), np.uint8)


def displacement(found: Registered) -> NDArray[np.float32]:
    """(HEIGHT, WIDTH, 2) px."""
    return np.asarray(cv2.resize(found.field, (WIDTH, HEIGHT)))


def test_the_agreement_of_a_tile_is_the_sum_of_products_at_every_shift() -> None:
    tiles, random = Tiles.of((64, 48)), np.random.default_rng(0)
    visible, infrared = random.standard_normal((2, 48, 64, 2)).astype(np.float32)
    found = surfaces(visible, infrared, tiles, np.arange(tiles.count))
    padded = np.pad(infrared, ((REACH, REACH), (REACH, REACH), (0, 0)))
    for number in range(tiles.count):
        x, y = tiles.corner(number)
        tile = visible[y : y + TILE, x : x + TILE]
        plain = np.empty((SIDE, SIDE))
        for down, right in np.ndindex(SIDE, SIDE):
            there = padded[y + down : y + down + TILE, x + right : x + right + TILE]
            plain[down, right] = (tile * there).sum()
        np.testing.assert_allclose(found[number], plain - plain.mean(), atol=1e-3)


def test_infrared_that_is_off_is_brought_back_and_a_drift_is_followed() -> None:
    registration, cameras = StreamRegistration(), Cameras()
    for off in np.linspace(12, 17, 11):
        visible, infrared = cameras.pair((off, -off / 2))
        found = registration.see(visible, infrared)
        assert found.standing == "found" and found.applied and found.confidence > 0.9
        error = np.median(np.hypot(*np.moveaxis(displacement(found) - (off, -off / 2), -1, 0)))
        assert error < 2
    inner = np.s_[40:-40, 40:-40]
    apart, mended = (
        np.abs(255 - each[inner].astype(int) - visible[inner]).mean()
        for each in (infrared, found.apply(infrared))
    )
    assert mended < apart / 3
    assert found.apply(infrared.astype(np.uint16) * 257, nearest=True).dtype == np.uint16


def test_what_is_near_has_a_shift_of_its_own() -> None:
    registration, cameras = StreamRegistration(), Cameras(3)
    for _ in range(8):
        found = registration.see(*cameras.pair((4, 0), near=8))
    across = displacement(found)[..., 0]
    assert np.median(across[: HEIGHT // 2 - 40]) == pytest.approx(4, abs=1.5)
    assert np.median(across[HEIGHT // 2 + 40 :]) == pytest.approx(12, abs=1.5)


def test_a_rig_that_moves_after_it_stood_still_is_followed() -> None:
    registration, cameras = StreamRegistration(), Cameras(8)
    for off in (*[10] * 12, 11, 12, 13, *[14] * 7):
        found = registration.see(*cameras.pair((off, 0)))
    assert np.median(displacement(found)[..., 0]) == pytest.approx(14, abs=0.5)


def test_an_aligned_pair_stays_as_it_is() -> None:
    registration, cameras = StreamRegistration(), Cameras(4)
    for _ in range(3):
        visible, infrared = cameras.pair((0, 0))
        found = registration.see(visible, infrared)
        assert found.standing == "found" and not found.applied and found.displacement_px < 1
        assert found.apply(infrared) is infrared


@pytest.mark.parametrize("seed", range(3))
def test_frames_of_different_scenes_are_left_alone(seed: int) -> None:
    registration, cameras = StreamRegistration(), Cameras(seed, other=seed + 10)
    for _ in range(10):
        found = registration.see(*cameras.pair((0, 0)))
        assert found.standing == "none" and not found.applied and found.confidence < 0.5
    assert found.displacement_px == 0 and not found.field.any()


def test_a_picture_that_shows_nothing_keeps_what_is_known_and_says_so() -> None:
    registration, cameras = StreamRegistration(), Cameras(5)
    assert registration.see(*cameras.pair((10, 5))).reset == "start"
    before = registration.see(*cameras.pair((10, 5)))
    assert before.reset is None
    registration.renew()
    blank = np.full((HEIGHT, WIDTH), 90, np.uint8)
    kept = registration.see(blank, blank)
    assert kept.standing == "kept" and kept.confidence < 0.1
    np.testing.assert_allclose(kept.A, before.A, atol=0.5)


def test_another_scene_or_size_begins_anew() -> None:
    registration, other = StreamRegistration(), Cameras(7)
    registration.see(*Cameras(6).pair((0, 0)))
    assert registration.see(*other.pair((0, 0))).reset == "cut"
    half = [np.ascontiguousarray(each[::2, ::2]) for each in other.pair((0, 0))]
    assert registration.see(half[0], half[1]).reset == "size"
    with pytest.raises(ValueError, match="align them first"):
        registration.see(half[0], other.pair((0, 0))[1])


@pytest.mark.parametrize("size", [(1, 1), (7, 90), (33, 33), (90, 1200), (700, 33)])
def test_frames_of_any_size_are_taken(size: tuple[int, int]) -> None:
    registration = StreamRegistration()
    frame = np.random.default_rng(0).integers(0, 256, size).astype(np.uint8)
    for _ in range(2):
        found = registration.see(frame, frame)
        assert found.apply(frame).shape == size
