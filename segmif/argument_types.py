"""Argparse types for numbers within a range, and a parser whose errors show no password."""

import math
from argparse import ArgumentParser, ArgumentTypeError
from dataclasses import dataclass
from typing import NoReturn

from segmif.addresses import masked

LARGEST = 10**9  # the default bound


@dataclass(frozen=True)
class IntegerRange:
    """Parses an integer from `low` to `high`; a `type` of argparse."""

    low: int
    high: int = LARGEST

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
    """Parses a number from `low` to `high`, infinite only if a bound is; a `type` of argparse."""

    low: float
    high: float = float(LARGEST)

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


class MaskingParser(ArgumentParser):
    """A parser, with parsers of its commands, that repeats a wrong word without its password."""

    def error(self, message: str) -> NoReturn:
        """Print usage and message, and exit with code 2."""
        super().error(masked(message))
