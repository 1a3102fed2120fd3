"""Recordings of ROS: rosbag 1, rosbag2 folders and MCAP, read by rosbags without ROS."""

import logging
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segmif.files import check_regular
from segmif.install import install_command
from segmif.sources import unfinished_mcap
from segmif.sources.base import ThreadedReader
from segmif.sources.camera_info import info_topics
from segmif.sources.frame import Part, SourceError, SourceFrame
from segmif.sources.message_source import MessageSource
from segmif.sources.options import SourceOptions

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader
    from rosbags.interfaces import Connection

log = logging.getLogger(__name__)


@contextmanager
def opened_bag(path: Path) -> "Iterator[AnyReader]":
    """A recording that is open for reading; raises ValueError with its path."""
    try:
        # An optional package that reads recordings without ROS.
        from rosbags.highlevel import AnyReader, AnyReaderError
        from rosbags.rosbag1 import ReaderError as BagError
        from rosbags.rosbag2 import ReaderError as Bag2Error
        from rosbags.typesys import Stores, get_typestore
    except ModuleNotFoundError:
        raise ValueError(
            f"recordings need the package rosbags: {install_command('rosbag')}"
        ) from None
    if not path.exists():
        raise ValueError(f"{path}: there is no such recording")
    if not path.is_dir():
        check_regular(path)
    try:
        with AnyReader([path], default_typestore=get_typestore(Stores.ROS2_HUMBLE)) as reader:
            yield reader
    except (AnyReaderError, BagError, Bag2Error) as error:
        raise ValueError(f"{path}: {error}") from error


def image_topics(reader: "AnyReader") -> list[str]:
    """The topics of a recording that have images, sorted."""
    return sorted({one.topic for one in reader.connections if "Image" in one.msgtype})


def connections_of(reader: "AnyReader", topic: str) -> "list[Connection]":
    """The connections of a topic; raises ValueError that lists the topics with images."""
    connections = [one for one in reader.connections if one.topic == topic]
    if not connections:
        images = image_topics(reader)
        raise ValueError(f"no topic {topic}; with images: {', '.join(images) or 'none'}")
    return connections


def _infos_of(reader: "AnyReader", topic: str) -> "list[Connection]":
    """The connections of the CameraInfo that belongs to an image topic."""
    names = info_topics(topic)
    found = [one for one in reader.connections if one.topic in names]
    return [one for one in found if one.msgtype.endswith("/CameraInfo")]


class BagSource(MessageSource):
    """The images of one topic of a recording, with the CameraInfo below or beside it."""

    def __init__(
        self, path: Path, topic: str | None, address: str, part: Part, options: SourceOptions
    ) -> None:
        """Without a topic the recording must have one topic with images."""
        super().__init__(address, part, options)
        self._path, self._topic = path, topic or options.topic

    def frames(self) -> Iterator[SourceFrame]:
        """Give the frames in the order of the recording; raises SourceError."""
        yield from ThreadedReader(self._frames, self).items()

    def _frames(self) -> Generator[SourceFrame]:
        given = 0
        try:
            for kind, recorded_ns, message in self._messages():
                if self.closed.is_set():
                    return
                if frame := self._frame(message, kind, recorded_ns, "source"):
                    given += 1
                    yield frame
            self.check_given(given)
        except SourceError:
            raise
        except Exception as error:  # rosbags lets through whatever damage brings about
            words = str(error).removeprefix(f"{self._path}: ")
            if not isinstance(error, ValueError):
                words = f"it is damaged ({type(error).__name__}: {words:.200})"
            raise SourceError(f"{self.address}: {words}") from None

    def _messages(self) -> Iterator[tuple[str, int, Any]]:
        """
        Type, time of recording [ns] and content of the topic's messages.

        The first CameraInfo is read before them: recorders write it behind its image.
        """
        if self._path.is_file() and unfinished_mcap.is_unfinished(self._path):
            log.warning("%s: the recording has no end; what came before is read", self.address)
            yield from self._unfinished()
            return
        with opened_bag(self._path) as reader:
            topic = self._topic or self._only_topic(image_topics(reader))
            images, infos = connections_of(reader, topic), _infos_of(reader, topic)
            for chosen in (infos, [*images, *infos]):
                for connection, recorded_ns, data in reader.messages(chosen) if chosen else ():
                    message = reader.deserialize(data, connection.msgtype)
                    if connection.topic == topic:
                        yield connection.msgtype, recorded_ns, message
                        continue
                    self._stated.see(message)
                    if chosen is infos:
                        break

    def _unfinished(self) -> Iterator[tuple[str, int, Any]]:
        topic = self._topic or self._only_topic(unfinished_mcap.image_topics(self._path))
        infos = info_topics(topic)
        for only_info in (True, False):
            for raw in unfinished_mcap.raw_messages(self._path):
                if raw.topic in infos and raw.kind.endswith("/CameraInfo"):
                    self._stated.see(unfinished_mcap.deserialized(raw))
                    if only_info:
                        break
                elif raw.topic == topic and not only_info:
                    yield raw.kind, raw.recorded_ns, unfinished_mcap.deserialized(raw)

    def _only_topic(self, topics: list[str]) -> str:
        if len(topics) != 1:
            raise SourceError(
                f"{self.address}: name the topic, as in {self._path.name}:/TOPIC; with images: "
                f"{', '.join(topics) or 'none'}"
            )
        return topics[0]
