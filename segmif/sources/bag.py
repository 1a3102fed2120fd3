"""Recordings of ROS: rosbag 1, rosbag2 folders and MCAP, read by rosbags without ROS."""

import logging
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.files import check_regular
from segmif.imaging.codecs import Pixels
from segmif.imaging.image_header import ImageError
from segmif.imaging.monochrome import monochrome
from segmif.install import install_command
from segmif.sources import unfinished_mcap
from segmif.sources.base import SourceBase, ThreadedReader
from segmif.sources.frame import Part, SourceError, SourceFrame
from segmif.sources.images import image_pixels
from segmif.sources.options import SourceOptions
from segmif.sources.stamps import LATE_NS, RisingStamps

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader
    from rosbags.interfaces import Connection

log = logging.getLogger(__name__)

# Name of an encoding to its type and to the order of red, green and blue in it (none for grey).
ENCODINGS: dict[str, tuple[str, int, tuple[int, ...]]] = {
    "rgb8": ("u1", 3, (0, 1, 2)),
    "bgr8": ("u1", 3, (2, 1, 0)),
    "rgba8": ("u1", 4, (0, 1, 2)),
    "bgra8": ("u1", 4, (2, 1, 0)),
    "mono8": ("u1", 1, ()),
    "8UC1": ("u1", 1, ()),
    "mono16": ("u2", 1, ()),
    "16UC1": ("u2", 1, ()),
}
# Two bytes a pixel, BT.601 in the limited range, as ROS converts them.
YUV = {
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUYV,
    "yuyv": cv2.COLOR_YUV2RGB_YUYV,
}


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


def stamp_of_message(message: Any, recorded_ns: int) -> int:
    """The stamp of a message's header [ns]; a driver without a clock leaves 0: as recorded."""
    stamp = message.header.stamp
    return int(stamp.sec * 10**9 + stamp.nanosec or recorded_ns)


def frame_of(message: Any) -> Pixels:
    """A sensor_msgs/Image as (H, W, 3) RGB or (H, W), 8 or 16 bit; raises ValueError."""
    if message.encoding in YUV:
        pairs = _rows(message, 2, np.dtype("u1"))
        return np.asarray(cv2.cvtColor(pairs, YUV[message.encoding]), np.uint8)
    if message.encoding not in ENCODINGS:
        known = ", ".join([*ENCODINGS, *YUV])
        raise ValueError(f"frames are encoded as {message.encoding}, expected one of {known}")
    kind, channels, order = ENCODINGS[message.encoding]
    dtype = np.dtype(kind).newbyteorder(">" if message.is_bigendian else "<")
    frame = _rows(message, channels, dtype)
    chosen = frame[..., list(order)] if order else frame[..., 0]
    return np.ascontiguousarray(chosen.astype(dtype.newbyteorder("=")))


def _rows(message: Any, channels: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The samples (H, W, channels) of a message; raises ValueError if its sizes disagree."""
    height, width, step = message.height, message.width, message.step
    needed = width * channels * dtype.itemsize
    if not needed or step < needed or len(message.data) < height * step:
        raise ValueError(
            f"an image of {width}x{height} states rows of {step} bytes and has "
            f"{len(message.data):,} bytes, expected rows of at least {needed}"
        )
    # A row may be padded: `step` is its true length in bytes.
    rows = np.frombuffer(bytes(message.data), np.uint8, height * step).reshape(height, step)
    used = np.ascontiguousarray(rows[:, :needed]).view(dtype)
    return used.reshape(height, width, channels)


class BagSource(SourceBase):
    """The images of one topic of a recording."""

    def __init__(
        self, path: Path, topic: str | None, address: str, part: Part, options: SourceOptions
    ) -> None:
        """Without a topic the recording must have one topic with images."""
        super().__init__(address)
        self._path, self._topic, self._part = path, topic or options.topic, part
        self._stamps = RisingStamps(options.period_ns, LATE_NS)

    def frames(self) -> Iterator[SourceFrame]:
        """Give the frames in the order of the recording; raises SourceError."""
        yield from ThreadedReader(self._frames, self).items()

    def _frames(self) -> Generator[SourceFrame]:
        given = 0
        try:
            for kind, recorded_ns, message in self._messages():
                if self.closed.is_set():
                    return
                if frame := self._frame(message, kind, recorded_ns):
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
        """Type, time of recording [ns] and content of the topic's messages."""
        if self._path.is_file() and unfinished_mcap.is_unfinished(self._path):
            log.warning("%s: the recording has no end; what came before is read", self.address)
            topic = self._topic or self._only_topic(unfinished_mcap.image_topics(self._path))
            for raw in unfinished_mcap.raw_messages(self._path):
                if raw.topic == topic:
                    yield raw.kind, raw.recorded_ns, unfinished_mcap.deserialized(raw)
            return
        with opened_bag(self._path) as reader:
            topic = self._topic or self._only_topic(image_topics(reader))
            for connection, recorded_ns, data in reader.messages(connections_of(reader, topic)):
                message = reader.deserialize(data, connection.msgtype)
                yield connection.msgtype, recorded_ns, message

    def _only_topic(self, topics: list[str]) -> str:
        if len(topics) != 1:
            raise SourceError(
                f"{self.address}: name the topic, as in {self._path.name}:/TOPIC; with images: "
                f"{', '.join(topics) or 'none'}"
            )
        return topics[0]

    def _frame(self, message: Any, kind: str, recorded_ns: int) -> SourceFrame | None:
        try:
            pixels = self._pixels(message, kind)
        except ImageError as error:
            if error.kind == "damaged":
                self.damaged += 1
                return None
            raise
        stamp_ns = self._stamps.next(stamp_of_message(message, recorded_ns))
        if stamp_ns is None:
            self.dropped += 1
            return None
        return SourceFrame(pixels, stamp_ns, "source", str(stamp_ns))

    def _pixels(self, message: Any, kind: str) -> Pixels:
        if kind.endswith("/CompressedImage"):
            return image_pixels(bytes(message.data), self._part)[0]
        if not kind.endswith("/Image"):
            raise ValueError(f"messages of {kind}, expected sensor_msgs Image or CompressedImage")
        pixels = frame_of(message)
        if self._part == "infrared":
            return monochrome(pixels) if pixels.ndim == 3 else pixels
        if pixels.dtype != np.uint8:
            raise ValueError(f"frames are {message.encoding}, expected colour of 8 bit for visible")
        levels = cast(NDArray[np.uint8], pixels)
        return levels if levels.ndim == 3 else np.repeat(levels[..., None], 3, axis=2)
