"""
Masks as run lengths, as CVAT, COCO and Label Studio write them.

Each reader takes numbers from a file of somebody else: it checks them before it makes an array.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .shapes import Mask

MAX_RUN = 1 << 16  # values of one run in Label Studio's format
RUN_BITS = (3, 4, 8, 16)  # the sizes of a run's length there; two bits choose one
RGBA = 4


def runs_of(values: NDArray[np.bool_]) -> list[int]:
    """Lengths of the runs of a flat mask by turns off and on; the first, off, may be 0."""
    edges = np.flatnonzero(np.diff(values.astype(np.int8))) + 1
    ends = np.concatenate(([0], edges, [len(values)]))
    lengths: list[int] = np.diff(ends).tolist()
    return [0, *lengths] if len(values) and values[0] else lengths


def values_of(runs: Sequence[int], length: int) -> NDArray[np.bool_]:
    """The flat mask of `length` that runs describe; ValueError unless they add up to it."""
    # before an array is made: a number of a file may be larger than any that an array holds
    if any(not 0 <= run <= length for run in runs) or sum(runs) != length:
        raise ValueError(f"the runs of a mask add up to other than its {length} pixels")
    counts = np.asarray(runs, np.int64)
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts)


def coco_counts(mask: Mask) -> str:
    """A mask (H, W) as COCO's compressed string: runs by columns, each as a difference."""
    runs = runs_of(np.asarray(mask.ravel(order="F")))
    text = []
    for index, run in enumerate(runs):
        number = run - runs[index - 2] if index > 2 else run
        while True:
            bits, number = number & 31, number >> 5
            more = number != (-1 if bits & 16 else 0)
            text.append(chr(48 + (bits | (32 if more else 0))))
            if not more:
                break
    return "".join(text)


def coco_runs(counts: str) -> list[int]:
    """The runs of COCO's compressed string; ValueError for other characters."""
    runs: list[int] = []
    number, shift = 0, 0
    for character in counts:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise ValueError("the counts of a mask are no run lengths of COCO")
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            number -= 1 << shift
        runs.append(number + runs[-2] if len(runs) > 2 else number)
        number, shift = 0, 0
    if shift:
        raise ValueError("the counts of a mask end within a number")
    return runs


def coco_mask(counts: str | Sequence[int], height: int, width: int) -> Mask:
    """A mask (height, width) of COCO's runs, compressed or not; ValueError as `values_of`."""
    runs = coco_runs(counts) if isinstance(counts, str) else counts
    return values_of(runs, height * width).reshape((height, width), order="F")


def brush_of(mask: Mask) -> list[int]:
    """
    A mask (H, W) as Label Studio's brush has it: RGBA bytes in the format of thi.ng/rle-pack.

    Head: 32 bits of the number of values, 5 of their size, four times 4 of the sizes of a length.
    Then for each run a bit (1: one value repeated), 2 bits of the size, the length, the value.
    """
    head = f"{RGBA * mask.size:032b}{7:05b}" + "".join(f"{bits - 1:04b}" for bits in RUN_BITS)
    parts = [head]
    for number, run in enumerate(runs_of(mask.ravel())):
        value = f"{255 * (number % 2):08b}"
        left = RGBA * run
        while left:
            length = min(left, MAX_RUN)
            size = next(n for n, bits in enumerate(RUN_BITS) if length <= 1 << bits)
            parts.append(f"1{size:02b}{length - 1:0{RUN_BITS[size]}b}{value}")
            left -= length
    bits = "".join(parts)
    bits += "0" * (-len(bits) % 8)
    return list(int(bits, 2).to_bytes(len(bits) // 8, "big"))


def mask_of_brush(values: Sequence[int], height: int, width: int) -> Mask:
    """The mask (height, width) of a brush: where its alpha is not 0; ValueError if damaged."""
    try:
        data = bytes(values)
    except ValueError:
        raise ValueError("the bytes of a brush are no numbers from 0 to 255") from None
    bits = _Bits(data)
    count = bits.take(32)
    if count != RGBA * height * width:
        raise ValueError(
            f"a brush holds {count} values, an image of {width}x{height} has "
            f"{RGBA * height * width}"
        )
    pieces = list(_pieces(bits, count))
    flat = np.concatenate(pieces) if pieces else np.zeros(0, np.uint8)
    return np.asarray(flat.reshape(height, width, RGBA)[..., 3] > 0)


def _pieces(bits: "_Bits", count: int) -> Iterator[NDArray[np.uint8]]:
    size = bits.take(5) + 1
    if size != 8:
        raise ValueError(f"the values of a brush have {size} bits, 8 are expected")
    lengths = [bits.take(4) + 1 for _ in range(4)]
    while count:
        repeats = bits.take(1)
        run = bits.take(lengths[bits.take(2)]) + 1
        if run > count:
            raise ValueError("a brush holds more values than it states")
        count -= run
        yield np.full(run, bits.take(8), np.uint8) if repeats else bits.bytes(run)


class _Bits:
    """Numbers of any size, read from bytes one after another."""

    def __init__(self, data: bytes) -> None:
        self._bits = np.unpackbits(np.frombuffer(data, np.uint8))
        self._text = self._bits.tobytes().translate(bytes.maketrans(b"\0\1", b"01"))
        self._at = 0

    def take(self, size: int) -> int:
        """The next `size` bits as a number; ValueError beyond the end."""
        return int(self._text[self._step(size) : self._at], 2)

    def bytes(self, count: int) -> NDArray[np.uint8]:
        """The next `count` bytes."""
        start = self._step(8 * count)
        return np.packbits(self._bits[start : self._at])

    def _step(self, size: int) -> int:
        start, self._at = self._at, self._at + size
        if self._at > len(self._text):
            raise ValueError("a brush ends before its values do")
        return start
