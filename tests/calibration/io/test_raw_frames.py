"""Raw frames of two cameras of unlike sizes, through picked points, to a mask in the larger."""

import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from calibration.commands import pick
from segmif import cli
from segmif.geometry.rig import Floats
from segmif.imaging import codecs
from service.__main__ import main as serve

ROADSCENE = Path(os.environ.get("SEGMIF_DATA", "../shared/data")) / "roadscene"
NAME = "FLIR_00006"
HOT = 200  # of the stand-in network
PERSON = 2


def grey(path: Path) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(codecs.read_visible(path), cv2.COLOR_RGB2GRAY), np.uint8)


def corresponding(full: NDArray[np.uint8], aligned: NDArray[np.uint8]) -> Floats:
    """Points (N, 4) of the full frame and of its part that lies on the infrared frame."""
    sift = cv2.SIFT.create(2000)
    (first, a), (second, b) = (sift.detectAndCompute(frame, None) for frame in (full, aligned))
    matches = cv2.BFMatcher(crossCheck=True).match(a, b)
    matches = sorted(matches, key=lambda one: one.distance)[:60]
    return np.array([[*first[m.queryIdx].pt, *second[m.trainIdx].pt] for m in matches])


@pytest.mark.skipif(not ROADSCENE.is_dir(), reason=f"frames of two sizes are not in {ROADSCENE}")
def test_the_answer_has_the_visible_cameras_own_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_in_weights: Path
) -> None:
    visible, infrared = (tmp_path / name for name in ("visible", "infrared"))
    for folder, source in ((visible, "visible_full_resolution"), (infrared, "infrared")):
        folder.mkdir()
        (folder / f"{NAME}.jpg").symlink_to((ROADSCENE / source / f"{NAME}.jpg").resolve())
    full, warm = grey(visible / f"{NAME}.jpg"), codecs.read_infrared(infrared / f"{NAME}.jpg")
    points = corresponding(full, grey(ROADSCENE / "visible" / f"{NAME}.jpg"))
    rows = [",".join(pick.COLUMNS), *(",".join(map(str, row)) for row in points.tolist())]
    (tmp_path / "points.csv").write_text("\n".join(rows))

    sizes = [f"{frame.shape[1]}x{frame.shape[0]}" for frame in (full, warm)]
    words = ["--points", tmp_path / "points.csv", "--out", tmp_path / "rig.yaml"]
    words += ["--visible-size", sizes[0], "--infrared-size", sizes[1]]
    monkeypatch.setattr(sys, "argv", ["calibration", "pick", *map(str, words)])
    assert cli.run("calibration", "", {"pick": pick}) == 0
    folders = ["--visible", visible, "--infrared", infrared, "--out", tmp_path]
    command = ["infer", *folders, "--rig", tmp_path / "rig.yaml", "--weights", stand_in_weights]
    assert serve(list(map(str, command))) == 0

    labels = codecs.read_labels(tmp_path / "mask" / f"{NAME}.png")
    assert codecs.read_visible(tmp_path / "fused" / f"{NAME}.png").shape[:2] == full.shape
    assert labels.shape == full.shape
    # Where the full frame's own part lies, found without the service: by its middle points.
    H = cv2.findHomography(points[:, 2:], points[:, :2], cv2.RANSAC, 3.0)[0]
    kernel = np.ones((7, 7), np.uint8)
    for mask, expected in ((warm > HOT + 5, PERSON), (warm < HOT - 5, 0)):
        y, x = np.nonzero(cv2.erode(mask.astype(np.uint8), kernel, borderValue=0))
        at = np.rint(cv2.perspectiveTransform(np.stack([x, y], 1)[None].astype(float), H)[0])
        inside = ((at >= 0) & (at < full.shape[::-1])).all(1)
        columns, lines = at[inside].astype(int).T
        assert inside.sum() > 100
        assert np.mean(labels[lines, columns] == expected) > 0.99
