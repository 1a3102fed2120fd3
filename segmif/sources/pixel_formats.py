"""
Decoded video frames to pixels: colour as RGB, infrared as levels or counts without any loss.

Matrix and range of YUV come from the stream. A stream that states no matrix has BT.709 from 720
lines on and BT.601 below, as players take it. A stream that states no range has the limited one.
JPEG is always BT.601 at full range (JFIF).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.imaging.codecs import Pixels
from segmif.imaging.monochrome import monochrome
from segmif.thermal.camera_profile import CameraProfile

if TYPE_CHECKING:
    from av import VideoFrame

LIMITED, FULL = 1, 2  # AVCOL_RANGE_MPEG and _JPEG
BT709, BT601, BT2020 = 1, 5, 9  # Colorspace of PyAV's reformatter (SWS_CS_*)
MATRICES = {1: BT709, 4: 4, 5: BT601, 6: BT601, 7: 7, 9: BT2020, 10: BT2020}  # of AVCOL_SPC_*
HD_LINES = 720
NEUTRAL, GREY_CHROMA = 128, 3  # levels; compression leaves so much chroma in a grey frame
# Codecs whose specification sets the limited range if they state none, also for grey.
LIMITED_GREY = frozenset({"h264", "hevc", "av1", "vp9", "mpeg2video", "mpeg4"})
# Luma of packed formats: first byte and step.
PACKED = {"yuyv422": (0, 2), "yvyu422": (0, 2), "uyvy422": (1, 2)}


@dataclass(frozen=True)
class Thermal:
    """An infrared frame, and what its format states of it."""

    pixels: Pixels  # (H, W) uint8 levels or uint16 counts
    profile: CameraProfile = field(default_factory=CameraProfile)


def visible_pixels(frame: "VideoFrame", codec: str) -> NDArray[np.uint8]:
    """A decoded frame as (H, W, 3) uint8 RGB."""
    if frame.format.name == "rgb24":
        return cast(NDArray[np.uint8], frame.to_ndarray())
    matrix = _matrix(frame, codec)
    converted = frame.reformat(
        format="rgb24",
        src_colorspace=matrix,
        # RGB has no matrix. PyAV 16 passes over the source's if both are the same.
        dst_colorspace=BT601 if matrix == BT709 else BT709,
        src_color_range=_range(frame, codec),
        dst_color_range=FULL,
    )
    return cast(NDArray[np.uint8], converted.to_ndarray())


def infrared_pixels(frame: "VideoFrame", codec: str) -> Thermal:
    """
    A decoded frame as (H, W): grey and counts bit for bit, of YUV the luma.

    Luma of 8 bit in the limited range is stretched to 0..255. Deeper luma stays as it is, since
    gain control finds its window. Raises ImageError for false colours.
    """
    name = frame.format.name
    grey = name.startswith("gray")
    if grey and "f" not in name.removeprefix("gray"):  # not gray16f and grayf32
        return _grey(frame, codec)
    if not frame.format.is_rgb and name not in ("pal8", "monow", "monob") and not grey:
        return _luma(frame, codec)
    deep = max(part.bits for part in frame.format.components) > 8
    rgb = frame.reformat(format="rgb48le" if deep else "rgb24", dst_color_range=FULL)
    return Thermal(monochrome(cast(Pixels, rgb.to_ndarray())))


def _grey(frame: "VideoFrame", codec: str) -> Thermal:
    bits = frame.format.components[0].bits
    samples = _plane(frame, 0, bits, big_endian=frame.format.name.endswith("be"))
    if bits > 8:
        return Thermal(samples, CameraProfile(bits=bits) if bits < 16 else CameraProfile())
    if _range(frame, codec) == LIMITED:
        return Thermal(_stretched(samples))
    return Thermal(samples)


def _luma(frame: "VideoFrame", codec: str) -> Thermal:
    name, bits = frame.format.name, frame.format.components[0].bits
    limited = _range(frame, codec) == LIMITED
    if bits > 8 and len(frame.planes) > 1:
        samples = _plane(frame, 0, bits, big_endian=name.endswith("be"))
        # P010 and its like hold their bits at the top of 16.
        shift = 16 - bits if name.startswith(("p0", "p2", "p4")) else 0
        _check_grey(frame, codec)
        return Thermal(cast(Pixels, samples >> shift), CameraProfile(bits=bits))
    if name in PACKED:
        first, step = PACKED[name]
        row = _bytes(frame, 0)[:, : 2 * frame.width]
        samples = np.ascontiguousarray(row[:, first::step])
        neutral = _is_neutral([row[:, 1 - first :: step]])
    elif bits == 8 and frame.format.components[0].plane == 0 and len(frame.planes) > 1:
        samples = _plane(frame, 0, 8, big_endian=False)
        neutral = _is_neutral([_bytes(frame, at) for at in range(1, min(len(frame.planes), 3))])
    else:
        return Thermal(monochrome(visible_pixels(frame, codec)))
    if not neutral:
        return Thermal(monochrome(visible_pixels(frame, codec)))
    return Thermal(_stretched(samples) if limited else samples)


def _check_grey(frame: "VideoFrame", codec: str) -> None:
    monochrome(visible_pixels(frame, codec))


def _is_neutral(chroma: Sequence[NDArray[np.uint8]]) -> bool:
    """Whether chroma planes are grey, but for what compression leaves."""
    low, high = NEUTRAL - GREY_CHROMA, NEUTRAL + GREY_CHROMA
    return all(low <= int(each.min()) and int(each.max()) <= high for each in chroma)


def _matrix(frame: "VideoFrame", codec: str) -> int:
    if codec == "mjpeg":
        return BT601
    unstated = BT709 if frame.height >= HD_LINES else BT601
    return MATRICES.get(int(frame.colorspace), unstated)


def _range(frame: "VideoFrame", codec: str) -> int:
    """LIMITED or FULL, of what the stream states."""
    name, stated = frame.format.name, int(frame.color_range)
    if name.startswith("yuvj") or codec == "mjpeg" or frame.format.is_rgb:
        return FULL
    if stated in (LIMITED, FULL):
        return stated
    if name.startswith("gray"):
        return LIMITED if codec in LIMITED_GREY else FULL
    return LIMITED


def _bytes(frame: "VideoFrame", at: int) -> NDArray[np.uint8]:
    """The bytes of a plane without what pads its rows, a view."""
    plane: Any = frame.planes[at]
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    channels = sum(part.plane == at for part in frame.format.components)
    used = plane.width * channels * (1 + (frame.format.components[0].bits > 8))
    return rows[:, : min(used, plane.line_size)]


def _plane(frame: "VideoFrame", at: int, bits: int, *, big_endian: bool) -> Pixels:
    """The samples of a plane as a copy of its own, in this machine's byte order."""
    samples = np.ascontiguousarray(_bytes(frame, at)).copy()
    if bits == 8:
        return samples
    stored = samples.view(">u2" if big_endian else "<u2")
    return cast(Pixels, stored.astype(np.uint16, copy=False))


def _stretched(luma: Pixels) -> NDArray[np.uint8]:
    """Luma of the limited range, 16..235, as 0..255."""
    return cast(NDArray[np.uint8], cv2.LUT(luma, _stretch_table()))


@lru_cache(1)
def _stretch_table() -> NDArray[np.uint8]:
    levels = (np.arange(256) - 16) * 255 / 219
    return np.clip(np.round(levels), 0, 255).astype(np.uint8)
