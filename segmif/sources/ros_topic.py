"""A topic of ROS 2 as a camera."""

import re
import time
from collections import deque
from collections.abc import Generator, Iterator
from typing import Any

from segmif.install import install_command
from segmif.sources.base import POLL_S, ThreadedReader
from segmif.sources.camera_info import CAMERA_INFO, info_topics
from segmif.sources.frame import Part, SourceError, SourceFrame
from segmif.sources.message_source import MessageSource
from segmif.sources.options import SourceOptions
from segmif.sources.ros_images import IMAGES
from segmif.sources.ros_node import IN_DEPTH, RosError, RosNode, check_ros

NAME = re.compile(r"^(/[A-Za-z_][A-Za-z0-9_]*)+$")  # of a topic or a namespace


class RosTopicSource(MessageSource):
    """The images of one topic, with the CameraInfo below or beside it."""

    live = True

    def __init__(self, topic: str, address: str, part: Part, options: SourceOptions) -> None:
        """Raises SourceError for what is no name of a topic, and without ROS 2."""
        super().__init__(address, part, options)
        if not NAME.fullmatch(topic):
            raise SourceError(f"{address}: expected ros2:/TOPIC, as in ros2:/camera/image_raw")
        self._topic, self._options = topic, options
        try:
            check_ros(*IMAGES, CAMERA_INFO)
            from rosbags.typesys import Stores, get_typestore
        except RosError as error:
            raise SourceError(f"{address}: {error}") from None
        except ModuleNotFoundError:
            raise SourceError(
                f"{address}: topics need the package rosbags: {install_command('live')}"
            ) from None
        self._store: Any = get_typestore(Stores.ROS2_HUMBLE)

    def frames(self) -> Iterator[SourceFrame]:
        """Subscribe and give the newest frames; raises SourceError."""
        yield from ThreadedReader(self._received, self).items()

    def _received(self) -> Generator[SourceFrame]:
        name = "segmif" + self._topic.replace("/", "_")
        try:
            with RosNode(name) as node:
                yield from self._frames(node)
        except (RosError, ValueError) as error:
            words = str(error).removeprefix(f"{self.address}: ")
            raise SourceError(f"{self.address}: {words}") from None

    def _frames(self, node: RosNode) -> Generator[SourceFrame]:
        kind = self._kind(node)
        waiting: deque[bytes] = deque(maxlen=IN_DEPTH)
        node.subscribe(self._topic, kind, waiting.append)
        for topic in info_topics(self._topic):
            node.subscribe(topic, CAMERA_INFO, self._take_info)
        timeout_s = self._options.timeout_s
        until = time.monotonic() + timeout_s
        while not self.closed.is_set():
            node.spin_once(POLL_S)
            while waiting:
                message = self._store.deserialize_cdr(waiting.popleft(), kind)
                if frame := self._frame(message, kind, time.time_ns(), "arrival"):
                    yield frame
                until = time.monotonic() + timeout_s
            if time.monotonic() > until:
                raise SourceError(f"no message came within {timeout_s:g} s")

    def _kind(self, node: RosNode) -> str:
        """The type of the topic, once somebody publishes it; raises SourceError."""
        until = time.monotonic() + self._options.timeout_s
        while not self.closed.is_set():
            topics = node.topics()
            kinds = topics.get(self._topic, [])
            if kind := next((kind for kind in kinds if kind in IMAGES), None):
                return kind
            if kinds:
                raise SourceError(f"it is of {kinds[0]}, expected one of {', '.join(IMAGES)}")
            if time.monotonic() > until:
                images = sorted(name for name, kinds in topics.items() if {*kinds} & {*IMAGES})
                raise SourceError(
                    f"nobody publishes it; with images: {', '.join(images) or 'none'}"
                )
            node.spin_once(POLL_S)
        return IMAGES[0]  # closed: nothing will be received

    def _take_info(self, data: bytes) -> None:
        self._stated.see(self._store.deserialize_cdr(data, CAMERA_INFO))
