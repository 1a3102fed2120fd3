"""Publishes results as topics of ROS 2."""

from collections.abc import Callable

from segmif.geometry.cameras import Homography, Rig
from segmif.sources.ros_node import RosError, RosNode, check_ros

from ..live_result import LiveResult
from .ros_messages import Message, RosMessages
from .ros_types import LATCHED, published, type_of
from .settings import RosSettings
from .sink import SinkError


class RosTopics:
    """A node that publishes; it joins the network of ROS with the first result."""

    dropped = 0

    def __init__(self, settings: RosSettings, rig: str, cameras: Rig | Homography | None) -> None:
        """Raises SinkError without ROS 2, or without a package of the messages."""
        lenses = cameras if isinstance(cameras, Rig) else None  # a homography knows of none
        self._messages = RosMessages(
            settings.topics, settings.images, rig, lenses, settings.namespace
        )
        self.name = f"ros2 {self._messages.namespace}"
        self._node_name = "segmif" + self._messages.namespace.replace("/", "_")
        self._node: RosNode | None = None
        self._publishers: dict[str, Callable[[bytes], object]] = {}
        self._latched: dict[str, bytes] = {}
        try:
            check_ros(*(type_of(topic, settings.images) for topic in settings.topics))
        except RosError as error:
            raise SinkError(f"no {self.name}: {error}") from None

    def write(self, result: LiveResult) -> None:
        """Publish a result; raises SinkError if ROS does not take it."""
        messages = list(self._messages.of(result))
        try:
            self._node = self._node or RosNode(self._node_name)
            for message in messages:
                self._publish(self._node, message)
        except SinkError:
            raise
        except Exception as error:  # of many kinds, by the middleware
            self.close()
            raise SinkError(f"no {self.name}: {error}") from None

    def close(self) -> None:
        """Leave the network of ROS."""
        node, self._node = self._node, None
        self._publishers.clear()
        self._latched.clear()
        if node:
            node.close()

    def _publish(self, node: RosNode, message: Message) -> None:
        data, latched = bytes(message.data), message.type in LATCHED
        if latched and self._latched.get(message.topic) == data:
            return
        topic = published(message.topic, message.type)
        if topic not in self._publishers:
            self._publishers[topic] = node.publisher(topic, message.type, latched=latched)
        self._publishers[topic](data)
        if latched:
            self._latched[message.topic] = data
