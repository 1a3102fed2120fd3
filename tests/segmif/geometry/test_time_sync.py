"""Two cameras' frames brought together in time."""

import re
from typing import Any

import numpy as np
import pytest

from segmif.geometry.time_sync import Floats, PairMatcher, Stamps, clock_offset, pair

MS = 1_000_000


def stamps(period_ms: float, count: int, start_ms: float = 0, jitter_ms: float = 0) -> Stamps:
    noise = np.random.default_rng(0).uniform(-jitter_ms, jitter_ms, count)
    return ((start_ms + period_ms * np.arange(count) + noise) * MS).astype(np.int64)


def test_nearest_frames_are_paired_and_the_rest_is_counted() -> None:
    visible = np.delete(stamps(33, 90), [10, 11])
    infrared = stamps(111, 27, start_ms=5)
    found = pair(visible, infrared)
    # Of 9 Hz infrared every frame has a partner in 30 Hz visible, but the one in the gap.
    assert len(found.visible) == 26
    assert (found.visible_unpaired, found.infrared_unpaired) == (88 - 26, 1)
    np.testing.assert_array_equal(found.skew_ns, infrared[found.infrared] - visible[found.visible])
    every = np.abs(visible[:, None] - infrared[found.infrared]).min(0)
    np.testing.assert_array_equal(np.abs(found.skew_ns), every)
    assert (every <= found.tolerance_ns).all()


def test_another_clock_is_brought_onto_the_visible_ones() -> None:
    day_ms = 20_000 * 86_400_000
    visible, infrared = stamps(40, 50, start_ms=day_ms), stamps(40, 50, start_ms=3)
    found = pair(visible, infrared, offset_ns=day_ms * MS)
    np.testing.assert_array_equal(found.skew_ns, 3 * MS)
    assert not len(pair(visible, infrared).visible)


def test_live_pairing_gives_what_pairing_afterwards_gives() -> None:
    visible, infrared = stamps(33, 200, jitter_ms=4), stamps(100, 66, start_ms=12, jitter_ms=5)
    expected = pair(visible, infrared, 12 * MS)  # less than half of the shortest gap
    live: PairMatcher[int] = PairMatcher(expected.tolerance_ns)
    arrivals = [(int(at), "visible", index) for index, at in enumerate(visible)]
    arrivals += [(int(at), "infrared", index) for index, at in enumerate(infrared)]
    made = [getattr(live, camera)(at, index) for at, camera, index in sorted(arrivals)]
    pairs = np.array([one for one in made if one])
    np.testing.assert_array_equal(pairs.T, [expected.visible, expected.infrared])
    waiting = len(visible) + len(infrared) - 2 * len(pairs)
    assert 0 <= waiting - live.visible_unpaired - live.infrared_unpaired <= 4


def test_a_camera_that_stops_does_not_fill_the_memory() -> None:
    live: PairMatcher[str] = PairMatcher(16 * MS, limit=5)
    assert all(live.visible(at * 33 * MS, "frame") is None for at in range(100))
    assert live.visible_unpaired == 95
    # What waited too long is gone, what still waits finds its partner.
    assert live.infrared(98 * 33 * MS, "warm") == ("frame", "warm")
    assert live.infrared(98 * 33 * MS, "the same again") is None
    assert live.infrared_unpaired == 1


def fits_and_starts(seconds: Floats) -> Floats:
    random = np.random.default_rng(4)
    at, height = random.uniform(0, 20, 25), random.uniform(0.5, 2, 25)
    return np.exp(-(((seconds[:, None] - at) / 0.25) ** 2)) @ height


@pytest.mark.parametrize("offset_ms", [-730.0, 12.3, 5e9])
def test_an_offset_is_found_from_motion(offset_ms: float) -> None:
    random = np.random.default_rng(1)
    visible, infrared = stamps(33, 600, jitter_ms=3), stamps(111, 170, start_ms=400)
    motions = [
        fits_and_starts(each / 1e9) * scale + random.normal(0, 0.05, len(each))
        for each, scale in ((visible, 1.0), (infrared, 0.3))
    ]
    shifted = infrared - round(offset_ms * MS)
    found = clock_offset(visible, motions[0], shifted, motions[1])
    miss_ms = abs(found.ns - offset_ms * MS) / MS
    assert miss_ms < 15
    assert miss_ms < 4 * found.std_ns / MS
    assert found.correlation > 0.8


def test_unlike_motions_give_no_offset() -> None:
    random, at = np.random.default_rng(2), stamps(33, 300)
    with pytest.raises(ValueError, match="do not see the same motion"):
        clock_offset(at, random.uniform(0, 1, 300), at, random.uniform(0, 1, 300))
    with pytest.raises(ValueError, match="do not see the same motion"):
        clock_offset(at, np.zeros(300), at, np.zeros(300))
    with pytest.raises(ValueError, match="3 infrared frames are too few"):
        clock_offset(at, np.zeros(300), at[:3], np.zeros(3))


@pytest.mark.parametrize(
    ("visible", "infrared", "tolerance", "said"),
    [
        ([], [1], None, "no visible frame"),
        ([1, 3, 2], [1], None, "must rise: 2 ns comes after 3 ns"),
        ([1], [2], None, "state a tolerance"),
        ([1], [2], -1, "tolerance is -1 ns"),
    ],
)
def test_bad_stamps_are_refused(visible: Any, infrared: Any, tolerance: int, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        pair(np.array(visible, np.int64), np.array(infrared, np.int64), tolerance)


def test_a_motion_that_repeats_itself_gives_no_offset() -> None:
    at = stamps(33, 900)
    period = np.random.default_rng(2).uniform(0, 1, 60)
    with pytest.raises(ValueError, match="repeats itself"):
        clock_offset(at, np.tile(period, 15), at, np.tile(period, 15))
