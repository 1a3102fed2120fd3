"""Recordings of any clocks pair as `segmif.geometry.time_sync.pair` says."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from segmif.geometry.time_sync import pair
from segmif.sources.base import SourceBase
from segmif.sources.frame import SourceFrame
from service.commands.recordings.recorded_pairs import RecordedPairs

Stamps = NDArray[np.int64]
PIXELS = np.zeros((2, 2), np.uint8)


class Stamped(SourceBase):
    """A recording of empty frames."""

    def __init__(self, stamps: Stamps) -> None:
        super().__init__("stamped")
        self._stamps = stamps

    def frames(self) -> Iterator[SourceFrame]:
        """Give a frame for each stamp."""
        for stamp_ns in self._stamps:
            yield SourceFrame(PIXELS, int(stamp_ns))


def stamps(rng: np.random.Generator, count: int) -> Stamps:
    """Stamps of a camera that jitters and drops frames, from some moment on."""
    period = int(rng.integers(20, 60))
    kept = np.flatnonzero(rng.random(count) < 0.8)
    jitter = rng.integers(-period // 3, period // 3 + 1, kept.size)
    return np.unique(kept * period + jitter + rng.integers(0, 400)).astype(np.int64)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("tolerance_ns", [8, 15, 500])
def test_pairs_are_each_others_nearest(seed: int, tolerance_ns: int) -> None:
    rng = np.random.default_rng(seed)
    visible, infrared = stamps(rng, 60), stamps(rng, 40)
    expected = pair(visible, infrared + 7, tolerance_ns)
    openers = {"visible": partial(Stamped, visible), "infrared": partial(Stamped, infrared)}
    pairs = RecordedPairs(openers, offset_ns=7, tolerance_ns=tolerance_ns)  # type: ignore[arg-type]
    found = [(each.visible.stamp_ns, each.infrared.stamp_ns) for each in pairs]
    pairs.close()
    assert found == list(
        zip(visible[expected.visible].tolist(), infrared[expected.infrared].tolist(), strict=True)
    )
