"""The check of a download: it goes on to the end, and says what to fix."""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from segmif.classes import FMB, colorize
from segmif.images import write_png
from training import describe
from training.data import data_root
from training.datasets.alignment import shift
from training.datasets.kinds import locate
from training.datasets.survey import FAR, survey

SIZE = (96, 128)
BICYCLE = FMB.names.index("bicycle")


def smooth(noise: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    """Something with edges, 0..255."""
    blurred = cv2.GaussianBlur(noise, (0, 0), sigma)
    return np.interp(blurred, (blurred.min(), blurred.max()), (0, 255)).astype(np.uint8)


def run(capsys: pytest.CaptureFixture[str], folder: Path, *more: str) -> tuple[int, str]:
    parser = argparse.ArgumentParser()
    describe.add_arguments(parser)
    words = ["--kind", "fmb", "--folder", str(folder), "--split", "test", *more]
    code = describe.main(parser.parse_args(words))
    return code, capsys.readouterr().out


@pytest.fixture
def fmb(tmp_path: Path) -> Path:
    """Four moments with every class but the bicycle, in colours."""
    random = np.random.default_rng(0)
    for part in ("Visible", "Infrared", "Label"):
        (tmp_path / "FMB/test" / part).mkdir(parents=True)
    ids = np.array([id_ for id_ in range(len(FMB.names)) if id_ != BICYCLE], np.uint8)
    for name in ("1", "2", "3", "4"):
        scene = smooth(random.integers(0, 256, (*SIZE, 3), np.uint8), 2)
        write_png(tmp_path / f"FMB/test/Visible/{name}.png", scene)
        write_png(tmp_path / f"FMB/test/Infrared/{name}.png", scene[..., 1].copy())
        labels = random.choice(ids, SIZE)
        write_png(tmp_path / f"FMB/test/Label/{name}.png", colorize(labels, FMB))
    return tmp_path / "FMB"


def test_a_whole_set_has_nothing_to_fix(fmb: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, page = run(capsys, fmb)
    assert code == 0
    assert "FMB/test: 4 complete moments of 4 (4 visible, 4 infrared, 4 label)" in page
    assert "128x96 (4)" in page
    assert "bicycle is absent here; the mean over all 15 ids counts" in page
    assert page.endswith("What to fix:\nnothing\n")


def test_every_damage_is_told_at_once(fmb: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (fmb / "test/Infrared/1.png").unlink()
    (fmb / "test/Visible/2.png").write_bytes(b"no picture")
    write_png(fmb / "test/Infrared/3.png", np.zeros((32, 32), np.uint8))
    strange = np.zeros((*SIZE, 3), np.uint8)
    strange[:2, :5] = (1, 2, 3)
    write_png(fmb / "test/Label/4.png", strange)
    code, page = run(capsys, fmb)
    assert code == 1
    assert "Moments that lack a part, 1: 1 (infrared)" in page
    assert "2.png: the 10 bytes are not an image" in page
    assert "3 (visible 128x96, infrared 32x32, label 128x96)" in page
    assert "(1, 2, 3) (10 pixels in 1 of 4 labels)" in page
    code, text = run(capsys, fmb, "--json")
    numbers = json.loads(text)
    assert code == 1
    assert len(numbers["to_fix"]) == 4
    assert numbers["counts"] == {"visible": 4, "infrared": 3, "label": 4}
    assert numbers["unknown_codes"] == [{"code": [1, 2, 3], "pixels": 10, "files": 1}]
    assert numbers["absent"] == ["bicycle"]


@pytest.mark.parametrize(("right", "down"), [(0, 0), (6, -3), (-2, 9)])
@pytest.mark.parametrize("enlarged", [1, 2])
def test_a_shift_between_the_sensors_is_found(right: int, down: int, enlarged: int) -> None:
    random = np.random.default_rng(1)
    scene = smooth(random.integers(0, 256, (520, 680), np.uint8), 4)
    seen = scene[20:500, 20:660]
    warm = 255 - scene[20 - down : 500 - down, 20 - right : 660 - right]  # what is dark is hot
    visible, infrared = (
        np.repeat(np.repeat(image, enlarged, axis=0), enlarged, axis=1) for image in (seen, warm)
    )
    found = shift(np.repeat(visible[..., None], 3, axis=2), infrared)
    assert found == pytest.approx(enlarged * np.hypot(right, down))


@pytest.mark.skipif(
    not (data_root() / "mfnet/val").is_dir(), reason="SEGMIF_DATA holds no mfnet/val"
)
def test_real_frames_are_as_their_readme_says() -> None:
    found = survey(locate("mfnet", data_root() / "mfnet", "val"))
    assert (found.complete, found.to_fix, found.absent) == (38, [], ["guardrail"])
    assert found.lights == {"day": 18, "night": 20}
    assert (found.shifts <= FAR).mean() > 0.75  # 185 of 220 pairs of MFNet are said to be
