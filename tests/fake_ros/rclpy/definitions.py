"""Packages of messages, generated from the definitions that rosbags ships, and vision_msgs."""

import os
import sys
from types import ModuleType
from typing import Any

from rosbags.typesys import Stores, get_types_from_msg, get_typestore

LINE = "\n" + "=" * 80 + "\n"
# The fields of vision_msgs 4, which rosbags does not ship.
DETECTIONS = LINE.join(
    [
        "std_msgs/Header header\nvision_msgs/Detection2D[] detections",
        "MSG: vision_msgs/Detection2D\nstd_msgs/Header header\n"
        "vision_msgs/ObjectHypothesisWithPose[] results\nvision_msgs/BoundingBox2D bbox\nstring id",
        "MSG: vision_msgs/ObjectHypothesisWithPose\nvision_msgs/ObjectHypothesis hypothesis\n"
        "geometry_msgs/PoseWithCovariance pose",
        "MSG: vision_msgs/ObjectHypothesis\nstring class_id\nfloat64 score",
        "MSG: vision_msgs/BoundingBox2D\nvision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y",
        "MSG: vision_msgs/Pose2D\nvision_msgs/Point2D position\nfloat64 theta",
        "MSG: vision_msgs/Point2D\nfloat64 x\nfloat64 y",
    ]
)
LABELS = LINE.join(
    [
        "std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold",
        "MSG: vision_msgs/VisionClass\nuint16 class_id\nstring class_name",
    ]
)

STORE: Any = get_typestore(Stores.ROS2_HUMBLE)
STORE.register(get_types_from_msg(DETECTIONS, "vision_msgs/msg/Detection2DArray"))
STORE.register(get_types_from_msg(LABELS, "vision_msgs/msg/LabelInfo"))


def install_messages() -> None:
    """Make `from PACKAGE.msg import NAME` work for every type; FAKE_ROS_LACKS names a package."""
    for kind in STORE.fielddefs:
        package, _, name = kind.split("/")
        if package == os.environ.get("FAKE_ROS_LACKS"):
            continue
        module = sys.modules.setdefault(f"{package}.msg", ModuleType(f"{package}.msg"))
        above = sys.modules.setdefault(package, ModuleType(package))
        above.msg = module  # type: ignore[attr-defined]
        fields = tuple(field for field, _ in STORE.fielddefs[kind][1])
        setattr(module, name, type(name, (), {"__slots__": fields, "kind": kind}))


def checked(data: object, message_class: Any) -> bytes:
    """Serialized content, if it is that and nothing else of its type; raises TypeError."""
    if not isinstance(data, bytes):
        raise TypeError(f"expected {message_class}, got {type(data)}")  # as rclpy does
    content = STORE.deserialize_cdr(data, message_class.kind)
    if bytes(STORE.serialize_cdr(content, message_class.kind)) != data:
        raise TypeError(f"{len(data)} bytes are no {message_class.kind}")
    return data
