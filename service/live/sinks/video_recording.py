"""Records a picture of each result, and the counts of infrared, as video files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from segmif.files import shown
from segmif.imaging.codecs import Pixels
from segmif.install import version
from segmif.sources.frame import SourceFrame
from segmif.sources.recording_facts import RecordingFacts
from segmif.thermal.camera_profile import CameraProfile

from ..live_result import LiveResult
from .picture import PictureName, picture
from .rotation import EPOCH, RecordingFile, Recordings
from .settings import VideoSettings
from .video_track import FINE, Encoder, VideoTrack, av_module, encoder_for, lossless, padding

if TYPE_CHECKING:
    from av import Packet

COUNTS = ".counts.mkv"
# A file that is cut off anywhere plays up to its last fragment or cluster, a second at most.
OPTIONS = {
    "mp4": {"movflags": "+frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"},
    "matroska": {"cluster_time_limit": "1000", "flush_packets": "1"},
}
FORMATS = {".mp4": "mp4", ".mkv": "matroska"}
TIME_BASES = {"mp4": FINE, "matroska": Fraction(1, 1000)}  # FFmpeg's Matroska has no other


@dataclass(frozen=True)
class Shot:
    """What one file gets of a result."""

    pixels: Pixels
    stamp_ns: int
    encoder: Encoder

    def follows(self, last: Shot) -> bool:
        """Whether it fits into the file of the last one."""
        same = self.pixels.shape == last.pixels.shape and self.encoder == last.encoder
        return same and self.stamp_ns >= last.stamp_ns


class VideoFile:
    """One file with one video stream."""

    def __init__(
        self,
        file: RecordingFile,
        first: Shot,
        facts: RecordingFacts,
        options: Mapping[str, str] | None = None,
        *,
        apart: bool = False,
    ) -> None:
        """
        Begin a file for pictures like the first; `facts` become its comment.

        `options` of the muxer are those of `OPTIONS` if none are given; `apart` as `VideoTrack`.
        """
        format = FORMATS[file.path.suffix]
        self.file, self._broken = file, False
        self._container: Any = av_module().open(
            file, "w", format=format, container_options=dict(options or OPTIONS[format])
        )
        self._container.metadata.update(
            comment=facts.text(version()), creation_time=_utc(first.stamp_ns)
        )
        shape = first.pixels.shape
        self._track = VideoTrack(
            self._container, first.encoder, shape, TIME_BASES[format], apart=apart
        )

    def copy(self, packets: Iterable[Packet[Any]], first_ns: int) -> None:
        """As `VideoTrack.copy`."""
        self._track.copy(packets, first_ns)

    def write(self, shot: Shot) -> None:
        """Add a picture; raises OSError, or what else FFmpeg raises."""
        try:
            self._track.write(shot.pixels, shot.stamp_ns)
        except BaseException:
            self._broken = True
            raise

    def close(self) -> None:
        """Finish the file; what failed before is closed as it is."""
        try:
            with suppress(Exception) if self._broken else nullcontext():
                self._track.finish()
            with suppress(Exception) if self._broken else nullcontext():
                self._container.close()
        finally:
            self.file.close()


class VideoRecording:
    """Writes files of a picture, and if asked for of the counts beside it."""

    dropped = 0

    def __init__(self, settings: VideoSettings) -> None:
        """Raises SinkError for a folder or an encoder that cannot be used."""
        self.name = f"video {shown(settings.path)}"
        self._ffmpeg_error = av_module().FFmpegError
        self._picture: PictureName = settings.picture
        self._encoder = encoder_for(settings.codec, settings.quality)
        single = settings.path.suffix == settings.suffix
        # Two sinks may record two pictures into one folder.
        suffixes = [settings.suffix if single else f".{settings.picture}{settings.suffix}"]
        suffixes += [COUNTS] if settings.counts else []
        self._recordings = Recordings(settings.path, settings.rotation(), suffixes)
        self._counts = settings.counts
        self._files: list[VideoFile] = []
        self._last: list[Shot] = []
        self._began_ns = 0

    def write(self, result: LiveResult) -> None:
        """Record a result; raises SinkError if the disk is full, and other kinds of OSError."""
        shots = self._shots(result)
        try:
            if self._files and not self._fits(shots):
                self._close()
            if not self._files:
                self._begin(result, shots)
            for file, shot in zip(self._files, shots, strict=False):
                file.write(shot)
        except (OSError, ValueError, self._ffmpeg_error) as error:
            self._close()
            raise self._recordings.failed(error) from None
        self._last = [*shots, *self._last[len(shots) :]]
        self._recordings.enforce_now_and_then()

    def close(self) -> None:
        """Finish the files."""
        self._close()

    def _shots(self, result: LiveResult) -> list[Shot]:
        shots = [Shot(picture(result, self._picture), result.stamp_ns, self._encoder)]
        if self._counts and result.infrared:
            pixels = result.infrared.pixels
            encoder = lossless("gray16le" if pixels.dtype == "uint16" else "gray")
            shots.append(Shot(pixels, result.infrared.stamp_ns, encoder))
        return shots

    def _fits(self, shots: list[Shot]) -> bool:
        size = sum(file.file.size for file in self._files)
        due = self._recordings.is_due(size, (shots[0].stamp_ns - self._began_ns) / 1e9)
        # A file that was begun without infrared has no counts beside it.
        known = len(shots) <= len(self._files)
        return not due and known and all(map(Shot.follows, shots, self._last))

    def _begin(self, result: LiveResult, shots: list[Shot]) -> None:
        self._began_ns = shots[0].stamp_ns
        files = self._recordings.begin(result.rig, self._began_ns)
        names = [self._picture, "counts"]
        frames = [result.frame, result.infrared or result.frame]
        for file in files[len(shots) :]:
            file.close()  # which removes it
        self._last = []
        try:
            for file, shot, name, frame in zip(files, shots, names, frames, strict=False):
                self._files.append(
                    VideoFile(file, shot, recording_facts(result.rig, name, frame, shot))
                )
        except BaseException:
            for file in files:
                file.close()
            raise

    def _close(self) -> None:
        files, self._files = self._files, []
        for file in files:
            file.close()


def recording_facts(rig: str, name: str, frame: SourceFrame, shot: Shot) -> RecordingFacts:
    """What a file says of itself."""
    return RecordingFacts(
        rig,
        name,
        shot.stamp_ns,
        frame.stamp_from,
        padding(shot.encoder, shot.pixels.shape),
        frame.profile if name == "counts" else CameraProfile(),
    )


def _utc(stamp_ns: int) -> str:
    try:
        return f"{EPOCH + timedelta(microseconds=stamp_ns // 1000):%Y-%m-%dT%H:%M:%S.%fZ}"
    except OverflowError:
        return f"{datetime.now(EPOCH.tzinfo):%Y-%m-%dT%H:%M:%S.%fZ}"
