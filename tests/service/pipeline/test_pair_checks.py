"""The quick look at a frame never differs from the checks that it spares."""

import numpy as np
import pytest
from numpy.typing import NDArray

from segmif.imaging.codecs import Pixels
from segmif.thermal.camera_profile import CameraProfile
from segmif.thermal.invalid_counts import find_invalid_levels
from service.pipeline import pair_checks
from service.pipeline.pair_checks import CheckLimits, Sensor, check_pair, surely_shows


def frames() -> list[NDArray[np.uint8]]:
    """Frames (H, W) on both sides of every limit, with the odd part at any place."""
    chance = np.random.default_rng(0)
    made = []
    for _ in range(400):
        height, width = chance.integers(2, 70, 2)
        base, spread = chance.choice([0, 1, 3, 4, 120, 249, 250, 255]), chance.choice([0, 1, 2, 3])
        frame = np.clip(base + chance.integers(0, spread + 1, (height, width)), 0, 255)
        share = chance.choice([0, 0.005, 0.01, 0.011, 0.02, 0.09, 0.1, 0.11, 0.2, 0.5, 0.9])
        odd = int(share * frame.size)
        where = chance.permutation(frame.size)[:odd] if chance.random() < 0.5 else slice(odd)
        frame.ravel()[where] = chance.integers(0, 256, odd)
        made.append(frame[:: chance.choice([1, -1])].astype(np.uint8))
    return made


@pytest.mark.parametrize("profile", [CameraProfile(), CameraProfile(invalid=(0, 120))])
def test_the_quick_look_at_a_pair_changes_no_flag(
    monkeypatch: pytest.MonkeyPatch, profile: CameraProfile
) -> None:
    def flags(frame: NDArray[np.uint8]) -> tuple[str, ...]:
        pair: dict[Sensor, Pixels | None] = {"visible": np.dstack([frame] * 3), "infrared": frame}
        validity = find_invalid_levels(frame, profile)
        return check_pair(pair, (None, None), CheckLimits(50), None, validity).flags

    made = frames()
    quickly = [flags(frame) for frame in made]
    monkeypatch.setattr(pair_checks, "surely_shows", lambda *_: False)
    assert quickly == [flags(frame) for frame in made]
    assert {"infrared_black", "infrared_saturated", "infrared_shutter", "visible_black"} <= {
        flag for found in quickly for flag in found
    }


def test_the_quick_look_decides_a_scene() -> None:
    scene = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8)
    assert surely_shows(scene, find_invalid_levels(scene, CameraProfile()))
    assert surely_shows(np.dstack([scene] * 3), None)
