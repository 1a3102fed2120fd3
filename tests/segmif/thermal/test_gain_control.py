"""Counts to levels."""

import numpy as np
import pytest

from segmif.thermal.gain_control import Window, percentile_window, to_8bit


def test_window_leaves_a_percent_on_either_side() -> None:
    counts = np.random.default_rng(0).permutation(np.arange(20_000, dtype=np.uint16) + 7_000)
    window = percentile_window(counts.reshape(100, 200))
    assert np.mean(counts < window.low) == pytest.approx(0.01, abs=1e-3)
    assert np.mean(counts > window.high) == pytest.approx(0.01, abs=1e-3)


def test_one_dead_pixel_changes_nothing_else() -> None:
    scene = np.random.default_rng(1).integers(29_000, 31_000, (48, 64)).astype(np.uint16)
    dead = scene.copy()
    dead[3, 4] = 65_535
    levels, with_dead = (to_8bit(frame, percentile_window(frame)) for frame in (scene, dead))
    assert np.abs(levels.astype(int) - with_dead)[np.arange(48) != 3].max() <= 1


def test_levels_are_linear_between_black_and_white() -> None:
    counts = np.array([[0, 1000, 1500, 2000, 65_535]], np.uint16)
    assert to_8bit(counts, Window(1000, 2000)).tolist() == [[0, 0, 128, 255, 255]]


def test_a_frame_without_contrast_is_black_not_noise() -> None:
    flat = np.full((4, 4), 30_000, np.uint16)
    assert to_8bit(flat, percentile_window(flat)).max() == 0


def test_an_empty_window_is_refused() -> None:
    with pytest.raises(ValueError, match="shows nothing"):
        Window(500, 500)
