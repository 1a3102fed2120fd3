"""Each trouble of a sensor changes what it says, and nothing else."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

import training.data.augmentation
from segmif.thermal.gain_window import OBJECT_LEVELS
from training.data.augmentation import (
    MISALIGNMENT,
    Augmentation,
    augment_sensors,
    displaced_view,
    parallax,
    raised,
)

SIZE = (60, 80)
SEEDS = range(40)
CALM = Augmentation(
    nightfall=0, dead_sensor=0, misalignment=0, stripes=0, blur=0, faint=0, enhanced=0, paste=0
)

Image = NDArray[np.uint8]


@pytest.fixture(autouse=True)
def _no_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sensor noise comes on top of every trouble, and would hide what a trouble does."""
    monkeypatch.setattr(training.data.augmentation, "_noise", lambda image, random: image)


def scene() -> tuple[Image, Image]:
    """Blocks of every third level, each on many pixels: visible (H, W, 3), infrared (H, W)."""
    levels = np.random.default_rng(0).permutation(np.arange(8, 248, 3, dtype=np.uint8))
    blocks = np.repeat(np.repeat(levels.reshape(8, 10), 8, axis=0), 8, axis=1)[:60, :80]
    return np.dstack((blocks, blocks[::-1], blocks[:, ::-1])), np.ascontiguousarray(blocks.T[:60])


def runs(shares: Augmentation, visible: Image, infrared: Image) -> Iterator[tuple[Image, Image]]:
    for seed in SEEDS:
        yield augment_sensors(visible.copy(), infrared.copy(), shares, np.random.default_rng(seed))


def is_other_light(before: Image, after: Image) -> bool:
    """Whether each level (H, W) became one other everywhere, none darker than one below it."""
    became = [np.unique(after[before == level]) for level in np.unique(before)]
    return all(len(levels) == 1 for levels in became) and bool(
        np.all(np.diff([int(levels[0]) for levels in became]) >= 0)
    )


def only_light(before: Image, after: Image) -> bool:
    """Whether a frame, each channel for itself, has another exposure or gain and nothing more."""
    if before.ndim == 2:
        return is_other_light(before, after)
    return all(is_other_light(before[..., c], after[..., c]) for c in range(3))


def sharpness(image: Image) -> float:
    """The steepest step between neighbours as a share of all contrast, 0..1."""
    levels = image.astype(np.float64)
    steps = max(np.abs(np.diff(levels, axis=axis)).max() for axis in (0, 1))
    return float(steps / max(np.ptp(levels), 1))


def test_without_troubles_both_sensors_have_another_gain_and_no_other_places() -> None:
    before = scene()
    changed = 0
    for visible, infrared in runs(CALM, *before):
        assert only_light(before[0], visible) and only_light(before[1], infrared)
        assert visible.dtype == infrared.dtype == np.uint8
        changed += not np.array_equal(infrared, before[1])
    assert changed == len(SEEDS)  # the gain control of no camera is another's


def test_gain_control_may_stretch_a_faint_scene() -> None:
    visible, infrared = scene()
    narrow = (100 + infrared // 8).astype(np.uint8)  # 101..130
    contrasts = [float(np.ptp(after)) for _, after in runs(CALM, visible, narrow)]
    assert min(contrasts) < 1.5 * np.ptp(narrow)
    assert max(contrasts) > 3 * np.ptp(narrow)


@pytest.mark.parametrize(
    "trouble", ["nightfall", "stripes", "faint", "far_object", "blur", "enhanced"]
)
def test_a_seed_gives_the_same_trouble_again(trouble: str) -> None:
    shares = replace(CALM, **{trouble: 1})
    first, again = (list(runs(shares, *scene())) for _ in range(2))
    for ours, theirs in zip(first, again, strict=True):
        assert all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))
    assert len({infrared.tobytes() for _, infrared in first}) == len(SEEDS)


def test_nightfall_darkens_the_visible_frame_alone() -> None:
    before = scene()
    nights = list(runs(replace(CALM, nightfall=1), *before))
    by_day = [visible.mean() for visible, _ in runs(CALM, *before)]
    assert np.mean([visible.mean() for visible, _ in nights]) < 0.5 * np.mean(by_day)
    assert all(only_light(before[1], infrared) for _, infrared in nights)
    lit = [visible for visible, _ in nights if np.ptp(visible)]  # a short exposure may end in black
    alike = [np.corrcoef(before[0].ravel(), visible.ravel())[0, 1] for visible in lit]
    assert np.median(alike) > 0.9  # what was bright stays brightest


@pytest.mark.parametrize("level", [0, 128, 255])
def test_stripes_are_columns_of_infrared(level: int) -> None:
    visible, _ = scene()
    flat = np.full(SIZE, level, np.uint8)
    assert all(np.ptp(infrared) == 0 for _, infrared in runs(CALM, visible, flat))
    striped: list[bool] = []
    for seen, infrared in runs(replace(CALM, stripes=1), visible, flat):
        assert only_light(visible, seen)
        assert (infrared == infrared[0]).all()
        assert np.ptp(infrared) < 60  # nothing ran over: white stays light, black dark
        striped.append(bool(np.ptp(infrared) > 0))
    assert np.mean(striped) > 0.9


