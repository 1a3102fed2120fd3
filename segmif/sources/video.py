"""Video files, streams and V4L2 devices, by PyAV (FFmpeg)."""

import logging
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from segmif.imaging.image_header import MAX_PIXELS, ImageError
from segmif.sources.arrival_clock import ArrivalClock
from segmif.sources.base import SourceBase, ThreadedReader
from segmif.sources.ffmpeg import Target, error_words, imported
from segmif.sources.frame import Part, SourceError, SourceFrame, StampFrom
from segmif.sources.options import SourceOptions
from segmif.sources.picture_joiner import CODECS, PictureJoiner
from segmif.sources.pixel_formats import Thermal, infrared_pixels, visible_pixels
from segmif.sources.prompt_packets import PacketReader, joined
from segmif.sources.recording_facts import RecordingFacts, facts_of
from segmif.sources.stamps import LATE_NS, RisingStamps, nanoseconds_of

if TYPE_CHECKING:
    from av import Packet, VideoFrame, VideoStream
    from av.container import InputContainer
    from av.stream import Stream

UNDECODED = 4  # timeouts: a camera may send a key frame every ten seconds
# Little is read ahead: the stream is known once its parameter sets came.
LOW_LATENCY = {
    "fflags": "nobuffer",
    "flags": "low_delay",
    "probesize": "500000",
    "analyzeduration": "1000000",
    "fpsprobesize": "0",
}
# Packets as they came. Of RTSP only the first is read to know the stream, and kept: it may begin
# the first keyframe. What is needed stands in its description or comes with the keyframes.
UNPARSED = {
    "rtsp": {"fflags": "noparse+nofillin", "probesize": "32"},
    "mpegts": {"fflags": "nobuffer+noparse+nofillin"},
}
# Each packet is a picture, so that no parser is missed.
WHOLE = frozenset({"mjpeg", "vp8", "vp9", "av1"})
# A picture of MPEG-TS is in one packet, or in several of nearly 64 KiB.
TS_CUT, TS_QUIET_S = 60_000, 0.0
log = logging.getLogger(__name__)


class Timed(NamedTuple):
    """A decoded frame with its time."""

    frame: "VideoFrame"
    stamp_ns: int
    stamp_from: StampFrom
    codec: str
    number: int
    facts: RecordingFacts | None  # of a recording of our own


