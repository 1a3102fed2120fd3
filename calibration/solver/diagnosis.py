"""
Why no rig fits the corners: common faults of infrared frames, tried in turn.

A mirrored or stretched frame, or one of the moment before, still shows a board. Once the fault is
undone, a rig fits, which identifies it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np

from ..boards.board import Board
from ..boards.detection import Detection
from .bundle_adjustment import PairView
from .uncertainty import GOOD_PX, Solution

Size = tuple[int, int]  # width, height [px]
Calibrate = Callable[[Sequence[PairView], tuple[Size, Size]], Solution]

BETTER = 3.0  # the error must fall by this factor
NO_CAUSE = "Nor does one fit if infrared was mirrored, stretched, or paired one frame off."
SQUARE = 0.01  # largest deviation of fx / fy from 1 without stretching


def likely_cause(
    views: Sequence[PairView],
    board: Board,
    sizes: tuple[Size, Size],
    calibrate: Calibrate,
    error_px: float = np.inf,
) -> str:
    """A sentence on the fault without which a rig fits far better than `error_px` (RMS), or ""."""
    fits = []
    for cause, changed, size in _hypotheses(views, board, sizes):
        try:
            found = calibrate(changed, (sizes[0], size)).stereo_rms_px
        except (ValueError, cv2.error, np.linalg.LinAlgError):
            continue
        if found < min(2 * GOOD_PX, error_px / BETTER):
            fits.append((found, cause))
    if not fits:
        return ""
    found, cause = min(fits)
    return f"A rig fits to {found:.1f} px if the infrared picture was {cause}."


def _hypotheses(
    views: Sequence[PairView], board: Board, sizes: tuple[Size, Size]
) -> Iterator[tuple[str, list[PairView], Size]]:
    """Possible faults with a remedy, in words, each with the views and the size without it."""
    size = sizes[1]
    index = np.arange(board.columns * board.rows).reshape(board.rows, board.columns)
    if board.kind == "chessboard":  # other boards are not detected in a mirror
        mirror = index[:, ::-1].ravel()
        yield (
            "mirrored: turn that off in the camera, or mirror its frames",
            [_mirrored(view, mirror[view.infrared.ids], size) for view in views],
            size,
        )
    ratio = _pixel_aspect(views, board, size)
    if abs(ratio - 1) > SQUARE:
        there = (size[0], round(size[1] * ratio))
        scale = there[1] / size[1]
        yield (
            f"stretched from {there[0]}x{there[1]} (its pixels are {ratio:.2f} times as high as "
            f"wide): take the frames as the sensor gives them",
            [_stretched(view, scale) for view in views],
            there,
        )
    for step, word in ((1, "later"), (-1, "earlier")):
        moved = pairwise(views)
        yield (
            f"one frame {word}: pair the frames anew, by their stamps (`segmif calibrate pair`)",
            [
                replace(a, infrared=b.infrared) if step > 0 else replace(b, infrared=a.infrared)
                for a, b in moved
            ],
            size,
        )


def _mirrored(view: PairView, ids: np.ndarray, size: Size) -> PairView:
    points = view.infrared.points * (-1, 1) + (size[0] - 1, 0)
    return replace(view, infrared=replace(view.infrared, points=points, ids=ids))


def _stretched(view: PairView, scale: float) -> PairView:
    points = (view.infrared.points + 0.5) * (1, scale) - 0.5
    return replace(view, infrared=replace(view.infrared, points=points))


def _pixel_aspect(views: Sequence[PairView], board: Board, size: Size) -> float:
    """fx / fy of the infrared camera alone, with free pixel aspect ratio."""
    seen: list[Detection] = [view.infrared for view in views]
    objects = [board.about_middle()[one.ids].astype(np.float32) for one in seen]
    images = [one.points.astype(np.float32) for one in seen]
    flags = cv2.CALIB_FIX_PRINCIPAL_POINT | cv2.CALIB_ZERO_TANGENT_DIST
    flags |= cv2.CALIB_FIX_K2 | cv2.CALIB_FIX_K3
    try:
        K = cv2.calibrateCamera(objects, images, size, np.eye(3), np.zeros(5), flags=flags)[1]
    except cv2.error:
        return 1.0
    ratio = float(K[0, 0] / K[1, 1])
    return ratio if 0.5 < ratio < 2 else 1.0
