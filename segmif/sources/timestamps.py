"""Time stamps of frames, in file names and in text."""

import re
from pathlib import Path

UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
# Digits of a time since 1970 in whole units, from 2001 to 2286.
DIGITS = {10: "s", 13: "ms", 16: "us", 19: "ns"}


def stamp_of(path: Path, unit: str | None, counter: str | None = None) -> int:
    """
    The last number in a frame's name as a time [ns], its unit as stated or by its digits.

    A number that is no time since 1970 counts in units of `counter`. Raises ValueError without it.
    """
    numbers = re.findall(r"\d+(?:\.\d+)?", path.stem)
    whole = numbers[-1].partition(".")[0] if numbers else ""
    unit = unit or _unit_by_digits(whole) or counter
    if not numbers or unit is None:
        raise ValueError(
            f"{path}: the name is no time since 1970 in s, ms, us or ns: state --unit, or a CSV "
            "file of stamps"
        )
    return nanoseconds(numbers[-1], unit)


def _unit_by_digits(whole: str) -> str | None:
    # Nanoseconds are written with leading zeros; other numbers that begin with 0 only count frames.
    counts = whole.startswith("0") and len(whole) < 19
    return None if counts else DIGITS.get(len(whole))


def stamp_in_name(path: Path) -> int | None:
    """The last number in a frame's name [ns], if by its digits it is a time since 1970."""
    try:
        return stamp_of(path, None)
    except ValueError:
        return None


def nanoseconds(text: str, unit: str) -> int:
    """A decimal number of a unit in whole nanoseconds; ValueError from 2**63 on."""
    # Digits, not floats: a double holds 1.7e18 ns only to the next 256.
    whole, _, part = text.partition(".")
    scale = UNITS[unit]
    found = int(whole) * scale + int((part + "0" * 9)[:9]) * scale // 10**9
    if found >= 1 << 63:
        raise ValueError(f"{text} {unit} is more than any clock of nanoseconds holds")
    return found
