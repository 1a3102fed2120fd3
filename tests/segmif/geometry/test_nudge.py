"""A rig that is moved by hand: infrared lies elsewhere in the visible view by so many pixels."""

import numpy as np
import pytest

from segmif.geometry.alignment import align
from segmif.geometry.nudge import nudged
from segmif.geometry.rig import Homography, Rig
from tests.segmif.geometry.test_rig import rig

RIGHT, DOWN = 12, -7
PLANE = Homography((320, 240), (160, 120), np.array([[0.5, 0.02, 3], [0, 0.5, 2], [1e-5, 0, 1]]))


def seen(which: Rig | Homography, depth_m: float) -> np.ndarray:
    """Infrared x and y [1/100 px] in the visible view (2, 240, 320)."""
    planes = np.indices((120, 160), np.uint16)[::-1] * np.uint16(100)
    warp = align(which, depth_m)
    return np.array([warp.apply(np.ascontiguousarray(plane)) for plane in planes], float)


@pytest.mark.parametrize(("before", "depth_m"), [(rig(), 3.0), (rig(), np.inf), (PLANE, np.inf)])
def test_infrared_lies_where_it_was_moved_to(before: Rig | Homography, depth_m: float) -> None:
    after = nudged(before, RIGHT, DOWN, depth_m)
    x, y = 160, 120
    moved = seen(after, depth_m)[:, y, x]
    np.testing.assert_allclose(moved, seen(before, depth_m)[:, y - DOWN, x - RIGHT], atol=10)
    if isinstance(before, Rig) and isinstance(after, Rig):
        assert after.infrared_position_m == pytest.approx(before.infrared_position_m)
