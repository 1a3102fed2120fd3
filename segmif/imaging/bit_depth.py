"""Samples of more than 8 bit in a visible frame: how many bits of them are significant."""

from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from segmif.imaging.headers import ImageError

BitsFrom = Literal["file", "stated", "guessed"]
USUAL_BITS = (8, 10, 12, 14, 16)  # of cameras


def significant_bits(
    samples: NDArray[np.uint16], in_file: int | None, stated: int | None
) -> tuple[int, BitsFrom]:
    """
    Tell how many bits of samples are significant, counted from the lowest, and who says.

    `in_file` is what the file says of itself. It is passed over if the samples are larger, unless
    they were moved up to 16 bits, as the PNG specification asks of files with sBIT.
    Raises ImageError if the frame's maximum does not fit into the `stated` bits.
    """
    largest = int(samples.max())
    if in_file and largest < 2**in_file:
        return in_file, "file"
    if largest >= 2**15 or (in_file and _moved_up(samples, in_file)):
        in_file = 16
    if in_file == 16 and stated is None:
        return 16, "file"
    if stated is None:
        return next(bits for bits in USUAL_BITS if largest < 2**bits), "guessed"
    if largest >= 2**stated:
        raise ImageError(
            "depth",
            f"the visible frame holds the value {largest:,}, which {stated} bits cannot hold; "
            "state the bits that the camera gives",
        )
    return stated, "stated"


def levels(
    samples: NDArray[np.uint8] | NDArray[np.uint16], in_file: int | None, stated: int | None
) -> tuple[NDArray[np.uint8], int, BitsFrom]:
    """
    Samples (H, W) or (H, W, C) as 8 bit: the upper eight of the significant ones.

    Also tells how many are significant and who says; raises ImageError as `significant_bits`.
    """
    if samples.dtype == np.uint8:
        return cast(NDArray[np.uint8], samples), 8, "file"
    deep = cast(NDArray[np.uint16], samples)
    bits, bits_from = significant_bits(deep, in_file, stated)
    moved = deep >> (bits - 8) if bits >= 8 else deep << (8 - bits)
    return cast(NDArray[np.uint8], moved.astype(np.uint8)), bits, bits_from


def _moved_up(samples: NDArray[np.uint16], bits: int) -> bool:
    """Whether samples of that many bits fill 16, with zeros or their own highest bits below."""
    low = samples & np.uint16(2 ** (16 - bits) - 1)
    return not low.any() or (bits >= 8 and bool((low == samples >> bits).all()))
