"""The samples of the page as two live cameras that pan over them: for a first look."""

import math

from segmif.files import read_frame
from segmif.imaging.codecs import Pixels, decode_infrared, decode_visible
from segmif.sources.frame import Part, SourceError
from segmif.sources.synthetic import SyntheticSource

from ..samples import SAMPLES, sample_names

SCHEME = "sample:"
MARGIN = 48  # pixels at each side that the pan may leave out


class SampleSource(SyntheticSource):
    """`sample:night`: a window that pans over a sample, 10 frames a second, live."""

    def __init__(self, name: str, part: Part) -> None:
        """Raises SourceError for a sample that there is not."""
        super().__init__("", f"{SCHEME}{name}", part)
        if name not in sample_names():
            raise SourceError(
                f"{self.address}: there is no such sample; there are {', '.join(sample_names())}"
            )
        data = read_frame(SAMPLES / name / f"{part}.png")
        self._pixels: Pixels = decode_visible(data) if part == "visible" else decode_infrared(data)

    def picture(self, phase: float) -> Pixels:
        """The part of the sample that the window shows at a phase of 0 to 1."""
        height, width = (side - 2 * MARGIN for side in self._pixels.shape[:2])
        left = round(MARGIN * (1 + math.cos(2 * math.pi * phase)))
        top = round(MARGIN * (1 + math.sin(2 * math.pi * phase)))
        return self._pixels[top : top + height, left : left + width]
