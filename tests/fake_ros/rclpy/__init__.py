"""
On the path of modules, a fake of rclpy: nodes, topics and quality of service within one process.

FAKE_ROS_PLAYS: a recording that is published, at its pace, once all of its images have a reader.
FAKE_ROS_RECORDS: a folder for a recording of all that others publish.
FAKE_ROS_LACKS: a package of messages that is not installed.
"""

import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock, Thread
from typing import Any

from rosbags.highlevel import AnyReader
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer

from rclpy.context import Context
from rclpy.definitions import STORE, checked, install_messages
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy, satisfies

PLAYS, RECORDS = (os.environ.get(f"FAKE_ROS_{name}") for name in ("PLAYS", "RECORDS"))
FOREVER = QosTime(9223372036, 854775807)

install_messages()


@dataclass(eq=False)
class Subscription:
    kind: str
    topic: str
    callback: Callable[[bytes], object]
    qos: QoSProfile
    waiting: deque[bytes] = field(default_factory=deque)


@dataclass(eq=False)
class Publisher:
    msg_class: Any
    topic: str
    qos: QoSProfile
    kept: deque[bytes] = field(default_factory=deque)

    def publish(self, data: object) -> None:
        network.send(self, checked(data, self.msg_class))


class Network:
    """All publishers and subscriptions of the process."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.publishers: list[Publisher] = []
        self.subscriptions: list[Subscription] = []
        self._writer: Writer | None = None
        self._connections: dict[Publisher, Any] = {}
        if RECORDS:
            self._writer = Writer(Path(RECORDS), version=9, storage_plugin=StoragePlugin.MCAP)
            self._writer.open()

    def finish(self) -> None:
        """End the recording."""
        assert self._writer
        self._writer.close()

    def send(self, publisher: Publisher, data: bytes) -> None:
        with self.lock:
            publisher.kept.append(data)
            for subscription in self.subscriptions:
                self.offer(publisher, subscription, data)
            if self._writer and publisher not in played:
                self._record(self._writer, publisher, data)

    def offer(self, publisher: Publisher, subscription: Subscription, data: bytes) -> None:
        one = (publisher.topic, publisher.msg_class.kind) == (subscription.topic, subscription.kind)
        if one and satisfies(publisher.qos, subscription.qos):
            subscription.waiting.append(data)

    def _record(self, writer: Writer, publisher: Publisher, data: bytes) -> None:
        if publisher not in self._connections:
            qos = Qos(
                QosHistory(publisher.qos.history),
                publisher.qos.depth,
                QosReliability(publisher.qos.reliability),
                QosDurability(publisher.qos.durability),
                FOREVER,
                FOREVER,
                QosLiveliness(1),
                FOREVER,
                False,
            )
            self._connections[publisher] = writer.add_connection(
                publisher.topic,
                publisher.msg_class.kind,
                typestore=STORE,
                offered_qos_profiles=[qos],
            )
        writer.write(self._connections[publisher], time.time_ns(), data)


class Node:
    def __init__(self, name: str, context: Context) -> None:
        assert context.valid and name.isidentifier()
        self.subscriptions: list[Subscription] = []
        self.publishers: list[Publisher] = []

    def get_topic_names_and_types(self) -> list[tuple[str, list[str]]]:
        ends = [(each.topic, each.msg_class.kind) for each in network.publishers]
        ends += [(each.topic, each.kind) for each in network.subscriptions]
        return [(topic, [kind]) for topic, kind in dict(ends).items()]

    def create_subscription(
        self,
        msg_type: Any,
        topic: str,
        callback: Callable[[bytes], object],
        qos_profile: QoSProfile,
        *,
        raw: bool,
    ) -> None:
        assert raw, "this fake hands out serialized messages alone"
        waiting: deque[bytes] = deque(maxlen=qos_profile.depth)
        made = Subscription(msg_type.kind, topic, callback, qos_profile, waiting)
        with network.lock:
            self.subscriptions.append(made)
            network.subscriptions.append(made)
            if qos_profile.durability is DurabilityPolicy.TRANSIENT_LOCAL:
                for publisher in network.publishers:
                    for data in publisher.kept:
                        network.offer(publisher, made, data)
        start_playing()

    def create_publisher(self, msg_type: Any, topic: str, qos_profile: QoSProfile) -> Publisher:
        latched = qos_profile.durability is DurabilityPolicy.TRANSIENT_LOCAL
        kept: deque[bytes] = deque(maxlen=qos_profile.depth if latched else 0)
        made = Publisher(msg_type, topic, qos_profile, kept)
        with network.lock:
            self.publishers.append(made)
            network.publishers.append(made)
        return made

    def destroy_node(self) -> None:
        with network.lock:
            for publisher in self.publishers:
                network.publishers.remove(publisher)
            for subscription in self.subscriptions:
                network.subscriptions.remove(subscription)


network = Network()
played: dict[Publisher, None] = {}
playing: list[Thread] = []


def init(*, args: list[str], context: Context) -> None:
    assert args == []
    context.valid = True


def ok(*, context: Context) -> bool:
    return bool(context.valid)


def shutdown(*, context: Context) -> None:
    context.valid = False


def create_node(
    name: str, *, context: Context, enable_rosout: bool, start_parameter_services: bool
) -> Node:
    return Node(name, context)


def start_playing() -> None:
    """Play once every image that is to be played has a reader."""
    read = {each.topic for each in network.subscriptions}
    images = {each.topic for each in played if "Image" in each.msg_class.kind}
    if played and images <= read and not playing:
        playing.append(Thread(target=play, daemon=True))
        playing[0].start()


def play() -> None:
    topics = {each.topic: each for each in played}
    began = time.monotonic()
    with AnyReader([Path(PLAYS or "")], default_typestore=STORE) as reader:
        for connection, recorded_ns, data in reader.messages():
            due = began + (recorded_ns - reader.start_time) / 1e9
            time.sleep(max(0.0, due - time.monotonic()))
            topics[connection.topic].publish(bytes(data))


def prepare_playing(path: Path) -> None:
    qos = QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=5,
        reliability=ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.VOLATILE,
    )
    context = Context()
    init(args=[], context=context)
    node = Node("player", context)
    with AnyReader([path], default_typestore=STORE) as reader:
        for connection in reader.connections:
            package, _, name = connection.msgtype.split("/")
            message_class = getattr(__import__(f"{package}.msg", fromlist=[name]), name)
            played[node.create_publisher(message_class, connection.topic, qos)] = None


if PLAYS:
    prepare_playing(Path(PLAYS))