def test_faint_infrared_has_less_contrast_at_the_same_places() -> None:
    before = scene()

    def contrast(shares: Augmentation) -> float:
        # the lower quartile, as the gain control behind it may stretch what is faint again
        return float(np.percentile([infrared.std() for _, infrared in runs(shares, *before)], 25))

    assert contrast(replace(CALM, faint=1)) < 0.7 * contrast(CALM)
    for visible, infrared in runs(replace(CALM, faint=1), *before):
        assert only_light(before[0], visible) and only_light(before[1], infrared)


def test_a_far_object_takes_the_levels_that_the_gain_reserves_for_it() -> None:
    before = scene()
    reserved = 255 * OBJECT_LEVELS
    hot: list[bool] = []
    shares = replace(CALM, far_object=1)
    for (seen, infrared), (lit, plain) in zip(
        runs(shares, *before), runs(CALM, *before), strict=True
    ):
        assert np.array_equal(seen, lit)
        above, below = (plain * (1 - OBJECT_LEVELS) + base for base in (0, reserved))
        hot.append(bool((infrared == above.astype(np.uint8)).mean() > 0.5))
        rest = infrared == (above if hot[-1] else below).astype(np.uint8)
        assert rest.mean() > 0.8
        assert ((infrared >= 255 - reserved) if hot[-1] else (infrared <= reserved))[~rest].all()
    assert 0.5 < np.mean(hot) < 1


def test_enhanced_infrared_is_mostly_dark_at_the_same_places() -> None:
    before = scene()
    medians = []
    for visible, infrared in runs(replace(CALM, enhanced=1), *before):
        assert only_light(before[0], visible) and only_light(before[1], infrared)
        medians.append(np.median(infrared))
    assert np.mean(medians) < 0.5 * np.median(before[1])


def test_blur_softens_edges_and_leaves_what_is_flat() -> None:
    edge = np.full(SIZE, 60, np.uint8)
    edge[:, 40:] = 180
    visible = np.repeat(edge[..., None], 3, axis=2)
    for sharp in runs(CALM, visible, edge):
        assert [sharpness(image) for image in (sharp[0][..., 1], sharp[1])] == [1, 1]
    for soft in runs(replace(CALM, blur=1), visible, edge):
        for image in (soft[0][..., 1], soft[1]):
            assert sharpness(image) < 1
            assert np.ptp(image[:, :30]) == np.ptp(image[:, 50:]) == 0
    flat = np.full(SIZE, 90, np.uint8)
    assert all(np.ptp(infrared) == 0 for _, infrared in runs(replace(CALM, blur=1), visible, flat))


@pytest.mark.parametrize("ramp", [lambda rows, columns: rows, lambda rows, columns: columns])
def test_misalignment_shifts_infrared_alone(ramp: Callable[[Image, Image], Image]) -> None:
    rows, columns = np.indices(SIZE).astype(np.uint8)
    infrared = 2 * ramp(rows, columns)  # two levels a pixel
    visible = np.dstack((rows, columns, rows))
    labels = (rows // 16 + columns // 16).astype(np.uint8)
    shifts = []
    for seed in SEEDS:
        (seen, level, ids), (other_seen, shifted, other_ids) = (
            displaced_view(
                (visible, infrared, labels),
                (30, 40),
                (40, 48),
                (1, 1),
                replace(CALM, misalignment=share),
                np.random.default_rng(seed),
            )[0]
            for share in (0, 1)
        )
        np.testing.assert_array_equal(seen, other_seen)
        np.testing.assert_array_equal(ids, other_ids)
        apart = (shifted.astype(int) - level)[4:-4, 4:-4] / 2  # [px]; beyond, the frame may end
        assert np.ptp(apart) <= 0.5  # one shift for all of it, but for rounding
        shifts.append(float(apart.mean()))
    assert np.abs(shifts).max() <= MISALIGNMENT + 0.5
    assert min(shifts) < -1 and max(shifts) > 1


def test_parallax_moves_infrared_by_unlike_distances_along_one_direction() -> None:
    """Of a slope in both directions only the shift remains, which differs from place to place."""
    rows, columns = np.indices((96, 128))
    slope = (columns + rows // 2 + 30).astype(np.uint8)
    moved = parallax(slope, 8, np.random.default_rng(3))[0].astype(int)
    off = (moved - slope)[16:-16, 16:-16]
    assert np.abs(off).max() <= 8 * np.hypot(1, 0.5) + 1
    assert off.max() - off.min() >= 2
    assert np.abs(np.diff(off, axis=1)).max() <= 2  # depth changes steadily: nothing tears


def test_raised_infrared_is_grey_where_it_was_dark_and_a_grey_frame_stays() -> None:
    dark, grey = np.full(SIZE, 12, np.uint8), np.full(SIZE, 90, np.uint8)
    dark[:10, :10] = 200
    raised_dark = raised(dark, np.random.default_rng(0))
    assert np.median(raised_dark) >= 40 and raised_dark[0, 0] > raised_dark[-1, -1]
    assert np.array_equal(raised(grey, np.random.default_rng(0)), grey)


def test_a_share_is_how_many_samples_meet_a_trouble() -> None:
    visible, flat = scene()[0], np.full(SIZE, 128, np.uint8)
    shares = replace(CALM, stripes=0.25)
    striped = [
        np.ptp(augment_sensors(visible.copy(), flat, shares, np.random.default_rng(seed))[1]) > 0
        for seed in range(400)
    ]
    assert 0.18 < np.mean(striped) < 0.32
