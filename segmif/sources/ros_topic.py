"""A topic of ROS 2 as a camera."""

import re
import time
from collections import deque
from collections.abc import Generator, Iterator
from typing import Any

from segmif.imaging.image_header import ImageError
from segmif.install import install_command
from segmif.sources.base import POLL_S, SourceBase, ThreadedReader
from segmif.sources.camera_info import CAMERA_INFO, StatedCamera, info_topics
from segmif.sources.frame import Part, SourceError, SourceFrame
from segmif.sources.options import SourceOptions
from segmif.sources.ros_images import IMAGES, header_of, pixels_of
from segmif.sources.ros_node import IN_DEPTH, RosError, RosNode, check_ros
from segmif.sources.stamps import LATE_NS, RisingStamps

NAME = re.compile(r"(/[A-Za-z_]\w*)+", re.ASCII)  # of a topic or a namespace


class RosTopicSource(SourceBase):
    """The images of one topic, with the CameraInfo below or beside it."""

    live = True

    def __init__(self, topic: str, address: str, part: Part, options: SourceOptions) -> None:
        """Raises SourceError for what is no name of a topic, and without ROS 2."""
        super().__init__(address)
        if not NAME.fullmatch(topic):
            raise SourceError(f"{address}: expected ros2:/TOPIC, as in ros2:/camera/image_raw")
        self._topic, self._part, self._options = topic, part, options
        self._stamps = RisingStamps(options.period_ns, LATE_NS)
        self._stated = StatedCamera(address)
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
                if frame := self._frame(waiting.popleft(), kind):
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

    def _frame(self, data: bytes, kind: str) -> SourceFrame | None:
        message = self._store.deserialize_cdr(data, kind)
        try:
            pixels = pixels_of(message, kind, self._part)
        except ImageError as error:
            if error.kind == "damaged":
                self.damaged += 1
                return None
            raise
        header = header_of(message)
        stamp_ns = self._stamps.next(header.stamp_ns or time.time_ns())
        if stamp_ns is None:
            self.dropped += 1
            return None
        return SourceFrame(
            pixels,
            stamp_ns,
            "source" if header.stamp_ns else "arrival",
            str(stamp_ns),
            frame_id=header.frame_id,
            camera=self._stated.camera,
        )
