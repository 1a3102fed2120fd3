"""
A synthetic rig with known truth: noisy corners, or rendered frames of a board.

The cameras differ as real ones do. The visible one is sharp. The thermal one has a quarter of the
pixels, a wider lens, blur, 16-bit counts, and a warm background stronger than the squares.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.geometry.rig import Camera, Floats, Rig

from ..boards.board import Board
from ..boards.detection import Detection
from .bundle_adjustment import PairView, pose_matrix

BOARD = Board("chessboard", 9, 6, 0.0231)
TRIES = 20_000  # random poses, of which a board that fits has hundreds in view
OVERSAMPLE = 3  # of a rendered frame, along either side
QUIET = 1.0  # [squares] light margin around the board
ROOM, WARM, SQUARE = (
    21_000.0,
    29_000.0,
    900.0,
)  # [counts] room, board's middle, hot less cold squares
HEAT_RADIUS = 8.0  # [squares] over which the lamp's heat falls off
THERMAL_BLUR_PX, THERMAL_NOISE = 0.8, 25.0  # [px], [counts]
VISIBLE_BLUR_PX, VISIBLE_NOISE = 0.6, 1.5  # [px], [levels]


def example_rig() -> Rig:
    """A visible camera of 1280x960 and an infrared one of 640x480, 100 mm apart, toed in by 3."""
    visible = Camera(
        1280,
        960,
        np.array([[1150.0, 0, 652.0], [0, 1150.0, 471.0], [0, 0, 1]]),
        np.array([-0.12, 0.08, 0.0006, -0.0004, 0.0]),
    )
    infrared = Camera(
        640,
        480,
        np.array([[520.0, 0, 316.5], [0, 520.0, 243.0], [0, 0, 1]]),
        np.array([-0.25, 0.10, -0.0005, 0.0008, 0.0]),
    )
    T = pose_matrix(
        np.array([np.radians(0.7), np.radians(-4), np.radians(0.4), -0.0995, 0.006, -0.008])
    )
    return Rig(visible, infrared, T)


@dataclass(frozen=True)
class RenderedPair:
    """A rendered pair of frames, and the true positions of the corners."""

    visible: NDArray[np.uint8]  # (H, W)
    infrared: NDArray[np.uint16]  # (H', W')
    visible_points: Floats  # (N, 2) [px]
    infrared_points: Floats  # (N, 2) [px]


def poses(rig: Rig, board: Board, count: int, random: np.random.Generator) -> Iterator[Floats]:
    """
    Board poses (6,) that both cameras see whole, near and far, tilted and turned.

    Raises ValueError if none of `TRIES` is one.
    """
    found = tried = 0
    while found < count:
        tried += 1
        if tried > TRIES:
            raise ValueError(f"both cameras see no {board} whole: take a smaller one")
        tilt = random.uniform(-0.8, 0.8, 2)
        rotation = np.array([*tilt, random.uniform(-0.5, 0.5)])
        depth = random.uniform(0.22, 0.6)
        place = np.array([*(random.uniform(-0.4, 0.4, 2) * depth), depth])
        pose = pose_of_middle(np.concatenate([rotation, place]), board)
        if in_view(rig, board, pose):
            found, tried = found + 1, 0
            yield pose


def in_view(rig: Rig, board: Board, pose: Floats) -> bool:
    """Whether both cameras see a board in a pose (6,) whole."""
    visible, infrared = points(rig, board, pose)
    return _inside(visible, rig.visible) and _inside(infrared, rig.infrared)


def pose_of_middle(pose: Floats, board: Board) -> Floats:
    """The pose (6,) of a board whose middle is in `pose`."""
    place = pose[3:] - pose_matrix(pose)[:3, :3] @ board.points().mean(0)
    return np.concatenate([pose[:3], place])


def points(rig: Rig, board: Board, pose: Floats) -> tuple[Floats, Floats]:
    """Pixels (N, 2) of the board's points in the visible and in the infrared frame."""
    T = pose_matrix(pose)
    first = board.points() @ T[:3, :3].T + T[:3, 3]
    second = first @ rig.R.T + rig.t
    return rig.visible.project(first), rig.infrared.project(second)


