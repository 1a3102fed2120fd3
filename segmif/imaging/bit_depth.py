"""Significant bits of visible frames with more than 8 bits a sample."""

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
    Number of significant bits of samples, counted from the lowest, and its source.

    `in_file` is the file's own statement. It is ignored if samples are larger, unless they are
    left-aligned in 16 bits, as the PNG specification asks of files with sBIT.
    Raises ImageError if the frame's maximum does not fit into the `stated` bits.
    """
    largest = int(samples.max())
    if in_file and largest < 2**in_file:
        return in_file, "file"
    if largest >= 2**15 or (in_file and _is_left_aligned(samples, in_file)):
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

    Also returns their number and its source; raises ImageError as `significant_bits`.
    """
    if samples.dtype == np.uint8:
        return cast(NDArray[np.uint8], samples), 8, "file"
    deep = cast(NDArray[np.uint16], samples)
    bits, bits_from = significant_bits(deep, in_file, stated)
    moved = deep >> (bits - 8) if bits >= 8 else deep << (8 - bits)
    return cast(NDArray[np.uint8], moved.astype(np.uint8)), bits, bits_from


def _is_left_aligned(samples: NDArray[np.uint16], bits: int) -> bool:
    """Whether samples of that many bits stand at the top of 16, over zeros or their own copies."""
    low = samples & np.uint16(2 ** (16 - bits) - 1)
    return not low.any() or (bits >= 8 and bool((low == samples >> bits).all()))
