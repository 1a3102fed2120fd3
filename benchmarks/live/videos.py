"""Two encoded videos of one scene, with the number of each frame drawn into the visible one."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from segmif.sources.synthetic import scene

BITS, BLOCK = 16, 24  # of the number, and pixels of a block
SIZE = (640, 480)
PERIOD = 80  # frames after which the scene repeats itself


def write_videos(folder: Path, frames: int, rate: int) -> tuple[Path, Path]:
    """Write `visible.mp4` and `infrared.mp4` of so many frames, in H.264 without B frames."""
    files = folder / "visible.mp4", folder / "infrared.mp4"
    for file, pictures in zip(files, (_visible(frames), _infrared(frames)), strict=True):
        with av.open(str(file), "w") as container:
            options = {"preset": "veryfast", "tune": "zerolatency", "crf": "20", "g": str(rate)}
            stream = container.add_stream("libx264", rate=rate, options=options)
            stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
            for picture in pictures:
                frame = av.VideoFrame.from_ndarray(picture, "rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return files


def _visible(frames: int) -> Iterator[NDArray[np.uint8]]:
    pictures = [scene("visible", *SIZE, n / PERIOD) for n in range(PERIOD)]
    for number in range(frames):
        picture = pictures[number % PERIOD].copy()
        draw_number(picture, number)  # type: ignore[arg-type]
        yield picture  # type: ignore[misc]


def _infrared(frames: int) -> Iterator[NDArray[np.uint8]]:
    counts = [scene("infrared", *SIZE, n / PERIOD).astype(np.float32) for n in range(PERIOD)]
    levels = [((each - 28_000) / 6000 * 255).clip(0, 255).astype(np.uint8) for each in counts]
    for number in range(frames):
        yield np.repeat(levels[number % PERIOD][..., None], 3, 2)


def draw_number(picture: NDArray[np.uint8], number: int) -> None:
    """Draw a number (0 to 65,535) as black and white blocks, the lowest bit at the left."""
    for bit in range(BITS):
        picture[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 255 * (number >> bit & 1)
