"""A single image as a recording of one frame."""

from collections.abc import Iterator
from pathlib import Path

from segmif.files import read_frame
from segmif.imaging.image_header import ImageError
from segmif.sources.base import SourceBase
from segmif.sources.frame import Part, SourceError, SourceFrame
from segmif.sources.images import image_pixels
from segmif.sources.timestamps import stamp_in_name


class ImageSource(SourceBase):
    """One image; a radiometric JPEG has both parts."""

    def __init__(self, path: Path, address: str, part: Part) -> None:
        super().__init__(address)
        self._path, self._part = path, part

    def frames(self) -> Iterator[SourceFrame]:
        """Give the one frame, at time 0 if nothing states another; raises SourceError."""
        try:
            pixels, taken_ns = image_pixels(read_frame(self._path), self._part)
        except (ImageError, OSError) as error:
            raise SourceError(f"{self.address}: {error}") from None
        stamp_ns = taken_ns or stamp_in_name(self._path) or 0
        yield SourceFrame(pixels, stamp_ns, "source", self._path.name)
