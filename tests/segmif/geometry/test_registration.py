"""What is left of a misalignment, found without any board."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from segmif.geometry.registration import MIN_PAIRS, DriftMonitor, refine
from segmif.imaging.codecs import read_infrared, read_visible

KNOWN_WARP = Path(os.environ.get("SEGMIF_DATA", "../shared/data")) / "known_warp"

Grey = NDArray[np.uint8]


def scene(seed: int) -> Grey:
    """Boxes and discs of random greys."""
    random = np.random.default_rng(seed)
    frame = np.full((240, 320), 120, np.uint8)
    for _ in range(40):
        x, y = (int(v) for v in random.integers((0, 0), (320, 240)))
        size, grey = int(random.integers(8, 50)), int(random.integers(20, 235))
        if random.random() < 0.5:
            box = cv2.boxPoints(((x, y), (size, size), float(random.uniform(0, 90))))
            cv2.fillPoly(frame, [box.astype(np.int32)], (grey,))
        else:
            cv2.circle(frame, (x, y), size // 2, grey, -1)
    return frame


def other_spectrum(frame: Grey) -> Grey:
    """The same edges with other contrasts: brightness goes up and down again."""
    levels = np.arange(256)
    table = (128 + 100 * np.sin(levels / 255 * 7)).astype(np.uint8)
    return np.asarray(cv2.GaussianBlur(table[frame], (0, 0), 1.0), np.uint8)


def test_a_turned_and_shifted_frame_is_brought_back() -> None:
    visible = scene(0)
    truth = np.asarray(cv2.getRotationMatrix2D((160, 120), 5.0, 1.03), np.float64)
    truth[:, 2] += 9.0, -7.0
    # Warped pixel A x shows what belongs at x.
    moved = cv2.warpAffine(other_spectrum(visible), truth, (320, 240))
    found = refine(visible, np.asarray(moved, np.uint8))
    y, x = np.indices((240, 320)).reshape(2, -1)
    pixels = np.stack([x, y, np.ones_like(x)])
    miss = np.linalg.norm(found.A @ pixels - truth @ pixels, axis=0).mean()
    assert miss < 1.0
    assert found.confidence > 0.9
    left = np.linalg.norm(truth @ pixels - pixels[:2], axis=0).mean()
    assert found.residual_px == pytest.approx(left, abs=1.0)


def test_an_aligned_frame_stays() -> None:
    visible = scene(1)
    found = refine(visible, other_spectrum(visible))
    assert found.residual_px < 0.5
    corrected = found.apply(other_spectrum(visible))
    assert np.mean(np.abs(corrected.astype(int) - other_spectrum(visible))) < 3


@pytest.mark.parametrize("frame", [scene(7), np.full((240, 320), 99, np.uint8)])
def test_another_scene_gives_no_confidence(frame: Grey) -> None:
    assert refine(scene(2), other_spectrum(frame)).confidence < 0.5


def test_a_rig_that_moved_is_told_from_a_scene_at_another_depth() -> None:
    along = np.array([1.0, 0.0])  # the cameras stand side by side
    shifted, moved = DriftMonitor(along), DriftMonitor(along)
    for seed in range(MIN_PAIRS):
        visible = np.asarray(cv2.resize(scene(seed), (160, 120)), np.uint8)
        infrared = other_spectrum(visible)
        nearer = shifted.see(visible, np.roll(infrared, 5, axis=1))
        lower = moved.see(visible, np.roll(infrared, 5, axis=0))
    assert nearer
    assert not nearer.moved
    assert nearer.residual_px < 1
    assert lower
    assert lower.moved
    assert lower.residual_px == pytest.approx(5, abs=1)
    assert "calibrate it again" in str(lower)


def test_frames_without_structure_raise_no_alarm() -> None:
    watch = DriftMonitor(None)
    blank = np.full((240, 320), 99, np.uint8)
    assert all(watch.see(scene(0), blank) is None for _ in range(2))
    with pytest.raises(ValueError, match="limit is 0 px"):
        DriftMonitor(None, 0)


def test_frames_of_unlike_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="align them first"):
        refine(scene(0), scene(0)[:, :300])


def left_px(folder: Path, name: str) -> float:
    """
    Mean displacement left after refinement [px].

    Against the given field, and less what the source's own pair is apart: that pair is the field's
    origin, and its refinement is measured the same way.
    """
    visible = read_visible(next((folder / "visible").glob(f"{name}.*")))
    grey = np.asarray(cv2.cvtColor(visible, cv2.COLOR_RGB2GRAY), np.uint8)
    warped, source = (
        read_infrared(next((folder / which).glob(f"{name}.*")))
        for which in ("infrared_warped", "infrared")
    )
    displacement = np.load(folder / "displacement" / f"{name}.npz")["displacement_px"]
    y, x = np.indices(grey.shape).reshape(2, -1)
    pixels = np.stack([x, y, np.ones_like(x)])
    found, own = refine(grey, warped), refine(grey, source)
    assert found.confidence > 0.5
    at = (found.A @ pixels).astype(np.float32).reshape(2, *grey.shape)
    field = cv2.remap(
        displacement.astype(np.float32), at[0], at[1], cv2.INTER_LINEAR, borderValue=[np.nan] * 4
    )
    lands = at.reshape(2, -1) + field.reshape(-1, 2).T
    return float(np.nanmean(np.linalg.norm(lands - own.A @ pixels, axis=0)))


@pytest.mark.skipif(not KNOWN_WARP.is_dir(), reason=f"known misalignments are not in {KNOWN_WARP}")
@pytest.mark.parametrize("source", ["msrs", "roadscene"])
def test_known_misalignments_are_mended(source: str) -> None:
    folder = KNOWN_WARP / source
    names = sorted(path.stem for path in (folder / "displacement").iterdir())
    assert sum(left_px(folder, name) < 3 for name in names[:3]) == 3
