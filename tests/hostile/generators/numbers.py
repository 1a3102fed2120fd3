"""Values at which readers go wrong."""

from typing import Any

# Numbers at which readers go wrong: ends of types, signs, what is not finite.
WHOLE = [0, 1, 2, 3, 4, 7, 8, 12, 16, 32, 47, 48, 63, 64, 65, 255, 256, 4096, 65_535, 65_536]
HUGE = [2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, 10**18, 10**30, 10**400]
STRANGE: list[Any] = [
    -1,
    True,
    None,
    "",
    "64",
    "x" * 70,
    [],
    {},
    [[]],
    0.5,
    -0.0,
    1e-300,
    1e300,
    1e308,
]
NOT_FINITE = [float("nan"), float("inf"), float("-inf")]
