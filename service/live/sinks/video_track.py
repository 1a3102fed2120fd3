"""Pictures encoded into a container: the only part of the sinks that encodes video."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from segmif.install import install_command

from .sink_error import SinkError

if TYPE_CHECKING:  # a process of its own streams, and starts the sooner
    from av import Packet
    from av.container import OutputContainer

    from segmif.imaging.codecs import Pixels

KEYFRAME_NS = 1_000_000_000
FINE = Fraction(1, 90_000)  # rounds stamps by 6 us at most
RATE = 30  # what encoders reckon with: the stamps decide
LEAST_APART = 8  # pictures that are encoded on their own
# It says much by itself, and states the rate in each file.
X265 = {"libx265": {"x265-params": "log-level=error:vui-timing-info=0"}}
# Levels of H.264 with their macroblocks a frame (table A-1), which at RATE keep within the level.
LEVELS = {"3.0": 1350, "3.1": 3600, "4.0": 8192, "5.0": 19_660, "5.1": 32_768, "5.2": 36_864}
GROUP = 600  # frames without a keyframe, if a second has so many


@dataclass(frozen=True)
class Encoder:
    """An encoder of FFmpeg."""

    name: str
    pix_fmt: str
    options: Mapping[str, str] = field(default_factory=dict)
    finest: Fraction = FINE  # time base that it takes
    group: int = GROUP
    rated: bool = False  # it needs the rate of the stream
    bt601: bool = False  # the matrix that is taken if none is named; else BT.709, named


def av_module() -> Any:
    """PyAV; raises SinkError with what to install."""
    try:
        import av
    except ModuleNotFoundError:
        raise SinkError(f"video needs the package av: {install_command('live')}") from None
    return av


def encoder_for(codec: str, quality: int) -> Encoder:
    """
    The encoder of a codec for colour pictures; raises SinkError if FFmpeg has none.

    `quality` is the constant rate factor of H.264, 0 (best) to 51.
    """
    if codec == "h264" and has_encoder("libx264"):
        options = {"preset": "veryfast", "tune": "zerolatency", "crf": str(quality)}
        return Encoder("libx264", "yuv420p", options | {"forced-idr": "1"})
    if codec in ("h264", "mpeg4"):  # MPEG-4 counts time in 16 bits, and names no matrix
        scale = str(118 * max(1, quality // 6))
        options = {"flags": "+qscale", "global_quality": scale}
        return Encoder("mpeg4", "yuv420p", options, Fraction(1, 60_000), bt601=True)
    if codec == "ffv1":
        return lossless("bgr0")
    return _tried(Encoder(codec, "yuv420p", X265.get(codec, {}), group=RATE, rated=True))


def lossless(pix_fmt: str) -> Encoder:
    """FFV1, every frame on its own, with checksums."""
    return Encoder("ffv1", pix_fmt, {"level": "3", "slices": "4", "slicecrc": "1"}, group=1)


def _tried(encoder: Encoder) -> Encoder:
    """An encoder that works; those of hardware may be there without it."""
    av = av_module()
    try:
        context = av.CodecContext.create(encoder.name, "w")
        context.width, context.height, context.pix_fmt = 256, 256, encoder.pix_fmt
        context.time_base, context.options = encoder.finest, dict(encoder.options)
        context.open()
    except (ValueError, OSError, av.FFmpegError):
        raise SinkError(
            f"FFmpeg has no working encoder {encoder.name!r} here: expected h264, mpeg4, ffv1, or "
            "the name of one that works on this machine"
        ) from None
    return encoder


def has_encoder(name: str) -> bool:
    """Whether FFmpeg has an encoder of this name."""
    av = av_module()
    try:
        av.Codec(name, "w")
    except ValueError:
        return False
    return True


def padding(encoder: Encoder, shape: tuple[int, ...]) -> tuple[int, int]:
    """Pixels that are added at the right and at the bottom: 4:2:0 has even sides only."""
    odd = encoder.pix_fmt == "yuv420p"
    return (shape[1] % 2, shape[0] % 2) if odd else (0, 0)


def level(encoder: Encoder, shape: tuple[int, ...]) -> dict[str, str]:
    """The level of pictures (H, W, ...), as an option: without a rate x264 takes a high one."""
    if encoder.name != "libx264":
        return {}
    blocks = -(-shape[0] // 16) * -(-shape[1] // 16)
    fitting = next((name for name, most in LEVELS.items() if blocks <= most), None)
    return {"level": fitting} if fitting else {}


class Keyframes:
    """When a picture is to be a keyframe: once a second, by the stamps."""

    def __init__(self, least: int = 1) -> None:
        """`least` pictures come from one to the next, however slow they are."""
        self._least, self._since = least, 0
        self._last_ns: int | None = None

    def is_due(self, stamp_ns: int) -> bool:
        """Take the next picture; gives whether it is to be one."""
        if self._last_ns is not None:
            late = stamp_ns - self._last_ns >= KEYFRAME_NS
            if not late or self._since < self._least:
                self._since += 1
                return False
        self._last_ns, self._since = stamp_ns, 1
        return True


class VideoTrack:
    """The one video stream of a container."""

    def __init__(
        self,
        container: OutputContainer,
        encoder: Encoder,
        shape: tuple[int, ...],
        finest: Fraction = FINE,
        *,
        apart: bool = False,
    ) -> None:
        """
        `finest` is the time base of the container; raises what FFmpeg raises.

        With `apart` what comes from a keyframe to the next is encoded on its own: the same pictures
        give the same packets, whatever came before.
        """
        self._av: Any = av_module()
        self._container, self._encoder = container, encoder
        self._time_base = max(finest, encoder.finest)
        self._right, self._bottom = padding(encoder, shape)
        self._size = shape[1] + self._right, shape[0] + self._bottom
        # Players take the rate of MKV at its word; without one they go by the stamps.
        unrated = container.format.name == "matroska"
        self._rate = 0 if unrated and not encoder.rated else RATE
        self._options = dict(encoder.options) | ({} if self._rate else level(encoder, shape))
        if unrated and encoder.rated:
            self._stream, self._flags = self._unrated_stream()
            self._context = self._encoder_alone()
        else:
            self._stream = self._rated_stream(container)
            self._context = self._stream.codec_context
            self._flags = self._context.flags
        # Where each picture stands alone, all are apart by themselves.
        self._apart, self._encoded = apart and encoder.group > 1, False
        self._keyframes = Keyframes(LEAST_APART if apart else 1)
        self._first_ns: int | None = None
        self._pts = -1

    def write(self, pixels: Pixels, stamp_ns: int) -> None:
        """Encode a picture, whose stamp is not before the last one's."""
        frame = self._frame(pixels)
        kinds = self._av.video.frame.PictureType
        frame.pict_type = kinds.NONE
        if self._keyframes.is_due(stamp_ns):
            frame.pict_type = kinds.I
            if self._apart and self._encoded:
                self._begin_anew()
        if self._first_ns is None:
            self._first_ns = stamp_ns
        ticks = round((stamp_ns - self._first_ns) / (10**9 * self._time_base))
        frame.pts = self._pts = max(ticks, self._pts + 1)
        frame.time_base = self._time_base
        self._encode(frame)

    def copy(self, packets: Iterable[Packet[Any]], first_ns: int) -> None:
        """Take over packets of such a track whose first picture has that stamp; then go on."""
        self._container.start_encoding()
        self._first_ns = first_ns
        for packet in packets:
            assert packet.pts is not None and packet.time_base is not None
            self._pts = round(packet.pts * packet.time_base / self._time_base)
            packet.stream = self._stream
            self._container.mux(packet)

    def finish(self) -> None:
        """Write what the encoder still holds."""
        self._encode(None)

    def _encode(self, frame: Any) -> None:
        self._encoded = frame is not None
        for packet in self._context.encode(frame):
            packet.stream, packet.time_base = self._stream, self._time_base
            self._container.mux(packet)

    def _begin_anew(self) -> None:
        """End what the encoder has, and take a fresh one of the same settings."""
        self._encode(None)
        self._context = self._encoder_alone()

    def _encoder_alone(self) -> Any:
        context = self._av.CodecContext.create(self._encoder.name, "w")
        self._set_up(context)
        context.options, context.flags = dict(self._options), self._flags
        return context

    def _rated_stream(self, container: OutputContainer) -> Any:
        stream: Any = container.add_stream(self._encoder.name, RATE, dict(self._options))
        self._set_up(stream.codec_context)
        stream.time_base = self._time_base
        return stream

    def _unrated_stream(self) -> tuple[Any, int]:
        """
        A stream that states no rate, and the flags of its encoder, which needs one.

        PyAV gives both the same rate. So the stream is made from a file of one picture.
        """
        head = BytesIO()
        # NUT keeps what stands before the pictures as the encoder has it.
        with self._av.open(head, "w", format="nut") as of_one:
            model = self._rated_stream(of_one)
            blank = self._av.VideoFrame(*self._size, self._encoder.pix_fmt)
            blank.pts, blank.time_base = 0, self._time_base
            for packet in (*model.encode(blank), *model.encode(None)):
                of_one.mux(packet)
            flags = model.codec_context.flags
        head.seek(0)
        with self._av.open(head) as known:
            template = known.streams.video[0]
            stream: Any = self._container.add_stream_from_template(template, opaque=True)
            stream.codec_context.framerate, stream.time_base = 0, self._time_base
        return stream, flags

    def _set_up(self, context: Any) -> None:
        context.width, context.height = self._size
        context.pix_fmt, context.time_base = self._encoder.pix_fmt, self._time_base
        context.gop_size, context.max_b_frames = self._encoder.group, 0
        # What PyAV sets for a stream, and not for an encoder alone.
        context.framerate, context.bit_rate, context.bit_rate_tolerance = self._rate, 0, 128_000
        context.thread_count = 2  # the network needs the other cores
        if self._encoder.pix_fmt == "yuv420p" and not self._encoder.bt601:
            context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
            context.color_range = 1  # 16 to 235

    def _frame(self, pixels: Pixels) -> Any:
        make = self._av.VideoFrame.from_ndarray
        if pixels.ndim == 2:
            return make(np.ascontiguousarray(pixels), format=self._encoder.pix_fmt)
        even = np.pad(pixels, ((0, self._bottom), (0, self._right), (0, 0)), "edge")
        frame = make(np.ascontiguousarray(even), format="rgb24")
        if self._encoder.pix_fmt != "yuv420p":
            return frame.reformat(format=self._encoder.pix_fmt)
        known = self._av.video.reformatter
        # BT.601 is what FFmpeg takes; PyAV 16 takes BT.709 if BT.601 is asked for.
        matrix = {} if self._encoder.bt601 else {"dst_colorspace": known.Colorspace.ITU709}
        return frame.reformat(format="yuv420p", dst_color_range=known.ColorRange.MPEG, **matrix)
