"""Picture quality against frames whose faults are made by hand."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from segmif.frames import FramePair, Prediction
from segmif.imaging.luma import luma
from training.evaluation.fusion_quality import flicker, measure, noise_gain, overshoot

Frame = NDArray[np.uint8]


def step() -> Frame:
    """Dark on the left, bright on the right."""
    frame = np.full((64, 96), 60, np.uint8)
    frame[:, 48:] = 180
    return frame


def noise(deviation: float, seed: int = 0) -> Frame:
    """Around level 30."""
    draw = np.random.default_rng(seed).normal(30, deviation, (64, 96))
    return np.clip(np.rint(draw), 0, 255).astype(np.uint8)


def grey(frame: Frame) -> Frame:
    return np.repeat(frame[..., None], 3, axis=2)


def keep_visible(pair: FramePair) -> Prediction:
    return Prediction(pair.visible, np.zeros_like(pair.infrared))


def test_overshoot_begins_outside_the_range_of_both_sources() -> None:
    fused = step()
    fused[10, 10], fused[20, 20], fused[30, 80] = 70, 53, 190
    outside = overshoot(step(), np.full((64, 96), 65, np.uint8), fused)
    assert {int(outside[10, 10]), int(outside[20, 20]), int(outside[30, 80])} == {5, 7, 10}
    assert np.count_nonzero(outside) == 3


def test_a_mean_has_no_halo_and_a_sharpened_edge_has() -> None:
    visible, infrared = step(), step().T[:64, :64].repeat(2, 1)[:, :96]
    mean = ((visible.astype(int) + infrared) // 2).astype(np.uint8)
    assert not overshoot(visible, infrared, mean).any()
    rimmed = visible.copy()
    rimmed[:, 48:51] = 200
    assert overshoot(visible, visible, rimmed)[:, 48:51].min() == 20


def test_noise_gain_is_what_the_noise_was_multiplied_by() -> None:
    still = np.full((64, 96), 30, np.uint8)
    assert noise_gain(noise(1), still, noise(1)) == pytest.approx(1)
    loud = (noise(1).astype(int) * 3 - 60).astype(np.uint8)  # about 30 again
    assert noise_gain(noise(1), still, loud) == pytest.approx(3)
    # whole levels have a noise of their own: a still source does not make the gain infinite
    assert noise_gain(still, still, noise(1)) == pytest.approx(12**0.5, rel=0.1)


def test_noise_is_not_judged_in_light_or_texture() -> None:
    assert math.isnan(noise_gain(noise(1) + np.uint8(100), noise(1), noise(1)))
    assert math.isnan(noise_gain(noise(25), noise(1), noise(1)))


def test_fusion_pixel_by_pixel_follows_and_does_not_flicker() -> None:
    pair = FramePair(grey(noise(2)), noise(2, seed=1))
    assert flicker(keep_visible, pair, keep_visible(pair)) == (0, 1, 0)


def test_what_depends_on_the_place_flickers() -> None:
    """A network that knows even from odd columns."""

    def striped(pair: FramePair) -> Prediction:
        fused, labels = pair.visible.copy(), np.zeros_like(pair.infrared)
        fused[:, ::2] += 10
        labels[:, ::2] = 1
        return Prediction(fused, labels)

    pair = FramePair(grey(noise(2)), noise(2, seed=1))
    moved, lit, relabelled = flicker(striped, pair, striped(pair))
    assert (moved, lit) == (10, 1)
    assert relabelled == pytest.approx(1 / 3)  # all pixels in one trial of three


def test_a_copy_of_one_source_is_without_fault() -> None:
    pair = FramePair(grey(noise(2)), noise(1, seed=1))
    found = measure(keep_visible, pair, keep_visible(pair))
    assert (found.halo_p95, found.halo_share, found.relabelled) == (0, 0, 0)
    assert found.noise_gain == pytest.approx(1)
    assert (luma(pair.visible) == noise(2)).all()
