"""Only measurements steer the gain: scenes of all depths, with what cameras and files put in."""

import os
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from segmif.frames import FramePair
from segmif.imaging.codecs import (
    decode_infrared,
    decode_visible,
    infrared_levels,
    read_infrared,
    read_visible,
)
from segmif.imaging.sensor_format import has_telemetry, seems_swapped
from segmif.runtime import Runtime, open_runtime, predict
from segmif.thermal.camera_profile import CameraProfile
from segmif.thermal.gain_control import GainRule, GainState, apply_gain, percentile_window, to_8bit
from segmif.thermal.gain_window import OBJECT_LEVELS, Window, histogram_of, percentiles
from segmif.thermal.invalid_counts import find_invalid

Counts = NDArray[np.uint16]
Chosen = NDArray[np.bool_]

SHAPE = (120, 160)
# bits and span [counts] of scenes
DEPTHS = [(8, 30), (8, 250), (10, 300), (12, 30), (14, 1500), (14, 12_000), (16, 300), (16, 30_000)]
SAMPLES = Path("service/web/samples")


def scene(bits: int, span: int, seed: int) -> Counts:
    """A scene with hills, edges and noise somewhere in the range of the sensor."""
    random = np.random.default_rng([bits, span, seed])
    height, width = SHAPE
    hills = sum(
        side * cv2.GaussianBlur(random.normal(0, 1, SHAPE), (0, 0), side)
        for side in (2.0, 6.0, 15.0)
    )
    values = np.asarray(hills, np.float64)
    for _ in range(12):
        y, x = random.integers(0, height), random.integers(0, width)
        part = np.s_[y : y + random.integers(4, 24), x : x + random.integers(4, 32)]
        values[part] += random.normal(0, 1.5) * hills.std()  # type: ignore[union-attr]
    values = (values - values.min()) / np.ptp(values)
    base = random.integers(0, 2**bits - span) * (span < 2**bits - 1)
    counts = base + values * span + random.normal(0, 0.005 * span, SHAPE)
    return np.asarray(counts.round().clip(0, 2**bits - 1), np.uint16)


def scattered(random: np.random.Generator) -> Chosen:
    return np.asarray(random.random(SHAPE) < 0.1)


def border(random: np.random.Generator) -> Chosen:
    return np.pad(
        np.zeros((SHAPE[0] - 6, SHAPE[1] - 8), bool), ((3, 3), (4, 4)), constant_values=True
    )


def rows(random: np.random.Generator) -> Chosen:
    chosen = np.zeros(SHAPE, bool)
    chosen[random.choice(SHAPE[0], SHAPE[0] // 10, replace=False)] = True
    return chosen


def strip(random: np.random.Generator) -> Chosen:
    return np.repeat(np.arange(SHAPE[0]) >= 0.9 * SHAPE[0], SHAPE[1]).reshape(SHAPE)


def rotated(random: np.random.Generator) -> Chosen:
    height, width = SHAPE
    turn = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), 6, 1)
    return np.asarray(cv2.warpAffine(np.ones(SHAPE, np.uint8), turn, (width, height)) == 0)


SHAPES = [scattered, border, rows, strip, rotated]


