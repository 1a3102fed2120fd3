"""Fits a homography to point pairs picked by hand, for a rig without board frames."""

import argparse
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from segmif.geometry.alignment import align
from segmif.geometry.rig import Floats, Homography, write_rig
from segmif.parsing import read_table
from segmif.spared_inputs import check_spared

from ..io.recordings import add_camera_arguments, cameras_from_args, print_notes, telemetry_hint

Size = tuple[int, int]  # width, height [px]

COLUMNS = ("visible_x", "visible_y", "infrared_x", "infrared_y")
MIN_PAIRS = 5  # four fit any homography without showing an error
CLICK_STD_PX = 1.0  # of the infrared frame: one standard deviation of a careful click
SPREAD_SHARE = 0.1  # of the infrared frame's longer side: largest standard deviation of a corner
INLIER_PX = 5.0  # of the infrared frame: clicks are rarely worse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--points",
        type=Path,
        required=True,
        help=f"a CSV file with the columns {','.join(COLUMNS)}",
    )
    parser.add_argument("--visible-size", required=True, help="WIDTHxHEIGHT of its frames, pixels")
    parser.add_argument("--infrared-size", required=True, help="WIDTHxHEIGHT of its frames, pixels")
    add_camera_arguments(
        parser, "and kept in the rig file; sizes and points are those after a crop"
    )
    parser.add_argument("--out", type=Path, required=True, help="the rig file to write")


def main(args: argparse.Namespace) -> int:
    cameras = cameras_from_args(args)
    check_spared([args.out], [args.points])
    sizes = parse_size(args.visible_size), parse_size(args.infrared_size)
    print_notes(telemetry_hint(sizes[1][::-1], cameras.infrared))
    points = read_points(args.points, *sizes)
    H, errors, used = fit(points)
    check_spread(H, points[used, :2], max(errors[used].mean(), CLICK_STD_PX), sizes)
    rig = Homography(*sizes, H, frames=cameras)
    align(rig)  # raises ValueError for one that shows nothing
    write_rig(args.out, rig)
    print(
        f"{int(used.sum())} of {len(points)} pairs used, error {errors[used].mean():.2f} px (mean)"
    )
    for number in np.flatnonzero(~used).tolist():
        print(f"  pair {number + 1} is {errors[number]:.1f} px off and was left out")
    return 0


def read_points(path: Path, visible: tuple[int, int], infrared: tuple[int, int]) -> Floats:
    """Pairs (N, 4) in pixels from a CSV file; raises OSError, or ValueError with the line."""
    points = []
    for line, row in read_table(path, COLUMNS)[1]:
        try:
            points.append([float(row[name]) for name in COLUMNS])
        except ValueError:
            raise ValueError(f"{path}, line {line}: four numbers expected") from None
    if len(points) < MIN_PAIRS:
        raise ValueError(f"{path}: {len(points)} pairs, at least {MIN_PAIRS} are needed")
    pairs = np.array(points)
    outside = ~((pairs >= -0.5) & (pairs <= np.array([*visible, *infrared]) - 0.5)).all(1)
    if outside.any():
        number = int(np.flatnonzero(outside)[0]) + 1
        raise ValueError(f"{path}: pair {number} lies outside the frames; are the sizes swapped?")
    return pairs


def fit(pairs: Floats) -> tuple[Floats, Floats, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """H_infrared_visible (3, 3), errors (N,) in infrared pixels, and which pairs were used."""
    visible, infrared = pairs[:, :2], pairs[:, 2:]
    H, used = cv2.findHomography(visible, infrared, cv2.RANSAC, INLIER_PX)
    if H is None or int(used.sum()) < MIN_PAIRS:
        raise ValueError(
            f"no plane explains {MIN_PAIRS} of the {len(pairs)} pairs within {INLIER_PX:g} px: "
            "pick points at one distance, spread over the frame"
        )
    errors = np.linalg.norm(cv2.perspectiveTransform(visible[None], H)[0] - infrared, axis=1)
    return np.asarray(H, np.float64), np.asarray(errors, np.float64), used.ravel().astype(bool)


def check_spread(H: Floats, visible: Floats, error_px: float, sizes: tuple[Size, Size]) -> None:
    """
    Raise ValueError if the points (N, 2) do not determine the homography over the whole frame.

    Propagates the covariance of H from clicks of `error_px` to the frame's corners and middle.
    """
    (width, height), infrared = sizes
    x, y = np.array([0, width - 1, 0, width - 1, width / 2]), np.array([0, 0, 1, 1, 0.5])
    corners = np.stack([x, y * (height - 1)], axis=1)
    with np.errstate(all="ignore"):  # a corner at the plane's horizon is uncertain without end
        J, there = _derivatives(H, visible), np.nan_to_num(_derivatives(H, corners), nan=np.inf)
    scale = np.linalg.norm(J, axis=0)
    _, s, Vt = np.linalg.svd(J / scale, full_matrices=False)
    spread = (there / scale) @ Vt.T / np.maximum(s, 1e-12)
    std = error_px * float(np.sqrt((spread**2).sum(1).max()))
    if not std < SPREAD_SHARE * max(infrared):
        raise ValueError(
            f"the points do not determine the frame's corners (uncertain by {std:.0f} px of "
            "infrared): pick more points, not on one line, spread over the whole frame"
        )


def _derivatives(H: Floats, points: Floats) -> Floats:
    """Derivatives (2N, 8) of infrared pixels by the first eight numbers of H over the last."""
    x, y = points.T
    one, none = np.ones_like(x), np.zeros_like(x)
    u, v, w = (H / H[2, 2]) @ np.stack([x, y, one])
    across = np.stack([x, y, one, none, none, none, -x * u / w, -y * u / w]) / w
    down = np.stack([none, none, none, x, y, one, -x * v / w, -y * v / w]) / w
    return cast(Floats, np.concatenate([across.T, down.T]))


def parse_size(text: str) -> tuple[int, int]:
    width, times, height = text.lower().partition("x")
    if not (times and width.isdecimal() and height.isdecimal()):
        raise ValueError(f"{text}: expected WIDTHxHEIGHT, such as 640x480")
    return int(width), int(height)
