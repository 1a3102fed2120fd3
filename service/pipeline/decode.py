"""The first stage of a pair: files or raw pixels to the pictures of two cameras."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from segmif.imaging.codecs import ImageError, Pixels
from segmif.imaging.sensor_format import cropped, has_telemetry, infrared_picture
from segmif.thermal.camera_profile import CameraProfile, Cameras
from segmif.wire.raw_frames import Frame, raw_infrared, raw_visible

from ..errors import bad_frame
from .decoder.pool import IN_PROCESS, Decoder
from .stage_times import StageTimes

First = TypeVar("First")
Second = TypeVar("Second")


class RunBoth(Protocol):
    """Calls two functions, perhaps at the same time."""

    def __call__(
        self, first: Callable[[], First], second: Callable[[], Second], /
    ) -> tuple[First, Second]:
        """Give what both gave; raises what either raised."""


def run_in_turn(
    first: Callable[[], First], second: Callable[[], Second], /
) -> tuple[First, Second]:
    """Call one function after the other."""
    return first(), second()


@dataclass(frozen=True)
class DecodeOptions:
    """The decoder of a pair's frames, and their deadline."""

    decoder: Decoder = IN_PROCESS
    both: RunBoth = run_in_turn
    due: float = math.inf  # on the clock of `time.monotonic`


@dataclass(frozen=True)
class Decoded:
    """The pictures of a pair as their cameras took them; None: the camera gave none."""

    visible: NDArray[np.uint8] | None  # (H, W, 3) RGB
    infrared: Pixels | None  # (h, w)
    flags: tuple[str, ...] = ()  # what is doubtful of how they were read
    visible_grey: bool = False  # it came with one channel


def decode(
    visible: Frame | None,
    infrared: Frame | None,
    max_pixels: int,
    times: StageTimes,
    decode_options: DecodeOptions = DecodeOptions(),
    cameras: Cameras = Cameras(),  # noqa: B008  frozen
) -> Decoded:
    """
    Decode the frames there are.

    Raises BadFrame, which names the frame at fault, or what else the decoder raises.
    """
    files = all(frame and not frame.layout for frame in (visible, infrared))
    bounds = max_pixels, decode_options
    with times.measure("decode"):
        colour, heat = (
            decode_options.both if files else run_in_turn
        )(  # raw pixels are worth no other thread
            partial(_decoded, "visible", decode_visible, visible, *bounds, cameras.visible),
            partial(_decoded, "infrared", decode_infrared, infrared, *bounds, cameras.infrared),
        )
    flags = tuple(given[1] for given in (colour, heat) if given and given[1])
    grey = bool(colour and colour[2])
    return Decoded(colour[0] if colour else None, heat[0] if heat else None, flags, grey)


def _decoded(
    part: str,
    decode_frame: Callable[[Frame, int, DecodeOptions, CameraProfile], First],
    frame: Frame | None,
    max_pixels: int,
    decode_options: DecodeOptions,
    profile: CameraProfile,
) -> First | None:
    try:
        return decode_frame(frame, max_pixels, decode_options, profile) if frame else None
    except ImageError as error:
        raise bad_frame(part, error) from error


def decode_visible(
    frame: Frame, max_pixels: int, decode_options: DecodeOptions, profile: CameraProfile
) -> tuple[NDArray[np.uint8], str | None, bool]:
    """
    Colour (H, W, 3) RGB of a file or of raw pixels, a flag, and whether it came grey.

    Raises ImageError, or what else the decoder raises.
    """
    if frame.layout:
        grey = frame.layout.format == "y8"
        return cropped(raw_visible(frame, max_pixels), profile.crop), None, grey
    read = decode_options.decoder.visible(
        bytes(frame.data), max_pixels, profile.bits, decode_options.due
    )
    flag = "visible_bits_guessed" if read.bits_from == "guessed" else None
    return cropped(read.pixels, profile.crop), flag, read.grey


def decode_infrared(
    frame: Frame, max_pixels: int, decode_options: DecodeOptions, profile: CameraProfile
) -> tuple[Pixels, str | None]:
    """Heat (h, w) of a file or of raw pixels, and a flag; raises ImageError."""
    if frame.layout:
        pixels = raw_infrared(frame, max_pixels)
    else:
        pixels = decode_options.decoder.infrared(bytes(frame.data), max_pixels, decode_options.due)
    doubtful = profile.crop is None and has_telemetry(pixels.shape)
    return infrared_picture(pixels, profile), "infrared_telemetry" if doubtful else None
