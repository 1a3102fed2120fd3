"""A rig with labels that are hard to carry, and the command line as a user has it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from segmif.imaging.codecs import write_png
from training.__main__ import main

SIZE = (48, 64)
CLASSES = """
name = "yard"
[frames.infrared]
polarity = "black_hot"
[[classes]]
name = "person"
colour = [220, 20, 60]
[[classes]]
name = "background"
colour = [0, 0, 0]
[[classes]]
name = "fork lift"
colour = [10, 200, 250]
"""
PERSON, BACKGROUND, LIFT, IGNORE = 0, 1, 2, 255

Run = Callable[..., str]


def labels_of(seed: int) -> NDArray[np.uint8]:
    """Regions with holes, in parts, side by side, of one pixel, at the edges; and noise."""
    labels = np.full(SIZE, BACKGROUND, np.uint8)
    labels[5:25, 4:30] = LIFT
    labels[10:20, 10:20] = BACKGROUND  # a hole
    labels[13:16, 13:16] = PERSON  # within it
    labels[20:30, 25:40] = PERSON  # beside and over
    rows, columns = np.indices(SIZE)
    labels[(rows - 34) ** 2 + (columns - 50) ** 2 < 90] = LIFT
    labels[40:48, 0:9] = IGNORE
    labels[2, 50] = labels[3, 51] = PERSON  # touch at a corner
    labels[30:45, 20] = LIFT  # one pixel wide
    if seed:
        noise = np.random.default_rng(seed).integers(0, 3, (16, 20)).astype(np.uint8)
        labels[:16, 44:] = noise
    return labels


@pytest.fixture
def rig(tmp_path: Path) -> Path:
    """Two pairs with labels by classes of its own."""
    random = np.random.default_rng(0)
    root = tmp_path / "rig"
    for part in ("visible", "infrared", "label"):
        (root / part).mkdir(parents=True)
    for seed, name in enumerate(("a 1", "a2D")):
        write_png(root / f"visible/{name}.png", random.integers(0, 256, (*SIZE, 3), np.uint8))
        write_png(root / f"infrared/{name}.png", random.integers(0, 256, SIZE, np.uint8))
        write_png(root / f"label/{name}.png", labels_of(seed))
    (root / "dataset.toml").write_text(CLASSES)
    return root


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `segmif train ...`; gives what it printed, of a failure what it complained about."""

    def run(*words: object, fails: bool = False) -> str:
        code = main(["train", *map(str, words)], prog="segmif")
        out, err = capsys.readouterr()
        assert code == (1 if fails else 0), err
        return err.splitlines()[-1] if fails else out

    return run
