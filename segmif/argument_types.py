"""Numbers of a command line: of a kind, with both ends, refused in words."""

import math
from argparse import ArgumentTypeError
from dataclasses import dataclass

MOST = 10**9  # of what has no other end


@dataclass(frozen=True)
class IntegerRange:
    """Reads a whole number from `low` to `high`; a `type` of argparse."""

    low: int = -MOST
    high: int = MOST

    def __call__(self, text: str) -> int:
        """Raises ArgumentTypeError."""
        try:
            value = int(text)
        except ValueError:
            value = self.high + 1
        if not self.low <= value <= self.high:
            ends = f"{self.low} to {self.high}"
            raise ArgumentTypeError(f"{text[:40]!r} is no whole number from {ends}")
        return value


@dataclass(frozen=True)
class FloatRange:
    """Reads a number from `low` to `high`, infinite only if that is; a `type` of argparse."""

    low: float = float(-MOST)
    high: float = float(MOST)

    def __call__(self, text: str) -> float:
        """Raises ArgumentTypeError."""
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not self.low <= value <= self.high:
            raise ArgumentTypeError(
                f"{text[:40]!r} is no number from {self.low:g} to {self.high:g}"
            )
        return value
