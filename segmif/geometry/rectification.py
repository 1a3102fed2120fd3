"""The common frame in which the two cameras' epipolar lines are rows, or columns."""

import numpy as np

from segmif.geometry.rig import Floats, Rig


def rectifying_rotations(rig: Rig) -> tuple[Floats, Floats, bool]:
    """
    Rotations (3, 3) from the visible and from the infrared camera's frame to the common one.

    Its x axis lies along the baseline, or its y axis if one camera is above the other (third value
    True). Its z axis is as close as possible to both optical axes. After Fusiello, Trucco and
    Verri, "A compact algorithm for rectification of stereo pairs", 2000.
    """
    across = rig.infrared_position_m / rig.baseline_m
    forward = np.array([0.0, 0.0, 1.0]) + rig.R[2]
    upright = bool(abs(across[1]) > abs(across[0]))
    along = across * np.sign(across[int(upright)])
    z = forward - (forward @ along) * along
    z /= np.linalg.norm(z)
    x, y = (np.cross(along, z), along) if upright else (along, np.cross(z, along))
    turn = np.stack([x, y, z])
    return turn, turn @ rig.R.T, upright
