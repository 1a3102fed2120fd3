"""What is stated of a camera, in a rig file and by name."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segmif.geometry.rig import Homography, read_rig, write_rig
from segmif.thermal.camera_profile import (
    CameraProfile,
    Cameras,
    Crop,
    cameras_from,
    cameras_from_flat,
)

PLANE = Homography((64, 48), (64, 48), np.diag([1.0, 1.0, 1.0]))
STATED = Cameras(
    CameraProfile(bits=12),
    CameraProfile(14, Crop(0, 0, 0, 2), "black_hot", (0, 65535), "swapped", 0.04, -10.5),
)


def test_a_rig_file_keeps_what_is_stated_of_the_frames(tmp_path: Path) -> None:
    write_rig(tmp_path / "rig.yaml", replace(PLANE, frames=STATED))
    assert read_rig(tmp_path / "rig.yaml").frames == STATED
    write_rig(tmp_path / "rig.yaml", PLANE)
    assert "frames" not in (tmp_path / "rig.yaml").read_text()
    assert read_rig(tmp_path / "rig.yaml").frames == Cameras()


def test_what_is_stated_nearer_to_the_pair_counts() -> None:
    near = cameras_from_flat({"infrared_crop": "0,1,0,0", "infrared_bits": None, "port": 3})
    assert near.over(STATED).infrared == replace(STATED.infrared, crop=Crop(top=1))
    assert near.over(STATED).visible == STATED.visible


@pytest.mark.parametrize(
    ("sensor", "key", "value", "words"),
    [
        ("infrared", "bits", 17, "bits is 17, expected a whole number from 8 to 16"),
        ("infrared", "bits", "14", "bits is '14'"),
        ("infrared", "crop", [0, 0, 2], "crop is left,top,right,bottom"),
        ("infrared", "crop", "0,0,0,-2", "crop bottom is -2, expected a whole number from 0"),
        ("infrared", "crop", [0, 0, 0, 10**400], "crop bottom is 1000"),
        ("infrared", "polarity", "inverted", "expected white_hot or black_hot"),
        ("infrared", "byte_order", "big", "expected native or swapped"),
        ("infrared", "invalid", [0, 65536], "invalid is 65536, expected a whole number from 0"),
        ("infrared", "invalid", list(range(17)), "more than 16 counts"),
        ("infrared", "invalid", "none", "invalid must be whole numbers"),
        ("infrared", "kelvin_per_count", float("nan"), "kelvin_per_count is nan"),
        ("infrared", "kelvin_per_count", 0, "kelvin_per_count is 0"),
        ("infrared", "kelvin_at_zero", 1e300, "kelvin_at_zero is 1e+300"),
        ("infrared", "gain", 2, "there is no gain; there are bits, byte_order"),
        ("visible", "polarity", "black_hot", "there is no polarity; there are bits, crop"),
    ],
)
def test_what_no_camera_has_is_refused(sensor: str, key: str, value: object, words: str) -> None:
    with pytest.raises(ValueError) as refusal:
        cameras_from({sensor: {key: value}})
    assert f"{sensor}: " in str(refusal.value) and words in str(refusal.value)
    assert len(str(refusal.value)) < 200


def test_a_crop_that_leaves_nothing_is_refused() -> None:
    assert Crop(1, 2, 3, 4).apply(np.zeros((10, 10, 3))).shape == (4, 6, 3)
    with pytest.raises(ValueError, match="leaves nothing of a frame of 10x10"):
        Crop(top=5, bottom=5).apply(np.zeros((10, 10)))
