"""The first stage of a pair: files or raw pixels to the pictures of two cameras."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from segmif import images
from segmif.camera import CameraProfile, Cameras
from segmif.images import ImageError, Pixels
from segmif.sensor import cropped, has_telemetry, infrared_picture
from service.errors import bad_frame
from service.raw_frames import Frame, raw_infrared, raw_visible
from service.times import Times

First = TypeVar("First")
Second = TypeVar("Second")


class Both(Protocol):
    """Calls two functions, perhaps at the same time."""

    def __call__(
        self, first: Callable[[], First], second: Callable[[], Second], /
    ) -> tuple[First, Second]:
        """Give what both gave; raises what either raised."""


def in_turn(first: Callable[[], First], second: Callable[[], Second], /) -> tuple[First, Second]:
    """Call one function after the other."""
    return first(), second()


@dataclass(frozen=True)
class Decoded:
    """The pictures of a pair as their cameras took them; None: the camera gave none."""

    visible: NDArray[np.uint8] | None  # (H, W, 3) RGB
    infrared: Pixels | None  # (h, w)
    flags: tuple[str, ...] = ()  # what is doubtful of how they were read


def decode(
    visible: Frame | None,
    infrared: Frame | None,
    max_pixels: int,
    times: Times,
    both: Both = in_turn,
    cameras: Cameras = Cameras(),  # noqa: B008  frozen
) -> Decoded:
    """Decode the frames there are; raises BadFrame, which names the one at fault."""
    files = all(frame and not frame.layout for frame in (visible, infrared))
    with times.measure("decode"):
        colour, heat = (both if files else in_turn)(  # raw pixels are not worth another thread
            partial(_decoded, "visible", decode_visible, visible, max_pixels, cameras.visible),
            partial(_decoded, "infrared", decode_infrared, infrared, max_pixels, cameras.infrared),
        )
    flags = tuple(given[1] for given in (colour, heat) if given and given[1])
    return Decoded(colour[0] if colour else None, heat[0] if heat else None, flags)


def _decoded(
    part: str,
    decoder: Callable[[Frame, int, CameraProfile], First],
    frame: Frame | None,
    max_pixels: int,
    profile: CameraProfile,
) -> First | None:
    try:
        return decoder(frame, max_pixels, profile) if frame else None
    except ImageError as error:
        raise bad_frame(part, error) from error


def decode_visible(
    frame: Frame, max_pixels: int, profile: CameraProfile
) -> tuple[NDArray[np.uint8], str | None]:
    """Colour (H, W, 3) RGB of a file or of raw pixels, and a flag; raises ImageError."""
    if frame.layout:
        return cropped(raw_visible(frame, max_pixels), profile.crop), None
    read = images.decode_visible_frame(bytes(frame.data), max_pixels, profile.bits)
    flag = "visible_bits_guessed" if read.bits_from == "guessed" else None
    return cropped(read.pixels, profile.crop), flag


def decode_infrared(
    frame: Frame, max_pixels: int, profile: CameraProfile
) -> tuple[Pixels, str | None]:
    """Heat (h, w) of a file or of raw pixels, and a flag; raises ImageError."""
    if frame.layout:
        pixels = raw_infrared(frame, max_pixels)
    else:
        pixels = images.decode_infrared(bytes(frame.data), max_pixels)
    doubtful = profile.crop is None and has_telemetry(pixels.shape)
    return infrared_picture(pixels, profile), "infrared_telemetry" if doubtful else None
