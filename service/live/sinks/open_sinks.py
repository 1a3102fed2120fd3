"""Makes the sinks of a rig from their settings."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import SecretStr

from segmif.addresses import masked
from segmif.geometry.cameras import Homography, Rig

from .around_events import EventRecording
from .collector import Collector
from .image_folder import ImageFolder
from .jsonl import JsonLines, StandardOutput
from .mcap_recording import McapRecording
from .retrying import Retrying
from .rotation import SUFFIXES
from .settings import (
    STREAM,
    CollectSettings,
    ImagesSettings,
    JsonlSettings,
    McapSettings,
    SinkSettings,
    StreamSettings,
    VideoSettings,
)
from .sink import Sink
from .stream_out import StreamOut
from .video_recording import VideoRecording

FORMS = (
    "expected FILE.mp4, FILE.mkv, FILE.mcap, FILE.jsonl, - for lines of JSON, FOLDER/ for "
    "pictures, collect:FOLDER for pairs worth labelling, rtsp://HOST/PATH, udp://HOST:PORT or "
    "/dev/videoN"
)
COLLECT = "collect:"


def open_sinks(
    settings: Sequence[SinkSettings], rig: str, cameras: Rig | Homography | None = None
) -> list[Sink]:
    """
    Make the sinks of a rig; each tries again by itself after a failure.

    `cameras` are those of its rig file: an MCAP recording holds them. Raises SinkError if a sink
    can never work: a folder cannot be made, a package is missing.
    """
    sinks: list[Sink] = []
    try:
        for each in settings:
            sink: Sink = Retrying(_sink(each, rig, cameras))
            around = getattr(each, "around_events", None)
            sinks.append(EventRecording(sink, around) if around else sink)
    except BaseException:
        for sink in sinks:
            sink.close()
        raise
    return sinks


def parse_sink(word: str) -> SinkSettings:
    """The settings that a word of the command line stands for; ValueError for any other."""
    path = Path(word)
    if path.suffix.lower() in SUFFIXES and not path.is_dir():
        path = path.with_suffix(path.suffix.lower())
    if named := _named(word):
        return named
    if word == "-" or path.suffix == ".jsonl":
        return JsonlSettings(path=path)
    if path.suffix == ".mcap":
        return McapSettings(path=path)
    if path.suffix in (".mp4", ".mkv"):
        return VideoSettings(path=path)
    if word and (word.endswith("/") or path.is_dir()):
        return ImagesSettings(path=path)
    raise ValueError(f"{masked(word)!r} is no sink: {FORMS}")


def _named(word: str) -> SinkSettings | None:
    """The settings of a word that begins with what it is; ValueError for an unknown address."""
    if word.startswith(COLLECT) and word != COLLECT:
        return CollectSettings(path=Path(word.removeprefix(COLLECT)))
    if STREAM.fullmatch(word):
        return StreamSettings(url=SecretStr(word))
    if "://" in word:
        raise ValueError(f"{masked(word)!r} is no sink: {FORMS}")
    return None


def _sink(settings: SinkSettings, rig: str, cameras: Rig | Homography | None) -> Sink:
    match settings:
        case VideoSettings():
            return VideoRecording(settings)
        case McapSettings():
            return McapRecording(settings, rig, cameras)
        case JsonlSettings():
            return StandardOutput() if str(settings.path) == "-" else JsonLines(settings)
        case ImagesSettings():
            return ImageFolder(settings)
        case StreamSettings():
            return StreamOut(settings)
        case CollectSettings():
            return Collector(settings)
