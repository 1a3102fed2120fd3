"""Metrics against values known by hand, and against an independent implementation's."""

import math
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from segmif.classes import IGNORE
from segmif.imaging.codecs import read_infrared, read_visible
from segmif.imaging.luma import luma
from segmif.metrics import (
    ConfusionMatrix,
    FusionMetrics,
    average_gradient,
    correlations_of_differences,
    edge_preservation,
    entropy,
    fusion_metrics,
    mutual_information,
    spatial_frequency,
    structural_similarity,
    visual_information_fidelity,
)
from segmif.model.color import luma as network_luma

FRAMES = Path(os.environ.get("SEGMIF_DATA", "../shared/data")) / "msrs_test"

Frame = NDArray[np.uint8]


def texture(seed: int = 0) -> Frame:
    return np.random.default_rng(seed).integers(0, 128, (64, 80), np.uint8)


def flat(level: int) -> Frame:
    return np.full((64, 80), level, np.uint8)


def ramp() -> Frame:
    """Two levels more with every column."""
    return np.tile(np.arange(0, 160, 2, dtype=np.uint8), (64, 1))


def waves() -> tuple[Frame, Frame]:
    """A pair of patterns that any implementation can make again."""
    y, x = np.mgrid[:72, :90]
    visible = (x * x + 3 * y * y) // 7 % 256
    return visible.astype(np.uint8), ((5 * x + x * y // 9) % 200).astype(np.uint8)


def test_luma_is_that_of_bt_601_and_of_the_network() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8)
    fixed_point = (rgb @ np.array([9798, 19235, 3735]) + 2**14) >> 15
    np.testing.assert_array_equal(luma(rgb), fixed_point)
    of_network = network_luma(torch.from_numpy(rgb[None]).float())[0]
    assert np.abs(luma(rgb) - of_network.numpy()).max() <= 0.5 + 1e-2


def test_a_constant_frame_tells_nothing() -> None:
    metrics = fusion_metrics(texture(1), texture(2), flat(90))
    assert (metrics.EN, metrics.SD, metrics.SF, metrics.AG, metrics.VIF) == (0, 0, 0, 0, 0)
    # The sources are noise, which agrees with nothing by more than chance; the frame's border
    # against the black outside remains an edge.
    assert [metrics.MI, metrics.SCD, metrics.Qabf, metrics.SSIM] == pytest.approx([0] * 4, abs=0.1)


def test_identical_frames_keep_everything() -> None:
    same = texture()
    found = asdict(fusion_metrics(same, same, same))
    assert found["MI"] == pytest.approx(2 * found["EN"] * math.log(2))
    assert found["SCD"] == 0  # nothing was added
    assert found["VIF"] == pytest.approx(2)
    assert found["SSIM"] == pytest.approx(2)
    full_marks = 0.9994 / (1 + math.exp(-7.5)) * 0.9879 / (1 + math.exp(-4.4))
    assert found["Qabf"] == pytest.approx(full_marks)


def test_metrics_of_one_frame_by_hand() -> None:
    four_levels = np.tile(np.array([0, 80, 160, 240], np.uint8), (64, 20))
    assert entropy(four_levels) == pytest.approx(2)
    assert spatial_frequency(ramp()) == pytest.approx(2)
    assert average_gradient(ramp()) == pytest.approx(math.sqrt(2))


def test_independent_frames_share_no_information() -> None:
    by_column, by_row = np.meshgrid(np.arange(64, dtype=np.uint8), np.arange(64, dtype=np.uint8))
    assert mutual_information(by_column, by_row) == pytest.approx(0, abs=1e-12)


def test_a_sum_adds_exactly_the_other_source() -> None:
    visible, infrared = texture(1), texture(2)
    assert correlations_of_differences(visible, infrared, visible + infrared) == pytest.approx(2)


def test_sources_that_hold_nothing_lose_nothing() -> None:
    assert visual_information_fidelity(flat(70), texture()) == 1
    assert edge_preservation(flat(0), flat(0), texture()) == 1


def test_more_contrast_shows_the_eye_more() -> None:
    weak = texture() // 2
    assert (
        visual_information_fidelity(weak, weak * 2)
        > 1
        > visual_information_fidelity(weak, weak // 2)
    )


def test_structural_similarity_of_two_constants_is_that_of_their_levels() -> None:
    c1 = (0.01 * 255) ** 2
    expected = (2 * 50 * 100 + c1) / (50**2 + 100**2 + c1)
    assert structural_similarity(flat(50), flat(100)) == pytest.approx(expected)


def test_edges_that_turned_by_ninety_degrees_are_lost() -> None:
    bars = np.zeros((65, 65), np.uint8)
    bars[8:-8, 8:-8] = np.where(np.arange(49) % 8 < 4, 200, 0)
    black = np.zeros_like(bars)
    assert edge_preservation(bars, black, bars.T.copy()) < 0.1  # corners still agree
    assert edge_preservation(bars, black, bars) > 0.9


# Of the maximum; by scipy and OpenCV, written apart from this code.
WAVES = (
    7.79375502, 60.2928424, 70.8097773, 25.8861946, 6.9740936,
    1.26211079, 0.218054443, 0.49787975, 1.048559,
)  # fmt: skip
NIGHT = (
    6.21724764, 30.3426163, 6.54757779, 1.79241592, 4.14706501,
    1.74942204, 1.01538655, 0.659062252, 1.55327189,
)  # fmt: skip
DAY = (
    7.1348403, 72.0313677, 21.4423929, 6.55614859, 5.22405002,
    1.69510307, 1.0104748, 0.794775096, 1.22014538,
)  # fmt: skip


def test_all_metrics_are_those_of_an_independent_implementation() -> None:
    visible, infrared = waves()
    found = asdict(fusion_metrics(visible, infrared, np.maximum(visible, infrared)))
    assert found == pytest.approx(asdict(FusionMetrics(*WAVES)), rel=1e-5)


@pytest.mark.skipif(not FRAMES.is_dir(), reason="SEGMIF_DATA holds no msrs_test")
@pytest.mark.parametrize(("name", "expected"), [("00004N.png", NIGHT), ("00055D.png", DAY)])
def test_all_metrics_agree_on_real_frames(name: str, expected: tuple[float, ...]) -> None:
    visible = luma(read_visible(FRAMES / "visible" / name))
    infrared = read_infrared(FRAMES / "infrared" / name)
    found = asdict(fusion_metrics(visible, infrared, np.maximum(visible, infrared)))
    assert found == pytest.approx(asdict(FusionMetrics(*expected)), rel=1e-5)


@pytest.mark.parametrize(
    ("fused", "sentence"),
    [
        (np.zeros((64, 81), np.uint8), "fused is .64, 81. uint8"),
        (np.zeros((64, 80), np.float32), "float32"),
        (np.zeros((64, 80, 3), np.uint8), "three .H, W. uint8"),
    ],
)
def test_frames_that_do_not_fit_are_refused(fused: Frame, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        fusion_metrics(texture(1), texture(2), fused)


def test_the_smallest_frame_is_41_pixels() -> None:
    smallest = texture()[:41, :41]
    assert asdict(fusion_metrics(smallest, smallest, smallest))["VIF"] == pytest.approx(2)
    with pytest.raises(ValueError, match="41 px"):
        fusion_metrics(smallest[:40], smallest[:40], smallest[:40])


def ids(*rows: list[int]) -> Frame:
    return np.array(rows, np.uint8)


def test_confusion_by_hand() -> None:
    truth = ids([0, 0, 1, 1], [0, 1, IGNORE, IGNORE])
    labels = ids([0, 1, 1, 1], [0, 3, 1, 3])
    matrix = ConfusionMatrix.empty(4).add(labels, truth)
    np.testing.assert_array_equal(
        matrix.counts, [[2, 1, 0, 0], [0, 2, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    )
    np.testing.assert_array_equal(matrix.iou, [2 / 3, 2 / 4, np.nan, 0])
    assert matrix.mean_iou == pytest.approx((2 / 3 + 2 / 4 + 0 + 0) / 4)


def test_confusions_of_parts_add_up() -> None:
    random = np.random.default_rng(0)
    truth, labels = random.integers(0, 9, (2, 6, 8), np.uint8)
    whole = ConfusionMatrix.empty(9).add(labels, truth)
    top = ConfusionMatrix.empty(9).add(labels[:2], truth[:2])
    bottom = ConfusionMatrix.empty(9).add(labels[2:], truth[2:])
    np.testing.assert_array_equal((top + bottom).counts, whole.counts)
    assert whole.counts.sum() == 48


def test_ids_and_sizes_that_the_matrix_does_not_have_are_refused() -> None:
    matrix = ConfusionMatrix.empty(2)
    with pytest.raises(ValueError, match=r"labels hold the id 2, expected 0\.\.1"):
        matrix.add(ids([2]), ids([0]))
    with pytest.raises(ValueError, match="truth hold the id 7"):
        matrix.add(ids([0]), ids([7]))
    with pytest.raises(ValueError, match="one size"):
        matrix.add(ids([0, 0]), ids([0]))
