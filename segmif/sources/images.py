"""Image files as frames of a camera: plain ones, and radiometric JPEG."""

from segmif.imaging.codecs import Pixels, decode_infrared, decode_visible
from segmif.sources import flir
from segmif.sources.frame import Part

JPEG = b"\xff\xd8"


def image_pixels(data: bytes, part: Part) -> tuple[Pixels, int | None]:
    """
    The pixels of an encoded image, and when it was taken [ns since 1970] if it states that.

    Visible (H, W, 3) RGB; infrared (H, W), of a radiometric JPEG its counts. Raises ImageError.
    """
    block = flir.block_of_jpeg(data) if data[:2] == JPEG else None
    taken_ns = flir.time_of(block) if block else None
    if part == "visible":
        return (flir.visible_of_jpeg(data, block) if block else decode_visible(data)), taken_ns
    return (flir.counts_of(block) if block else decode_infrared(data)), taken_ns
