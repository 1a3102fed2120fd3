"""The header of an encoded image, and the error for images that are refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Format = Literal["png", "jpeg", "tiff"]
Kind = Literal[
    "empty", "unsupported_type", "damaged", "too_large", "channels", "depth", "crop", "byte_order"
]

MAX_PIXELS = 50_000_000
# Deflate packs at most 1032:1, LZW of 12-bit codes about 1370:1.
MAX_RATIO = 1400


class ImageError(ValueError):
    """Bytes or pixels that cannot be used as a frame: a sentence, and `kind` for programs."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind: Kind = kind


@contextmanager
def naming_the_file(path: Path) -> Iterator[None]:
    """Put the path before the sentence of an ImageError."""
    try:
        yield
    except ImageError as error:
        raise ImageError(error.kind, f"{path}: {error}") from error


@dataclass(frozen=True)
class Header:
    """The statements of an image's header; the decoded array must match them exactly."""

    format: Format
    width: int  # [px], positive
    height: int  # [px], positive
    channels: int  # 1, 3 or 4, as the decoder gives them
    depth: Literal[8, 16]  # bits of a decoded sample
    decodable: bytes | memoryview = field(repr=False)  # the checked parts alone
    significant_bits: int | None = None  # of a sample, if the file states them
    unused_bits: int = 0  # below each decoded sample: of 10, 12 and 14-bit TIFF
    inverted: bool = False  # 0 is white
    index_bits: int = 0  # of a palette index that is decoded as a grey level

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the decoded array: (H, W), or (H, W, channels)."""
        size = (self.height, self.width)
        return size if self.channels == 1 else (*size, self.channels)

    @property
    def largest(self) -> int:
        """The largest value that a sample of the file can have."""
        return (1 << self.depth - self.unused_bits) - 1


def check_size(format: Format, width: int, height: int, max_pixels: int) -> None:
    """Raise ImageError for a side of zero and for more than `max_pixels`."""
    if width == 0 or height == 0:
        raise ImageError(
            "damaged", f"the {format.upper()} header states a size of {width}x{height}"
        )
    if width * height > max_pixels:
        raise ImageError(
            "too_large",
            f"the image is {width}x{height}, at most {max_pixels:,} pixels are taken",
        )


def check_ratio(format: Format, width: int, height: int, unpacked: int, packed: int) -> None:
    """Raise ImageError if `packed` bytes cannot hold `unpacked` bytes of pixels."""
    if unpacked > MAX_RATIO * packed:
        raise ImageError(
            "damaged",
            f"the {format.upper()} cannot be decoded: it states {width}x{height} pixels, "
            f"{unpacked:,} bytes, which its {packed:,} bytes cannot hold",
        )
