"""A node of ROS 2 by rclpy, which comes with ROS and is on no package index."""

from collections.abc import Callable
from importlib import import_module
from types import TracebackType
from typing import Any

from typing_extensions import Self

IN_DEPTH, OUT_DEPTH = 5, 10  # messages that a subscription and a publisher keep

INSTALL = (
    "topics need ROS 2 and its Python packages: source /opt/ros/DISTRO/setup.bash, and use the "
    "Python that ROS was built for (a virtual environment with --system-site-packages)"
)


class RosError(Exception):
    """ROS 2 or one of its packages is missing, or does not start; the message says what to do."""


def check_ros(*types: str) -> None:
    """Raise RosError unless rclpy and the packages of these message types can be imported."""
    _rclpy()
    for each in types:
        message_class(each)


def message_class(type: str) -> Any:
    """The class of a message type such as sensor_msgs/msg/Image; raises RosError."""
    package, _, name = type.split("/")
    try:
        return getattr(import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError):
        debian = package.replace("_", "-")
        raise RosError(f"{type} is missing: apt install ros-$ROS_DISTRO-{debian}") from None


class RosNode:
    """
    A node in a context of its own: it touches neither signals nor other nodes of the process.

    Messages go in and out serialized, as bags have them. One thread uses it.
    """

    def __init__(self, name: str) -> None:
        """Join the network of ROS; raises RosError."""
        rclpy = _rclpy()
        try:
            self._context = rclpy.context.Context()
            # None would have it read the command line of this process.
            rclpy.init(args=[], context=self._context)
            self._node = rclpy.create_node(
                name, context=self._context, enable_rosout=False, start_parameter_services=False
            )
            self._executor = rclpy.executors.SingleThreadedExecutor(context=self._context)
            self._executor.add_node(self._node)
        except Exception as error:  # of many kinds, by the middleware
            raise RosError(f"ROS 2 does not start: {error}") from None
        self._rclpy = rclpy

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def topics(self) -> dict[str, list[str]]:
        """The types of the topics that somebody publishes, or waits for, by name."""
        return dict(self._node.get_topic_names_and_types())

    def subscribe(self, topic: str, type: str, received: Callable[[bytes], object]) -> None:
        """Have `spin_once` call `received` with messages: sensor data, so the newest few count."""
        qos = self._rclpy.qos
        profile = qos.QoSProfile(
            history=qos.HistoryPolicy.KEEP_LAST,
            depth=IN_DEPTH,
            reliability=qos.ReliabilityPolicy.BEST_EFFORT,  # matches reliable publishers too
            durability=qos.DurabilityPolicy.VOLATILE,
        )
        self._node.create_subscription(message_class(type), topic, received, profile, raw=True)

    def publisher(
        self, topic: str, type: str, *, latched: bool = False
    ) -> Callable[[bytes], object]:
        """What publishes messages, reliably; a `latched` one gives its last to who comes later."""
        qos = self._rclpy.qos
        durability = qos.DurabilityPolicy
        profile = qos.QoSProfile(
            history=qos.HistoryPolicy.KEEP_LAST,
            depth=1 if latched else OUT_DEPTH,
            reliability=qos.ReliabilityPolicy.RELIABLE,
            durability=durability.TRANSIENT_LOCAL if latched else durability.VOLATILE,
        )
        publish: Callable[[bytes], object] = self._node.create_publisher(
            message_class(type), topic, profile
        ).publish
        return publish

    def spin_once(self, timeout_s: float) -> None:
        """Wait for a message and hand it over."""
        self._executor.spin_once(timeout_sec=timeout_s)

    def close(self) -> None:
        """Leave the network of ROS."""
        self._executor.shutdown()
        self._node.destroy_node()
        if self._rclpy.ok(context=self._context):
            self._rclpy.shutdown(context=self._context)


def _rclpy() -> Any:
    try:
        import rclpy
        import rclpy.context
        import rclpy.executors
        import rclpy.qos
    except ImportError as error:
        raise RosError(f"{INSTALL} ({error})") from None
    return rclpy
