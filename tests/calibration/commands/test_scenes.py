"""A rig file from people and vehicles that pass before two unlike cameras, from the shell."""

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration import __main__ as calibration
from calibration.scenes.estimate import visible_grid
from calibration.scenes.plane_model import apply
from calibration.scenes.synthetic_motion import random_rig, render, true_pixels
from segmif.geometry.cameras import Homography, Rig
from segmif.geometry.rig import read_rig, write_rig

SEED, SECONDS, RATE = 1, 60.0, 3.0
EPOCH_MS = 1_790_000_000_000
Pairs = Iterator[tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def truth() -> Rig:
    return random_rig(np.random.default_rng(SEED))


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, truth: Rig) -> Path:
    """A minute of a street."""
    return recorded(tmp_path_factory.mktemp("street"), motion(truth))


def motion(rig: Rig) -> Pairs:
    return render(rig, SECONDS, np.random.default_rng(SEED), RATE)


def recorded(folder: Path, pairs: Pairs) -> Path:
    """Folders of frames with their times, in milliseconds, as names."""
    for name in ("visible", "infrared"):
        (folder / name).mkdir()
    for number, (visible, infrared) in enumerate(pairs):
        stamp = EPOCH_MS + round(1000 * number / RATE)
        cv2.imwrite(str(folder / "visible" / f"{stamp}.jpg"), visible)
        fast = [cv2.IMWRITE_PNG_COMPRESSION, 1]
        cv2.imwrite(str(folder / "infrared" / f"{stamp}.png"), infrared, fast)
    return folder


def run(recording: Path, out: Path, *more: object) -> int:
    sources = "--visible", recording / "visible", "--infrared", recording / "infrared"
    return calibration.main(list(map(str, ["scenes", *sources, "--out", out, *more])))


def errors_px(found: Homography | Rig, truth: Rig) -> np.ndarray:
    """How far infrared lies off [px of visible] over what both cameras see."""
    grid = visible_grid((truth.visible.width, truth.visible.height))
    there = true_pixels(truth, grid)
    seen = ((there >= 0) & (there <= [319, 255])).all(1)
    own = (
        apply(found.H_infrared_visible, grid)
        if isinstance(found, Homography)
        else true_pixels(found, grid)
    )
    off = np.linalg.norm(own - there, axis=1)[seen]
    return np.asarray(off * truth.visible.fx / truth.infrared.fx)


def stated_px(found: Homography | Rig) -> list[float]:
    """What the file says of half of the frame, and of 95 % of it."""
    return [float(each) for each in re.findall(r"within ([\d.]+) px", found.source)]


def test_a_homography_and_what_is_known_of_it(
    tmp_path: Path, recording: Path, truth: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(recording, tmp_path / "rig.yaml") == 0
    found = read_rig(tmp_path / "rig.yaml")
    assert isinstance(found, Homography) and found.infrared_size == (320, 256)
    off, (half, most) = errors_px(found, truth), stated_px(found)
    assert np.median(off) < 3 and np.median(off) <= half < 6
    assert np.quantile(off, 0.95) <= most < 20
    told = capsys.readouterr().out
    assert "not known from scenes: the lenses, the baseline" in told
    assert "nothing moved through the bottom left" in told


def test_a_calibrated_rig_that_was_turned(tmp_path: Path, recording: Path, truth: Rig) -> None:
    T = truth.T_infrared_visible.copy()
    T[:3] = cv2.Rodrigues(np.radians([1.5, -2.0, 1.0]))[0] @ T[:3]
    write_rig(tmp_path / "before.yaml", replace(truth, T_infrared_visible=T))
    assert run(recording, tmp_path / "rig.yaml", "--rig", tmp_path / "before.yaml") == 0
    found = read_rig(tmp_path / "rig.yaml")
    assert isinstance(found, Rig)
    angle = np.degrees(np.linalg.norm(cv2.Rodrigues(found.R @ truth.R.T)[0]))
    assert angle < 0.3 and found.baseline_m == pytest.approx(truth.baseline_m)
    off = errors_px(found, truth)
    assert np.median(off) <= stated_px(found)[0] < 6


def test_what_does_not_move_or_not_together_makes_no_file(
    tmp_path: Path, truth: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    still = next(motion(truth))
    one = tmp_path / "still"
    one.mkdir()
    assert run(recorded(one, iter([still] * 45)), tmp_path / "rig.yaml") == 1
    assert "something moves before both cameras in 0 of 45 pairs" in capsys.readouterr().err
    frames = list(islice(motion(truth), 80))
    apart = (
        (visible, later) for (visible, _), (_, later) in zip(frames, frames[::-1], strict=True)
    )
    two = tmp_path / "apart"
    two.mkdir()
    assert run(recorded(two, apart), tmp_path / "rig.yaml") == 1
    assert re.search("if infrared is moved in time|are needed", capsys.readouterr().err)
    assert not (tmp_path / "rig.yaml").exists()