def random_views(
    rig: Rig, board: Board, count: int, noise_px: float, random: np.random.Generator
) -> list[PairView]:
    """Views of a board in random poses."""
    return simulate_views(rig, board, poses(rig, board, count, random), noise_px, random)


def simulate_views(
    rig: Rig,
    board: Board,
    places: Iterable[Floats],
    noise_px: float,
    random: np.random.Generator,
) -> list[PairView]:
    """Views of a board in these poses (6,), with noisy corners and without pictures."""
    views = []
    ids = np.arange(len(board.points()))
    for index, pose in enumerate(places):
        pair = points(rig, board, pose)
        visible, infrared = (
            Detection(seen + random.normal(0, noise_px, seen.shape), ids, noise_px, "drawn")
            for seen in pair
        )
        views.append(PairView(f"{index:03d}", visible, infrared))
    return views


def render(rig: Rig, board: Board, pose: Floats, random: np.random.Generator) -> RenderedPair:
    """Render both frames of a heated chessboard in a pose, by the exact inverse of each lens."""
    T = pose_matrix(pose)
    squares, _ = _board_pattern(rig.visible, T, board)
    levels = np.where(np.isnan(squares), 95.0, np.where(squares > 0, 35.0, 205.0))
    visible = _sensor(levels, VISIBLE_BLUR_PX, VISIBLE_NOISE, random)

    infrared_pose = rig.T_infrared_visible @ T
    squares, away = _board_pattern(rig.infrared, infrared_pose, board)
    heat = (WARM - ROOM) * np.exp(-0.5 * (away / HEAT_RADIUS) ** 2)
    counts = ROOM + np.where(np.isnan(squares), 0.0, heat + SQUARE * (squares > 0))
    infrared = _sensor(counts, THERMAL_BLUR_PX, THERMAL_NOISE, random)
    return RenderedPair(
        visible.clip(0, 255).astype(np.uint8),
        infrared.clip(0, 65_535).astype(np.uint16),
        *points(rig, board, pose),
    )


def _board_pattern(camera: Camera, T: Floats, board: Board) -> tuple[Floats, Floats]:
    """
    Content of each fine pixel (H f, W f), f = `OVERSAMPLE`: 1 dark, 0 light, nan room.

    And its distance from the board's middle in squares, (H f, W f).
    """
    height, width = camera.height * OVERSAMPLE, camera.width * OVERSAMPLE
    y, x = np.indices((camera.height, camera.width)).reshape(2, -1)
    rays = camera.rays(np.stack([x, y], axis=1).astype(np.float64))
    # Between two pixels a ray is straight enough (1e-6 of its slope), except at the frame's rim.
    coarse = (rays @ T[:3, :3]).T.reshape(3, camera.height, camera.width)
    across = [cv2.resize(each, (width, height)) for each in coarse]
    # A ray meets the board's plane at R^T (s ray - t) with z = 0.
    origin = T[:3, 3] @ T[:3, :3]
    s = origin[2] / across[2]
    u, v = ((across[axis] * s - origin[axis]) / board.spacing_m for axis in (0, 1))
    dark = (np.floor(u) + np.floor(v)).astype(np.int64) % 2
    on_squares = (u > -1) & (u < board.columns) & (v > -1) & (v < board.rows)
    edge = 1 + QUIET
    on_board = (u > -edge) & (u < board.columns + QUIET) & (v > -edge) & (v < board.rows + QUIET)
    seen = np.where(on_board, np.where(on_squares, dark, 0.0), np.nan)
    away = np.sqrt((u - (board.columns - 1) / 2) ** 2 + (v - (board.rows - 1) / 2) ** 2)
    return seen, away


def _sensor(fine: Floats, blur_px: float, noise: float, random: np.random.Generator) -> Floats:
    blurred = cv2.GaussianBlur(fine, (0, 0), blur_px * OVERSAMPLE)
    height, width = fine.shape
    blocks = blurred.reshape(height // OVERSAMPLE, OVERSAMPLE, width // OVERSAMPLE, OVERSAMPLE)
    level: Floats = blocks.mean(axis=(1, 3))
    return level + random.normal(0, noise, level.shape)


def _inside(pixels: Floats, camera: Camera) -> bool:
    x, y = pixels.T
    return bool(
        (x > 5).all()
        and (y > 5).all()
        and (x < camera.width - 6).all()
        and (y < camera.height - 6).all()
    )
