"""The types of ROS 2 messages that sinks write, and what readers of a latched topic must know."""

import re
from typing import Any

from segmif.install import install_command
from segmif.sources.camera_info import CAMERA_INFO

from .settings import ImageForm, Topic
from .sink_error import SinkError

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
LABEL_INFO, DETECTIONS = "vision_msgs/msg/LabelInfo", "vision_msgs/msg/Detection2DArray"
TRANSFORMS = "tf2_msgs/msg/TFMessage"
LATCHED = frozenset({LABEL_INFO, TRANSFORMS})  # sent once, kept for who comes later

_TYPES = {
    "mask": IMAGE,
    "infrared": IMAGE,
    "camera_info": CAMERA_INFO,
    "label_info": LABEL_INFO,
    "detections": DETECTIONS,
    "transform": TRANSFORMS,
}

# rosbags ships no vision_msgs: the fields of its version 4, for Humble and later.
VISION_MSGS = {
    "Point2D": "float64 x\nfloat64 y",
    "Pose2D": "vision_msgs/Point2D position\nfloat64 theta",
    "BoundingBox2D": "vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y",
    "ObjectHypothesis": "string class_id\nfloat64 score",
    "ObjectHypothesisWithPose": (
        "vision_msgs/ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose"
    ),
    "Detection2D": (
        "std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\n"
        "vision_msgs/BoundingBox2D bbox\nstring id"
    ),
    "Detection2DArray": "std_msgs/Header header\nvision_msgs/Detection2D[] detections",
    "VisionClass": "uint16 class_id\nstring class_name",
    "LabelInfo": "std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold",
}

# As rosbag2 notes it of a channel: `ros2 bag play` then offers the topic as it was offered.
_FOREVER = "{sec: 9223372036, nsec: 854775807}"
LATCHED_QOS = f"""\
- history: 1
  depth: 1
  reliability: 1
  durability: 1
  deadline: {_FOREVER}
  lifespan: {_FOREVER}
  liveliness: 1
  liveliness_lease_duration: {_FOREVER}
  avoid_ros_namespace_conventions: false
"""


def type_of(topic: Topic, images: ImageForm) -> str:
    """The type of a topic; pictures are raw or compressed."""
    return _TYPES.get(topic) or (IMAGE if images == "raw" else COMPRESSED)


def topic_name(rig: str) -> str:
    """A rig's name as ROS takes it in the name of a topic."""
    name = re.sub(r"\W", "_", rig, flags=re.ASCII)
    return f"rig_{name}" if not name or name[0].isdigit() else name


def namespace_of(rig: str) -> str:
    """The namespace of a rig's topics if none is stated."""
    return f"/{topic_name(rig)}"


def published(topic: str, type: str) -> str:
    """A topic's name in the network of ROS: image_transport finds encoded pictures there."""
    return f"{topic}/compressed" if type == COMPRESSED else topic


def message_types() -> Any:
    """The types of ROS 2 Humble and of vision_msgs; raises SinkError if `rosbags` is missing."""
    try:
        from rosbags.typesys import Stores, get_types_from_msg, get_typestore
    except ModuleNotFoundError:
        raise SinkError(
            f"messages of ROS need the package rosbags: {install_command('live')}"
        ) from None
    store = get_typestore(Stores.ROS2_HUMBLE)
    for name, text in VISION_MSGS.items():
        store.register(get_types_from_msg(text, f"vision_msgs/msg/{name}"))
    return store
