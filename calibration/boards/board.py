"""Calibration boards: their kinds, sizes and points."""

import argparse
from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from segmif.argument_types import FloatRange
from segmif.geometry.rig import Floats

Kind = Literal["chessboard", "circles", "charuco", "aprilgrid"]
KINDS = get_args(Kind)
LARGEST = 100  # columns or rows: no camera resolves more
GAP = 0.3  # between two tags of an AprilGrid, of a tag's side: Kalibr's tagSpacing


@dataclass(frozen=True)
class Board:
    """
    A chessboard, plain or with markers (ChArUco), counted in inner corners, an asymmetric grid of
    circles, or an AprilGrid, counted in tags.

    `spacing_m` is the side of a square or a tag. For circles it is the distance of two rows, and
    half the distance of two circles in a row.
    """

    kind: Kind
    columns: int
    rows: int
    spacing_m: float  # [m]

    def __post_init__(self) -> None:
        if min(self.columns, self.rows) < 3:
            raise ValueError(f"a board of {self.columns}x{self.rows} is too small: at least 3x3")
        if max(self.columns, self.rows) > LARGEST:
            raise ValueError(
                f"a board of {self.columns}x{self.rows} is too large: at most {LARGEST}x{LARGEST}"
            )
        if not 1e-3 <= self.spacing_m <= 1:
            raise ValueError(f"a spacing of {self.spacing_m * 1e3:g} mm, expected 1 to 1000 mm")

    def __str__(self) -> str:
        name, parts = {
            "chessboard": ("chessboard", "inner corners, {} mm apart"),
            "circles": ("asymmetric grid", "circles, {} mm apart"),
            "charuco": ("ChArUco board", "inner corners, {} mm apart"),
            "aprilgrid": ("AprilGrid", "tags, {} mm wide"),
        }[self.kind]
        return f"{name} of {self.columns}x{self.rows} {parts.format(f'{1e3 * self.spacing_m:g}')}"

    @property
    def closest_m(self) -> float:
        """Distance of the two points that are closest [m]; circles: of two rows."""
        return self.spacing_m * (GAP if self.kind == "aprilgrid" else 1)

    def points(self) -> Floats:
        """Corners or centres (N, 3) in the board's frame, row by row, z = 0 [m]."""
        if self.kind == "aprilgrid":
            x, y = (_tag_sides(count) for count in (self.columns, self.rows))
            row, column = np.divmod(np.arange(x.size * y.size), x.size)
            return self.spacing_m * np.column_stack([x[column], y[row], 0 * row])
        row, column = np.divmod(np.arange(self.columns * self.rows), self.columns)
        across = 2 * column + row % 2 if self.kind == "circles" else column
        return self.spacing_m * np.column_stack([across, row, 0 * row]).astype(np.float64)

    def about_middle(self) -> Floats:
        """The points (N, 3) [m] with the origin in their middle."""
        points = self.points()
        return cast(Floats, points - points.mean(0))

    def orders(self) -> list[NDArray[np.intp]]:
        """
        Orders of the points in which the same picture can be read: as found, and turned.

        A chessboard whose squares show the same picture upside down, or whose hot squares are not
        known, can be read from either end; a square one from four sides. Circles have a top unless
        their rows are even in number, and markers say which way up they are.
        """
        if self.kind in ("charuco", "aprilgrid"):
            return [np.arange(len(self.points()))]
        index = np.arange(self.columns * self.rows).reshape(self.rows, self.columns)
        if self.kind == "circles":
            turns = [0, 2] if self.rows % 2 == 0 else [0]
        else:
            turns = [0, 1, 2, 3] if self.rows == self.columns else [0, 2]
        return [np.rot90(index, turn).ravel() for turn in turns]


def add_board_arguments(parser: argparse.ArgumentParser, usual: Board | None = None) -> None:
    """The options that name a board; required unless there is a `usual` board."""
    parser.add_argument("--board", choices=KINDS, default="chessboard")
    parser.add_argument(
        "--corners",
        required=usual is None,
        default=usual and f"{usual.columns}x{usual.rows}",
        help="inner corners, circles or tags, as COLUMNSxROWS: 9x6",
    )
    parser.add_argument(
        "--square-mm",
        type=FloatRange(1e-3, 1e6),
        required=usual is None,
        default=usual and 1e3 * usual.spacing_m,
        help="side of a square or of a tag (tags are 0.3 of it apart); circles: row distance",
    )


def board_from(args: argparse.Namespace) -> Board:
    """The board that the flags of `add_board_arguments` state; raises ValueError."""
    columns, times, rows = args.corners.lower().partition("x")
    if not (times and columns.isdecimal() and rows.isdecimal()):
        raise ValueError(f"--corners {args.corners}: expected COLUMNSxROWS, such as 9x6")
    return Board(args.board, int(columns), int(rows), args.square_mm / 1e3)


def _tag_sides(count: int) -> Floats:
    """Begin and end of each of `count` tags of side 1 in a row, (2 count,)."""
    return ((1 + GAP) * np.arange(count)[:, None] + [0, 1]).ravel()