class VideoSource(SourceBase):
    """The frames of one video stream."""

    def __init__(
        self, targets: tuple[Target, ...], address: str, part: Part, options: SourceOptions
    ) -> None:
        """`targets` are tried in their order; the errors of the last one count."""
        super().__init__(address)
        imported()  # what is missing is said at once
        self._targets, self._part, self._options = targets, part, options
        self._size: tuple[int, int] | None = None
        self._warned: set[str] = set()

    def frames(self) -> Iterator[SourceFrame]:
        """Open the video and give its frames; raises SourceError."""
        with closing(ThreadedReader(self._decoded, self).items()) as timed:
            for one in timed:
                if self.closed.is_set():
                    return
                yield self._frame_of(one)

    def _frame_of(self, timed: Timed) -> SourceFrame:
        av, frame = imported(), timed.frame
        size = frame.width, frame.height
        if self._size not in (None, size):
            (was_wide, was_high), (wide, high) = self._size or size, size
            raise SourceError(
                f"{self.address}: the frames changed from {was_wide}x{was_high} to {wide}x{high}; "
                "expected one size: split the recording, or open the stream again"
            )
        self._size = size
        if frame.rotation:
            self._warn(f"it is to be shown turned by {frame.rotation} degrees; it is not turned")
        try:
            if self._part == "visible":
                thermal = Thermal(visible_pixels(frame, timed.codec))
            else:
                thermal = infrared_pixels(frame, timed.codec)
        except (ImageError, av.FFmpegError) as error:
            words = str(error) if isinstance(error, ImageError) else error_words(av, error)
            raise SourceError(f"{self.address}: {words}") from None
        pixels, profile = thermal.pixels, thermal.profile
        if facts := timed.facts:
            (right, bottom), (height, width) = facts.padding, pixels.shape[:2]
            pixels = pixels[: height - bottom, : width - right]
            profile = facts.profile.over(profile)
        return SourceFrame(pixels, timed.stamp_ns, timed.stamp_from, str(timed.number), profile)

    def _has_wall_clock(self) -> bool:
        return any(target.format == "v4l2" for target in self._targets)

    def _warn(self, sentence: str) -> None:
        if sentence not in self._warned:
            self._warned.add(sentence)
            log.warning("%s: %s", self.address, sentence)

    def _decoded(self) -> Generator[Timed]:
        av = imported()
        container = self._opened(av)
        try:
            stream = self._stream(container)
            clock = ArrivalClock(self._has_wall_clock(), self._warn) if self.live else None
            late_ns, timer = (LATE_NS, time.monotonic_ns) if self.live else (0, None)
            stamps = RisingStamps(_period_ns(stream, self._options), late_ns, timer)
            facts = None if self.live else facts_of(container.metadata)
            number = 0
            # Closed before the container: a thread may read that.
            with closing(self._demuxed(av, container, stream, clock)) as packets:
                for frame in self._raw_frames(av, packets):
                    time_ns, said = clock.of(frame) if clock else _of_file(frame, facts)
                    stamp_ns = stamps.next(time_ns)
                    self.dropped += stamp_ns is None
                    if stamp_ns is not None:
                        yield Timed(frame, stamp_ns, said, stream.codec_context.name, number, facts)
                    number += 1
            self.check_given(number)
            if stamps.restarts:
                self._warn(f"its times jumped back {stamps.restarts} times; the stamps go on")
        finally:
            container.close()

    def _opened(self, av: Any) -> "InputContainer":
        reason = ""
        for target in self._targets:
            try:
                return self._open_known(av, target)
            except av.FFmpegError as error:
                # Not its text: that holds the address with its password.
                reason = error_words(av, error)
        raise SourceError(f"{self.address} cannot be opened: {reason}")

    def _open_known(self, av: Any, target: Target) -> "InputContainer":
        """Open a target; with FFmpeg's parser if ours does not know the codec."""
        container = self._open(av, target)
        codecs = {
            video.codec_context.name for video in container.streams.video if video.codec_context
        }
        if not target.prompt or codecs <= CODECS | WHOLE:
            return container
        container.close()
        return self._open(av, replace(target, prompt=False))

    def _open(self, av: Any, target: Target) -> "InputContainer":
        options = {"max_pixels": str(MAX_PIXELS), **(LOW_LATENCY if self.live else {})}
        options |= {
            **(UNPARSED[target.format or ""] if target.prompt else {}),
            **dict(target.options),
        }
        limit_s = self._options.timeout_s
        container: InputContainer = av.open(
            target.url,
            "r",
            target.format,
            options=options,
            timeout=(limit_s, limit_s),
            metadata_errors="replace",
        )
        return container

    def _stream(self, container: "InputContainer") -> "VideoStream":
        from av.stream import Disposition

        # The cover picture of a sound file is a stream of one frame.
        videos = [
            one for one in container.streams.video if not one.disposition & Disposition.attached_pic
        ]
        wanted = self._options.stream
        if wanted >= len(videos):
            if not videos and container.streams.audio:
                raise SourceError(f"{self.address} has sound but no video")
            kinds = ", ".join(sorted({one.type for one in container.streams})) or "no streams"
            raise SourceError(
                f"{self.address}: it has {len(videos)} video streams ({kinds}), and number "
                f"{wanted} (from 0) was asked for"
            )
        stream = videos[wanted]
        if stream.codec_context is None:
            raise SourceError(
                f"{self.address}: FFmpeg knows no decoder for its video, or it is damaged"
            )
        _pass_over([one for one in container.streams if one.index != stream.index])
        context = stream.codec_context
        context.thread_count = self._options.decode_threads
        # Threads by frame would each hold one back.
        context.thread_type = "SLICE" if self.live else "AUTO"
        context.copy_opaque = True
        context.options = {"max_pixels": str(MAX_PIXELS)}
        return stream

    def _raw_frames(
        self, av: Any, demuxed: Iterator["Packet[VideoStream]"]
    ) -> Iterator["VideoFrame"]:
        limit_s = UNDECODED * self._options.timeout_s
        until = time.monotonic() + limit_s
        for packet in self._packets(av, demuxed):
            for frame in self._frames_in(av, packet):
                until = time.monotonic() + limit_s
                yield frame
            if self.live and time.monotonic() > until:
                raise SourceError(
                    f"{self.address}: packets come, but no frame could be decoded for "
                    f"{limit_s:g} s ({self.damaged} damaged)"
                )

    def _demuxed(
        self,
        av: Any,
        container: "InputContainer",
        stream: "VideoStream",
        clock: ArrivalClock | None,
    ) -> Generator["Packet[VideoStream]"]:
        """The packets of the stream, each a picture, with what tells their time."""
        codec = stream.codec_context.name
        if clock and codec in CODECS and container.flags & av.container.Flags.no_parse.value:
            is_ts = container.format.name == "mpegts"
            joiner = PictureJoiner(codec, *((TS_CUT, TS_QUIET_S) if is_ts else ()))
            packets = PacketReader(container, stream, clock)
            try:
                for packet in joined(packets, joiner, stream, self.closed):
                    self._note_damage(joiner)
                    yield packet
            finally:
                packets.close()
            return
        for packet in container.demux(stream):
            if clock:
                packet.opaque = clock.arrived(packet)
            yield packet

    def _note_damage(self, joiner: PictureJoiner) -> None:
        self.damaged, joiner.damaged = self.damaged + joiner.damaged, 0
        if joiner.late_parts:
            self._warn("a part of a picture came late; from now on each waits for the next one")

    def _packets(
        self, av: Any, packets: Iterator["Packet[VideoStream]"]
    ) -> Iterator["Packet[VideoStream]"]:
        """The packets up to the end, or up to where a recording is cut off."""
        given = False
        while not self.closed.is_set():
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                if self.closed.is_set():
                    return
                reason = error_words(av, error)
                if self.live or not given:
                    raise SourceError(f"{self.address} broke off: {reason}") from None
                self._warn(f"it is cut off or damaged: {reason}")
                self.damaged += 1
                return
            if packet is None:
                return
            given = True
            yield packet

    def _frames_in(self, av: Any, packet: "Packet[VideoStream]") -> list["VideoFrame"]:
        try:
            frames = packet.decode()
        except av.FFmpegError:
            self.damaged += 1
            return []
        whole = [frame for frame in frames if not frame.is_corrupt]
        self.damaged += len(frames) - len(whole)
        return whole


class LiveVideo(VideoSource):
    """A stream or a device: only its newest frame counts."""

    live = True


def _pass_over(streams: "list[Stream]") -> None:
    """Have the demuxer skip streams; before PyAV 17 they are read, and then dropped."""
    try:
        from av.stream import Discard
    except ImportError:
        return
    for stream in streams:
        stream.discard = Discard.all


def _of_file(frame: "VideoFrame", facts: RecordingFacts | None) -> tuple[int | None, StampFrom]:
    """The time of a recorded frame [ns], if the file states it."""
    said: StampFrom = facts.stamp_from if facts else "source"
    if frame.pts is None or frame.time_base is None:
        return None, said
    first_ns = facts.first_stamp_ns if facts else 0
    return first_ns + nanoseconds_of(frame.pts, frame.time_base), said


def _period_ns(stream: "VideoStream", options: SourceOptions) -> int:
    rate = stream.average_rate or stream.guessed_rate
    return round(Fraction(10**9) / rate) if rate else options.period_ns
