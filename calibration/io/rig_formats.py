"""
Rigs in other formats: Kalibr camchains, pairs of ROS camera_info, OpenCV FileStorage.

All are in metres, with the visible camera first (Kalibr: cam0, OpenCV: 1).
"""

from collections.abc import Sequence
from pathlib import Path

from segmif.geometry.rig import Rig, read_rig, write_rig

from .kalibr import read_kalibr, write_kalibr
from .opencv_storage import read_opencv, write_opencv
from .rig_fields import ReadOptions
from .ros import read_ros, write_ros


def read_own(paths: Sequence[Path], choice: ReadOptions) -> Rig:
    """Read rig.yaml; raises ValueError for a homography, which no other format has."""
    rig = read_rig(paths[0])
    if not isinstance(rig, Rig):
        raise ValueError(f"{paths[0]}: a homography has no cameras to convert")
    return rig


def write_own(paths: Sequence[Path], rig: Rig) -> None:
    """Write rig.yaml."""
    write_rig(paths[0], rig)


READERS = {"rig": read_own, "kalibr": read_kalibr, "ros": read_ros, "opencv": read_opencv}
WRITERS = {"rig": write_own, "kalibr": write_kalibr, "ros": write_ros, "opencv": write_opencv}
FILES = {"rig": (1,), "kalibr": (1,), "ros": (2,), "opencv": (1, 2)}  # number of files read
