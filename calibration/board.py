"""The boards that both cameras can see."""

from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from segmif.rig import Floats

Kind = Literal["chessboard", "circles", "charuco"]
KINDS = get_args(Kind)


@dataclass(frozen=True)
class Board:
    """
    A chessboard, plain or with markers (ChArUco), counted in inner corners, or an asymmetric grid
    of circles.

    `spacing_m` is the side of a square, or half the distance between two circles of one row (the
    rows are as far apart, and every second one is shifted by it).
    """

    kind: Kind
    columns: int
    rows: int
    spacing_m: float  # [m]

    def __post_init__(self) -> None:
        if min(self.columns, self.rows) < 3:
            raise ValueError(f"a board of {self.columns}x{self.rows} is too small: at least 3x3")
        if not 1e-3 <= self.spacing_m <= 1:
            raise ValueError(f"a spacing of {self.spacing_m * 1e3:g} mm, expected 1 to 1000 mm")

    def __str__(self) -> str:
        parts = "circles" if self.kind == "circles" else "inner corners"
        names = {"circles": "asymmetric grid", "charuco": "ChArUco board"}
        kind = names.get(self.kind, self.kind)
        return f"{kind} of {self.columns}x{self.rows} {parts}, {self.spacing_m * 1e3:g} mm apart"

    def points(self) -> Floats:
        """Corners or centres (N, 3) in the board's frame, row by row, z = 0 [m]."""
        row, column = np.divmod(np.arange(self.columns * self.rows), self.columns)
        x = 2 * column + row % 2 if self.kind == "circles" else column
        return self.spacing_m * np.column_stack([x, row, 0 * row]).astype(np.float64)

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
        index = np.arange(self.columns * self.rows).reshape(self.rows, self.columns)
        if self.kind == "charuco":
            turns = [0]
        elif self.kind == "circles":
            turns = [0, 2] if self.rows % 2 == 0 else [0]
        else:
            turns = [0, 1, 2, 3] if self.rows == self.columns else [0, 2]
        return [np.rot90(index, turn).ravel() for turn in turns]


def parse_board(kind: Kind, corners: str, spacing_mm: float) -> Board:
    """A board from the words of a command line, `corners` as COLUMNSxROWS; raises ValueError."""
    columns, times, rows = corners.lower().partition("x")
    if not (times and columns.isdecimal() and rows.isdecimal()):
        raise ValueError(f"--corners {corners}: expected COLUMNSxROWS, such as 9x6")
    return Board(kind, int(columns), int(rows), spacing_mm / 1e3)
