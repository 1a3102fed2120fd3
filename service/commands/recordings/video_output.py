"""A video of results that a later run goes on with."""

import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from io import SEEK_END
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from segmif.sources.recording_facts import RecordingFacts, facts_of

from ...errors import UnfitSize
from ...live.live_result import LiveResult
from ...live.sinks.picture import picture
from ...live.sinks.rotation import RecordingFile
from ...live.sinks.settings import VideoSettings
from ...live.sinks.video_recording import OPTIONS, Shot, VideoFile, recording_facts
from ...live.sinks.video_track import LEAST_APART, Keyframes, av_module, encoder_for
from .output import NEXT, part_of, publish

# In fragments while it is written, an ordinary file at the end.
MP4 = OPTIONS["mp4"] | {"movflags": "+frag_keyframe+hybrid_fragmented+default_base_moof"}
BOX = struct.Struct(">I4s")  # size with itself [bytes], type
# H.264 and H.265 are stored with lengths, and encoded with start codes.
START_CODES = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb"}


class VideoOutput:
    """
    One video of a picture of each result.

    From a keyframe to the next it is encoded on its own, so that a run which goes on there gives
    the frames that an uninterrupted one gives.
    """

    def __init__(self, settings: VideoSettings) -> None:
        """Raises SinkError for an encoder that cannot be used."""
        self._settings, self.target = settings, settings.path
        self._encoder = encoder_for(settings.codec, settings.quality)
        self._part = part_of(self.target)
        self._file: VideoFile | None = None
        self._shape: tuple[int, ...] = ()

    def usable(self, stamps: Sequence[int]) -> int:
        """As Output says: up to the last keyframe."""
        if self._part.suffix == ".mp4" and self._part.exists():
            _trim(self._part)
        whole = min(_count(self._part), len(stamps))
        if self._encoder.group == 1:
            return whole
        keyframes = Keyframes(LEAST_APART)
        starts = [at for at, stamp_ns in enumerate(stamps) if keyframes.is_due(stamp_ns)]
        return max((at for at in starts if at <= whole), default=0)

    def go_on_behind(self, stamps: Sequence[int]) -> None:
        """As Output says: packets are copied as they are."""
        fresh = part_of(self.target, NEXT)
        fresh.unlink(missing_ok=True)
        if not stamps:
            self._part.unlink(missing_ok=True)
            return
        with self._part.open("rb") as file, av_module().open(file) as container:
            facts, stream = _facts(container), container.streams.video[0]
            right, bottom = facts.padding
            self._shape = stream.height - bottom, stream.width - right, 3
            blank = np.broadcast_to(np.uint8(0), self._shape)
            first = Shot(blank, stamps[0], self._encoder)
            self._file = self._begun(fresh, first, facts)
            self._file.copy(_packets(container, len(stamps)), stamps[0])
        fresh.replace(self._part)

    def write(self, result: LiveResult) -> None:
        """As Output says."""
        pixels = picture(result, self._settings.picture)
        shot = Shot(pixels, result.stamp_ns, self._encoder)
        if self._file is None:
            facts = recording_facts(result.rig, self._settings.picture, result.frame, shot)
            self._file, self._shape = self._begun(self._part, shot, facts), pixels.shape
        if pixels.shape != self._shape:
            (high, wide), (height, width) = self._shape[:2], pixels.shape[:2]
            raise UnfitSize(
                f"the video has pictures of {wide}x{high}, and this one has {width}x{height}: "
                "--frames takes any size, or split the recording"
            )
        self._file.write(shot)

    def finish(self) -> None:
        """As Output says."""
        file, self._file = self._file, None
        if file:
            file.close()

    def publish(self) -> bool:
        """As Output says."""
        return publish(self._part, self.target)

    def leave(self) -> None:
        """As Output says."""
        file, self._file = self._file, None
        if file:
            with suppress(Exception):  # what made the run end is said already
                file.close()

    def _begun(self, path: Path, first: Shot, facts: RecordingFacts) -> VideoFile:
        options = MP4 if path.suffix == ".mp4" else None
        return VideoFile(RecordingFile(path), first, facts, options, apart=True)


def _trim(part: Path) -> None:
    """Cut off a head of a fragment (ISO 14496-12) that is not whole: FFmpeg would read nothing."""
    with part.open("r+b") as file:
        end = file.seek(0, SEEK_END)
        at = 0
        while at + BOX.size <= end:
            file.seek(at)
            size, kind = BOX.unpack(file.read(BOX.size))
            if at + size > end and kind == b"mdat":
                return  # what is whole in it can be read
            if at + size > end or size < BOX.size:
                break
            at += size
        file.truncate(at)


def _count(part: Path) -> int:
    """The whole packets of a video that may be cut off; 0 if it cannot be read."""
    if not part.exists():
        return 0
    av = av_module()
    with suppress(av.FFmpegError), part.open("rb") as file, av.open(file) as container:
        _facts(container)
        return sum(1 for _ in _packets(container))
    return 0


def _packets(container: Any, count: int | None = None) -> Iterator[Any]:
    """The first packets of a video, as its encoder gave them."""
    av = av_module()
    stream = container.streams.video[0]
    coded = START_CODES.get(stream.codec_context.name)
    filters = av.bitstream.BitStreamFilterContext(coded, stream) if coded else None
    for packet in islice(_whole(av, container.demux(stream)), count):
        yield from filters.filter(packet) if filters else [packet]


def _whole(av: Any, packets: Iterator[Any]) -> Iterator[Any]:
    with suppress(av.FFmpegError):  # cut off
        for packet in packets:
            if packet.size and packet.is_corrupt:
                return
            if packet.size:
                yield packet


def _facts(container: Any) -> RecordingFacts:
    facts = facts_of(container.metadata)
    if facts is None:
        raise av_module().InvalidDataError(0, "no video of ours")
    return facts
