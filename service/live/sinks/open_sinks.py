"""Makes the sinks of a rig from their settings."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import SecretStr

from segmif.addresses import masked
from segmif.geometry.cameras import Homography, Rig
from segmif.sources.ros_topic import NAME

from ..distinct_names import tell_apart
from .around_events import EventRecording
from .collector import Collector
from .image_folder import ImageFolder
from .jsonl import JsonLines, StandardOutput
from .mcap_recording import McapRecording
from .retrying import Retrying
from .ros_topics import RosTopics
from .rotation import SUFFIXES
from .settings import (
    STREAM,
    CollectSettings,
    ImagesSettings,
    JsonlSettings,
    McapSettings,
    RosSettings,
    SinkSettings,
    StreamSettings,
    VideoSettings,
)
from .sink import Sink
from .stream_out import StreamOut
from .video_recording import VideoRecording

FORMS = (
    "expected FILE.mp4, FILE.mkv, FILE.mcap, FILE.jsonl, - for lines of JSON, FOLDER/ for "
    "pictures, collect:FOLDER for pairs worth labelling, rtsp://HOST/PATH, udp://HOST:PORT, "
    "/dev/videoN, or ros2: for topics (ros2:/NAMESPACE)"
)
COLLECT, ROS = "collect:", "ros2:"


def open_sinks(
    settings: Sequence[SinkSettings],
    rig: str,
    cameras: Rig | Homography | None = None,
    *,
    lossless: bool = False,
) -> list[Sink]:
    """
    Make the sinks of a rig; each tries again by itself after a failure.

    `cameras` are those of its rig file: an MCAP recording holds them. `lossless` as `Retrying`.
    Raises SinkError if a sink can never work: a folder cannot be made, a package is missing.
    """
    sinks: list[Sink] = []
    try:
        for each in settings:
            sink: Sink = Retrying(_sink(each, rig, cameras), lossless=lossless)
            around = getattr(each, "around_events", None)
            sinks.append(EventRecording(sink, around) if around else sink)
    except BaseException:
        for sink in sinks:
            sink.close()
        raise
    tell_apart(sinks)
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
    if word.startswith(ROS):
        if word != ROS and not NAME.fullmatch(word.removeprefix(ROS)):
            raise ValueError(f"{word!r} is no namespace of ROS: expected ros2: or ros2:/NAMESPACE")
        return RosSettings(namespace=word.removeprefix(ROS) or None)
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
        case RosSettings():
            return RosTopics(settings, rig, cameras)
