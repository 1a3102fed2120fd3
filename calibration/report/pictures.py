"""The pictures of a calibration report."""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.geometry.alignment import align
from segmif.geometry.rectification import rectifying_rotations
from segmif.geometry.rig import Camera, Floats, Rig
from segmif.imaging.codecs import Pixels, infrared_levels

from ..boards.detection import Detection, Refusal, flatten
from ..solver.stereo import Size

Colour = NDArray[np.uint8]

FOUND = (60, 220, 60)
BEFORE = (70, 130, 255)
LINE = (255, 190, 0)
LINES = 12
TILES = 10  # of a blend, along its width
BACKGROUND_PX = 12.0  # shows a board's squares in an infrared frame of 480 rows


def found_corners(
    frame: Pixels, seen: Detection | Refusal, width: int, before: Sequence[Floats] = ()
) -> Colour:
    """
    A frame (H, W) with its corners if any, joined in order, `width` pixels wide, RGB.

    Dots mark the corners (N, 2) of views `before`: places without dots need a board.
    """
    scale = width / frame.shape[1]
    picture = _shrunk(_colour(_board_contrast(frame)), scale)
    for x, y in np.rint(np.vstack(before) * scale).astype(int).tolist() if before else ():
        cv2.circle(picture, (x, y), 1, BEFORE, -1)
    if isinstance(seen, Refusal):
        return picture
    at = [tuple(int(v) for v in point) for point in np.rint(seen.points * scale)]
    for first, second in pairwise(at):
        cv2.line(picture, first, second, LINE, 1, cv2.LINE_AA)
    for point in at:
        cv2.circle(picture, point, 3, FOUND, 1, cv2.LINE_AA)
    return picture


def rectified_pair(rig: Rig, visible: Pixels, infrared: Pixels) -> Colour:
    """Both frames rectified side by side, with common epipolar lines, RGB."""
    first, second, upright = rectifying_rotations(rig)
    looks = ((visible, rig.visible, first), (infrared, rig.infrared, second))
    # Each picture may shift along the lines to fill its frame; across them both must agree.
    middles = np.array([R[:2, 2] / R[2, 2] for _, _, R in looks])
    shared = 0 if upright else 1
    middles[:, shared] = middles[:, shared].mean()
    size = (rig.infrared.width, rig.infrared.height)
    sides = [
        _pinhole(_board_contrast(frame), camera, R, middle, rig.infrared.fx, size)
        for (frame, camera, R), middle in zip(looks, middles, strict=True)
    ]
    picture = _colour(np.vstack(sides) if upright else np.hstack(sides))
    for at in np.linspace(0, size[shared], LINES + 2)[1:-1].round().astype(int).tolist():
        start = (at, 0) if upright else (0, at)
        end = (at, picture.shape[0]) if upright else (picture.shape[1], at)
        cv2.line(picture, start, end, LINE, 1)
    return picture


def blends(rig: Rig, visible: Pixels, infrared: Pixels, depth_m: float) -> tuple[Colour, Colour]:
    """Tiles of visible and infrared by turns, before and after alignment to a plane, RGB."""
    levels = _board_contrast(infrared)
    size = (rig.visible.width, rig.visible.height)
    stretched = cast(NDArray[np.uint8], cv2.resize(levels, size))
    aligned = align(rig, depth_m).apply(levels)
    shown = _board_contrast(visible)
    return _tiles(shown, stretched), _tiles(shown, aligned)


def overlay(rig: Rig, visible: Pixels, infrared: Pixels, depth_m: float) -> Colour:
    """The aligned infrared in red over the visible in cyan, (H, W, 3) RGB."""
    warm = align(rig, depth_m).apply(_board_contrast(infrared))
    cold = _board_contrast(visible)
    return np.stack([warm, cold, cold], axis=-1)


def _board_contrast(frame: Pixels) -> NDArray[np.uint8]:
    """8 bit (H, W); a 16-bit frame has its background subtracted, so that faint squares show."""
    if frame.dtype == np.uint8:
        return cast(NDArray[np.uint8], frame)
    even = flatten(frame, BACKGROUND_PX * frame.shape[0] / 480)
    plain = infrared_levels(frame).pixels
    return cast(NDArray[np.uint8], cv2.addWeighted(even, 0.7, plain, 0.3, 0))


def _tiles(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Colour:
    y, x = np.indices(first.shape) // (first.shape[1] // TILES)
    warm = _colour(second) * np.array([1.0, 0.8, 0.6])
    return np.where(((x + y) % 2 == 0)[..., None], _colour(first), warm.astype(np.uint8))


def _pinhole(
    levels: NDArray[np.uint8], camera: Camera, R: Floats, middle: Floats, f: float, size: Size
) -> NDArray[np.uint8]:
    """The view of a pinhole camera rotated by `R` (camera to pinhole), centred at `middle` f."""
    width, height = size
    y, x = np.indices((height, width)).reshape(2, -1)
    plane = np.stack([x - width / 2, y - height / 2], axis=1) / f + middle
    points = np.column_stack([plane, np.ones(x.size)]) @ R
    sees = camera.sees(points)
    at = np.full((x.size, 2), -10.0)
    at[sees] = camera.project(points[sees])
    maps = at.astype(np.float32).reshape(height, width, 2)
    return cast(NDArray[np.uint8], cv2.remap(levels, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR))


def _colour(levels: NDArray[np.uint8]) -> Colour:
    return cast(Colour, cv2.cvtColor(levels, cv2.COLOR_GRAY2RGB))


def _shrunk(picture: Colour, scale: float) -> Colour:
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cast(Colour, cv2.resize(picture, None, fx=scale, fy=scale, interpolation=method))
