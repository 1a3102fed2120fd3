"""Argparse types for numbers within a range, and a parser whose errors show no password."""

import math
from argparse import ArgumentParser, ArgumentTypeError
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NoReturn

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

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As argparse; a command itself refuses what it does not know, with what was meant."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            word = unknown[0].partition("=")[0]
            meant = get_close_matches(word, self._option_string_actions, 1)
            hint = f"; did you mean {meant[0]}?" if meant else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        """Print how to get help and the message, and exit with code 2."""
        how = f"usage: {self.prog} --help says what there is\n"
        self.exit(2, f"{how}{self.prog}: error: {masked(message)}\n")