@pytest.mark.parametrize("value", ["zero", "highest", "noise"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("bits", "span"), DEPTHS)
def test_a_tenth_of_the_pixels_without_measurement_does_not_move_the_window(
    bits: int, span: int, shape: Any, value: str
) -> None:
    random = np.random.default_rng([bits, span])
    counts = scene(bits, span, seed=1)
    chosen = shape(random)
    low, high = np.percentile(counts[~chosen], [1, 99])  # of what is left of the scene
    values = {"zero": 0, "highest": 65_535}
    counts[chosen] = values.get(value, random.integers(0, 65_536, np.count_nonzero(chosen)))
    window = percentile_window(counts)
    off = max(abs(window.low - low), abs(window.high - high))
    assert off <= max(0.05 * (high - low), 1)
    assert find_invalid(counts).share == pytest.approx(chosen.mean(), abs=0.09)


def objects(counts: Counts, seed: int) -> Iterator[tuple[float, int, Chosen]]:
    """Share of the frame, level [counts] and place of objects far above and below a scene."""
    random = np.random.default_rng(seed)
    low, high = int(counts.min()), int(counts.max())
    span = high - low
    near = [high + span * 4 // 5, high + span * 3 // 2, low - span * 3 // 2]
    levels = [*near, high + 30 * span, 65_535, 0]
    for share, level in product((0.002, 0.01, 0.03, 0.1), levels):
        if not 0 <= level <= 65_535:
            continue
        radius = np.sqrt(share * counts.size / np.pi) + 0.5
        y, x = (random.uniform(radius * 0.8, side - radius * 0.8) for side in SHAPE)
        rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
        yield share, level, np.hypot(rows - y, columns - x) <= radius


@pytest.mark.parametrize("noise", [0, 0.03])
@pytest.mark.parametrize(("bits", "span"), [(14, 300), (14, 3000), (16, 60), (16, 3000)])
def test_an_object_is_valid_and_leaves_the_scene_its_contrast(
    bits: int, span: int, noise: float
) -> None:
    clean = scene(bits, span, seed=2)
    random = np.random.default_rng(span)
    for share, level, place in objects(clean, span):
        counts = clean.copy()
        heat = level + random.normal(0, noise * span, np.count_nonzero(place))
        counts[place] = heat.round().clip(0, 65_535)
        validity = find_invalid(counts)
        invalid = validity.invalid
        words = f"{share} of the frame at {level}"
        assert invalid is None or (invalid[place] > 0).mean() < 0.02, words
        levels = apply_gain(counts, GainRule(), validity=validity).pixels.astype(float)
        near = cv2.dilate(place.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        around = levels[near & ~place].mean()
        assert abs(levels[place].mean() - around) >= 255 / 5, words
        low, high = np.percentile(levels[~place], [1, 99])
        assert high - low >= 0.7 * 255, words


@pytest.mark.parametrize(("full", "rise"), [(65_535, 1), (0, -1)])
def test_an_object_cut_by_the_frame_that_saturates_in_part_is_valid(full: int, rise: int) -> None:
    counts = scene(14, 1500, seed=3)
    height = counts.shape[0]
    # Four times as long as deep: of one value throughout, it would be a border without data.
    rows, columns = np.ogrid[:height, : counts.shape[1]]
    place = np.hypot((rows - height / 2) / 40, columns / 20) <= 1
    heat = full + rise * (np.broadcast_to(rows, counts.shape)[place] - height / 2) * 40
    counts[place] = heat.clip(0, 65_535)
    assert 0.4 < (counts[place] == full).mean() < 0.6
    assert find_invalid(counts).share < 0.001
    levels = apply_gain(counts, GainRule()).pixels.astype(float)
    around = cv2.dilate(place.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    assert abs(levels[place].mean() - levels[around & ~place].mean()) >= 255 / 5


@pytest.mark.parametrize("side", [1, -1])
def test_an_object_less_than_a_span_away_differs_from_a_scene_that_is_nearly_as_hot(
    side: int,
) -> None:
    rows, columns = np.ogrid[:120, :160]
    counts = 8000 + side * (10 * columns + 0 * rows)
    place = np.hypot(rows - 60, columns - 140) <= 6  # 0.6 % of the pixels
    counts[place] = 8000 + side * 1590 * 9 // 5
    levels = apply_gain(counts.astype(np.uint16), GainRule()).pixels.astype(float)
    assert abs(levels[place].mean() - levels[54:67, 128:132].mean()) >= 255 / 5


def test_what_is_not_measured_takes_the_level_of_its_neighbours() -> None:
    counts = scene(14, 1500, seed=3)
    plain = apply_gain(counts, GainRule()).pixels
    dead = counts.copy()
    chosen = np.random.default_rng(0).random(SHAPE) < 0.011
    dead[chosen] = np.where(np.arange(np.count_nonzero(chosen)) % 2, 0, 65_535)
    found = apply_gain(dead, GainRule())
    assert np.abs(found.pixels.astype(int) - plain)[chosen].mean() < 12
    assert found.invalid_share == pytest.approx(chosen.mean(), abs=1e-3)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.85])
def test_a_camera_that_sees_a_part_of_the_view_has_the_window_of_that_part(share: float) -> None:
    counts = scene(14, 1500, seed=8)
    plain = percentile_window(counts)
    cut = (counts.shape[0] * (1 - np.sqrt(1 - share)) / 2).round().astype(int)
    inner = np.s_[cut:-cut, cut * 4 // 3 : -cut * 4 // 3]
    seen = cv2.resize(counts, counts[inner].shape[::-1], interpolation=cv2.INTER_NEAREST)
    framed = np.zeros_like(counts)
    framed[inner] = seen
    window = percentile_window(framed)
    off = max(abs(window.low - plain.low), abs(window.high - plain.high))
    assert off < 0.05 * (plain.high - plain.low)
    assert find_invalid(framed).share == pytest.approx((framed == 0).mean(), abs=0.01)


@pytest.mark.parametrize("factor", [1, 16, 257])
def test_black_and_white_of_a_clipped_picture_are_measurements(factor: int) -> None:
    levels = scene(8, 250, seed=7).astype(int)
    counts = ((levels - 128) * 5 + 128).clip(0, 255) * factor
    assert (counts == 0).mean() > 0.02 and (counts == counts.max()).mean() > 0.02
    assert find_invalid(counts.astype(np.uint16)).share < 0.003


def test_a_frame_at_the_top_of_16_bit_with_a_few_other_pixels_has_the_narrowest_window() -> None:
    random = np.random.default_rng(1)
    shown = random.random((64, 64)) < 0.99
    counts = np.where(shown, 65535, random.integers(0, 65536, (64, 64))).astype(np.uint16)
    window = apply_gain(counts, GainRule()).window
    assert window and (window.low, window.high) == (65535, 65536)


@pytest.mark.parametrize("few", [True, False], ids=["few", "beyond exact floats"])
@pytest.mark.parametrize(("bits", "span"), DEPTHS)
def test_what_is_fast_gives_what_the_plain_formulas_give(
    bits: int, span: int, few: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not few:
        monkeypatch.setattr("segmif.thermal.gain_window.EXACT_FLOATS", 0)
    counts = scene(bits, span, seed=3)
    counts[::7, ::5], counts[5::9, ::11] = 0, 2**16 - 1
    chosen = (counts % 3 > 0).astype(np.uint8)
    for mask, values in ((None, counts), (chosen, counts[chosen > 0])):
        plain = np.bincount(values.ravel(), minlength=2**16)
        histogram = histogram_of(counts, mask)
        np.testing.assert_array_equal(histogram, plain)
        shares = np.cumsum(plain) * (100.0 / plain.sum())
        for low, high in ((1, 99), (50, 50), (0, 100)):
            limits = [max(low, 1e-9), high - 1e-9]
            assert percentiles(histogram, low, high) == tuple(np.searchsorted(shares, limits))
    low_count, high_count = np.percentile(counts, (10, 90)) + 0.25
    window = Window(float(low_count), float(high_count))
    levels = (counts.astype(np.float32) - window.low) * (255.0 / (window.high - window.low))
    np.testing.assert_array_equal(to_8bit(counts, window), np.rint(levels.clip(0, 255)))


def test_stated_values_are_invalid_in_8_bit_and_none_else() -> None:
    levels = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
    np.testing.assert_array_equal(infrared_levels(levels).pixels, levels)
    stated = infrared_levels(levels, profile=CameraProfile(invalid=(0, 255)))
    assert stated.invalid_share == 2 / 256
    assert stated.pixels[:, 0].max() < 4 and stated.pixels[:, 255].min() > 250
    black_hot = infrared_levels(levels, profile=CameraProfile(polarity="black_hot"))
    np.testing.assert_array_equal(black_hot.pixels, 255 - levels)


def test_stated_bits_and_counts_are_no_measurement() -> None:
    counts = scene(14, 1500, seed=4)
    counts[50:60, 70:90] = 20_000  # connected, as an object
    assert find_invalid(counts).share == 0
    for profile in (CameraProfile(bits=14), CameraProfile(invalid=(20_000,))):
        assert find_invalid(counts, profile).share == pytest.approx(200 / counts.size)


def test_a_jump_is_judged_before_it_enters_the_window() -> None:
    counts = scene(14, 1500, seed=5).astype(int)
    counts = counts - counts.min() + 3000
    state: GainState | None = None
    lows: list[float] = []
    # an odd frame, then the scene again, then another scene that stays
    for shift in (0, 0, 6000, 0, 600, 600, 600, 600, 600):
        gained = apply_gain((counts + shift).astype(np.uint16), GainRule(smoothing=0.9), state)
        assert gained.window
        state = gained.state
        lows.append(round(gained.window.low - lows[0]) if lows else gained.window.low)
    assert lows[1:] == [0, 6000, 0, 600, 600, 600, 600, 600]


def test_something_hot_comes_into_view_slowly() -> None:
    counts = scene(14, 1500, seed=6)
    state = apply_gain(counts, GainRule(smoothing=0.9)).state
    hot = counts.copy()
    hot[40:70, 50:90] = 16_000
    shown = apply_gain(hot, GainRule(smoothing=0.9), state)
    assert shown.window and shown.window.hot
    assert shown.window.hot.levels == pytest.approx(0.1 * OBJECT_LEVELS)
    for _ in range(60):
        shown = apply_gain(hot, GainRule(smoothing=0.9), shown.state)
    assert shown.window and shown.window.hot and shown.window.hot.levels > 0.95 * OBJECT_LEVELS


def test_swapped_bytes_are_noticed_by_what_neighbours_differ() -> None:
    for name in ("day", "night", "glare"):
        sample = decode_infrared((SAMPLES / name / "infrared.png").read_bytes())
        counts = (29_000 + 6 * sample.astype(np.uint16)).astype(np.uint16)
        assert not seems_swapped(counts)
        assert seems_swapped(counts.byteswap())
        for factor in (256, 257):
            plain = (sample.astype(np.uint16) * factor).astype(np.uint16)
            assert not seems_swapped(plain) and not seems_swapped(plain.byteswap())
    noise = np.random.default_rng(0).integers(0, 65_536, SHAPE).astype(np.uint16)
    assert not seems_swapped(noise)


def plain_scenes(shape: tuple[int, int], seed: int) -> Iterator[Counts]:
    """Frames of few levels, gradients, textures and noise, at places that cross high bytes."""
    random = np.random.default_rng([*shape, seed])
    y, x = np.mgrid[: shape[0], : shape[1]]
    disc = (np.hypot(x - shape[1] / 3, y - shape[0] / 2) < shape[0] / 4).astype(np.float64)
    ramp = (x + 0.5 * y) / (shape[1] + 0.5 * shape[0])
    coarse = np.kron(random.random((-(-shape[0] // 4), -(-shape[1] // 4))), np.ones((4, 4)))
    pictures = {
        "flat": 0 * disc,
        "two levels": disc,
        "blurred edge": cv2.GaussianBlur(disc, (0, 0), 0.8),
        "gradient": ramp,
        "cells": coarse[: shape[0], : shape[1]],
        "noise": random.random(shape),
    }
    for picture, span, noise in product(pictures.values(), (30, 2800, 30_000), (0, 1.5)):
        multiple = 256 * int(random.integers(1, 256 - span // 256))
        base = int(np.clip(multiple - random.integers(0, span), 0, 65_535 - span))
        counts = base + span * picture + random.normal(0, 1, shape) * noise
        yield np.asarray(counts.round().clip(0, 65_535), np.uint16)


@pytest.mark.parametrize("shape", [(8, 8), (24, 32), (120, 160), (512, 640)])
def test_a_frame_in_order_never_seems_swapped(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(1)
    for number, counts in enumerate(plain_scenes(shape, seed=1)):
        assert not seems_swapped(counts), number
        odd = random.integers(0, counts.size, counts.size // 20 + 1)
        counts.flat[odd] = (
            random.integers(0, 65_536, odd.size) if number % 2 else 65_535 * (number % 4 == 0)
        )
        assert not seems_swapped(counts), number


@pytest.mark.parametrize("noise", [0, 0.3, 1, 5])
@pytest.mark.parametrize("blur", [0, 0.8])
def test_two_levels_half_the_range_apart_never_seem_swapped(noise: float, blur: float) -> None:
    random = np.random.default_rng(2)
    rows, columns = np.ogrid[:60, :80]
    disc = (np.hypot(rows - 30, columns - 40) < 15).astype(np.float64)
    picture = cv2.GaussianBlur(disc, (0, 0), blur) if blur else disc
    # Swapped, these two are neighbours.
    for low, high in ((0x0180, 0xF07F), (0x1001, 0xA000), (0x00FF, 0xFFFE)):
        counts = low + (high - low) * picture + random.normal(0, 1, picture.shape) * noise
        assert not seems_swapped(counts.round().clip(0, 65_535).astype(np.uint16))


def test_real_counts_seem_swapped_when_they_are_and_never_else() -> None:
    folder = Path(os.environ.get("SEGMIF_DATA", "../shared/data")) / "rig_board/infrared"
    if not folder.is_dir():
        pytest.skip("SEGMIF_DATA holds no rig_board")
    random = np.random.default_rng(3)
    for path in sorted(folder.iterdir()):
        counts = decode_infrared(path.read_bytes()).astype(np.uint16)
        assert not seems_swapped(counts) and seems_swapped(counts.byteswap())
        for side in (8, 16, 32, 64, 128, 256):
            y, x = (int(random.integers(0, most - side + 1)) for most in counts.shape)
            part = counts[y : y + side, x : x + side]
            assert not seems_swapped(part)
            crosses = np.ptp(np.percentile(part, [1, 99]).astype(int) >> 8) > 0
            assert seems_swapped(part.byteswap()) or side < 128 or not crosses


@pytest.mark.parametrize(("share", "value"), [(0.0125, 65_535), (0.0125, 0), (0.1, 0)])
def test_pixels_without_measurement_do_not_make_bytes_seem_swapped(
    share: float, value: int
) -> None:
    night = decode_infrared((SAMPLES / "night" / "infrared.png").read_bytes())
    random = np.random.default_rng(0)
    for base, step in product((7000, 29_000), (1, 3, 6)):
        counts = (base + step * night.astype(np.uint16)).astype(np.uint16)
        counts[random.random(counts.shape) < share] = value
        assert not seems_swapped(counts), (base, step)


@pytest.mark.parametrize(
    ("width", "height", "rows"),
    [
        *((256, 196, 1), (160, 122, 1), (640, 514, 1), (80, 63, 1), (320, 258, 1), (336, 258, 1)),
        *((384, 290, 1), (256, 384, 1), (256, 192, 0), (640, 480, 0), (640, 512, 0), (320, 256, 0)),
        *((1280, 960, 0), (96, 64, 0), (500, 330, 0), (320, 480, 0), (256, 392, 1)),
    ],
)
def test_known_sensors_with_rows_too_many_are_recognised(
    width: int, height: int, rows: int
) -> None:
    assert has_telemetry((height, width)) == bool(rows)


def test_the_samples_keep_their_window() -> None:
    for name in ("day", "night", "glare"):
        sample = decode_infrared((SAMPLES / name / "infrared.png").read_bytes())
        counts = (29_000 + 6 * sample.astype(np.uint16)).astype(np.uint16)
        ordered = np.sort(counts, axis=None)
        window = percentile_window(counts)
        low, high = (float(ordered[int(share * ordered.size)]) for share in (0.01, 0.99))
        assert window == Window(low, high)
        assert (
            decode_visible((SAMPLES / name / "visible.png").read_bytes()).shape[:2] == counts.shape
        )


NIGHTS = ("night", "glare")


@cache
def network(name: str) -> Runtime:
    return open_runtime(Path(f"weights/{name}.onnx"), threads=1)


def persons(visible: NDArray[np.uint8], infrared: NDArray[np.uint8], name: str = "nano") -> Chosen:
    return np.asarray(predict(network(name), FramePair(visible, infrared)).labels == 2)


def agreement(first: Chosen, second: Chosen, where: Chosen) -> float:
    """Intersection over union of two masks."""
    both, either = (first & second & where).sum(), ((first | second) & where).sum()
    return float(both / either)


def night_pairs() -> Iterator[Any]:
    for name in NIGHTS:
        yield pytest.param(SAMPLES / name / "visible.png", SAMPLES / name / "infrared.png", id=name)
    frames = Path(os.environ.get("SEGMIF_DATA", "../shared/data")) / "mfnet/val"
    names = ("00706N", "00714N")
    for visible, infrared in (
        (frames / s / f"{n}.png" for s in ("visible", "infrared")) for n in names
    ):
        skip = pytest.mark.skipif(not visible.is_file(), reason="SEGMIF_DATA holds no mfnet/val")
        yield pytest.param(visible, infrared, marks=skip, id=visible.stem)


@pytest.mark.parametrize(("visible_path", "infrared_path"), list(night_pairs()))
def test_persons_stay_with_a_turned_frame_and_dead_pixels(
    visible_path: Path, infrared_path: Path
) -> None:
    visible, counts = as_counts(visible_path, infrared_path)
    found = persons(visible, levels_of(counts))
    everywhere = np.ones(counts.shape, bool)
    dead = counts.copy()
    chosen = np.random.default_rng(0).random(counts.shape) < 0.011
    dead[chosen] = np.where(np.arange(np.count_nonzero(chosen)) % 2, 0, 65_535)
    assert agreement(found, persons(visible, levels_of(dead)), everywhere) > 0.95
    height, width = counts.shape
    turn = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), 3, 1)
    seen = cv2.warpAffine(np.ones(counts.shape, np.uint8), turn, (width, height)) > 0
    border = np.asarray(cv2.warpAffine(counts, turn, (width, height)), np.uint16)
    whole = cv2.warpAffine(counts, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    colours = cv2.warpAffine(visible, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    turned = np.asarray(colours, np.uint8)
    right = persons(turned, levels_of(np.asarray(whole, np.uint16)))
    assert agreement(right, persons(turned, levels_of(border)), seen) > 0.93


@pytest.mark.parametrize("name", ["nano", "edge"])
@pytest.mark.parametrize(("visible_path", "infrared_path"), list(night_pairs()))
def test_persons_stay_beside_something_hot(
    visible_path: Path, infrared_path: Path, name: str
) -> None:
    visible, counts = as_counts(visible_path, infrared_path)
    hot = counts.copy()
    hot[20:110, 480:620] = 50_000  # 4 % of the frame
    where = ~np.pad(np.ones((90 + 40, 160), bool), ((0, 350), (470, 10)))
    found, beside = (persons(visible, levels_of(each), name) for each in (counts, hot))
    assert (beside & where).sum() == pytest.approx((found & where).sum(), rel=0.1)


def as_counts(visible_path: Path, infrared_path: Path) -> tuple[NDArray[np.uint8], Counts]:
    """Visible, and infrared as counts of 16 bit that span a part of the range."""
    levels = read_infrared(infrared_path).astype(np.uint16)
    return read_visible(visible_path), (29_000 + 6 * levels).astype(np.uint16)


def levels_of(counts: Counts) -> NDArray[np.uint8]:
    return apply_gain(counts, GainRule()).pixels
