"""A small data folder with the two sets that evaluation takes by default."""

from pathlib import Path

import numpy as np
import pytest

from segmif.imaging.codecs import write_png

CAR, PERSON = 1, 2
SIZE = (64, 96)


@pytest.fixture
def frames_root(tmp_path: Path) -> Path:
    """Two pairs to fuse; a day whose person is hot, a night whose car is hot too."""
    random = np.random.default_rng(0)
    for folder in ("msrs_test", "mfnet/val"):
        for part in ("visible", "infrared"):
            (tmp_path / folder / part).mkdir(parents=True)
    (tmp_path / "mfnet/val/label").mkdir()
    for folder, name in (
        ("msrs_test", "1D.png"), ("msrs_test", "2N.png"),
        ("mfnet/val", "3D.png"), ("mfnet/val", "4N.png"),
    ):  # fmt: skip
        infrared = random.integers(0, 200, SIZE, np.uint8)
        infrared[:, :32] = 250
        write_png(tmp_path / folder / "infrared" / name, infrared)
        visible = random.integers(0, 256, (*SIZE, 3), np.uint8)
        write_png(tmp_path / folder / "visible" / name, visible)
    labels = np.zeros(SIZE, np.uint8)
    labels[:, :32] = PERSON
    write_png(tmp_path / "mfnet/val/label/3D.png", labels)
    labels[:, 16:32] = CAR
    write_png(tmp_path / "mfnet/val/label/4N.png", labels)
    return tmp_path
