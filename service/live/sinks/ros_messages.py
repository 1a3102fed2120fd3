"""ROS 2 messages of a result, serialized by `rosbags`, which needs no ROS."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmif.geometry.cameras import Camera, Rig
from segmif.imaging.codecs import Pixels, encode_jpeg, encode_png
from segmif.install import install_command
from segmif.sources.frame import Part, SourceFrame

from ..live_result import LiveResult
from .jsonl import line
from .picture import labels, picture
from .settings import McapSettings, Topic
from .sink import SinkError

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
JSON = "json"  # no type of ROS
LAST_NS = 2**31 * 10**9  # ROS counts seconds in 31 bits, until the year 2038
DISTORTION = {("radtan", 5): "plumb_bob", ("radtan", 8): "rational_polynomial"}


@dataclass(frozen=True)
class Message:
    """A message, ready to be written."""

    topic: str
    type: str
    stamp_ns: int
    data: bytes | memoryview


def topic_name(rig: str) -> str:
    """A rig's name as ROS takes it in the name of a topic."""
    name = re.sub(r"\W", "_", rig, flags=re.ASCII)
    return f"rig_{name}" if not name or name[0].isdigit() else name


class RosMessages:
    """Makes the messages of a rig's results."""

    def __init__(self, settings: McapSettings, rig: str, cameras: Rig | None) -> None:
        """Raises SinkError if `rosbags` is missing."""
        try:
            from rosbags.typesys import Stores, get_typestore
        except ModuleNotFoundError:
            raise SinkError(
                f"MCAP needs the packages mcap and rosbags: {install_command('live')}"
            ) from None
        self._store: Any = get_typestore(Stores.ROS2_HUMBLE)
        self._settings, self._cameras = settings, cameras
        self._rig = topic_name(rig)

    def definition(self, type: str) -> str:
        """The text that defines a type."""
        text: str = self._store.generate_msgdef(type, ros_version=2)[0]
        return text

    def of(self, result: LiveResult) -> Iterator[Message]:
        """The messages of a result; raises SinkError for a stamp that ROS cannot hold."""
        for topic in self._settings.topics:
            if message := self._message(topic, result):
                yield message
        if self._cameras and result.visible:
            yield self._camera_info("visible", self._cameras.visible, result.visible)
        if self._cameras and result.infrared:
            yield self._camera_info("infrared", self._cameras.infrared, result.infrared)

    def _message(self, topic: Topic, result: LiveResult) -> Message | None:
        """None for the frame of a camera that is lost."""
        match topic:
            case "report":
                data = json.dumps(line(result)).encode()
                return Message(f"/{self._rig}/report", JSON, result.stamp_ns, data)
            case "mask":
                return self._image(topic, "visible", labels(result), result.stamp_ns)
            case "infrared":
                if (frame := result.infrared) is None:
                    return None
                return self._image(topic, "infrared", frame.pixels, frame.stamp_ns)
            case "visible":
                if (frame := result.visible) is None:
                    return None
                return self._compressed(topic, frame.pixels, result)
            case _:
                return self._compressed(topic, picture(result, topic), result)

    def _image(self, topic: Topic, part: Part, pixels: Pixels, stamp_ns: int) -> Message:
        height, width = pixels.shape
        data = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))
        content = self._store.types[IMAGE](
            header=self._header(part, stamp_ns),
            height=height,
            width=width,
            encoding="mono16" if pixels.itemsize == 2 else "mono8",
            is_bigendian=0,
            step=width * pixels.itemsize,
            data=data.view(np.uint8).ravel(),
        )
        return self._serialized(topic, IMAGE, stamp_ns, content)

    def _compressed(self, topic: Topic, pixels: Pixels, result: LiveResult) -> Message:
        colours: NDArray[np.uint8] = np.asarray(pixels, np.uint8)
        jpeg = self._settings.images == "jpeg"
        data = encode_jpeg(colours) if jpeg else encode_png(colours)
        content = self._store.types[COMPRESSED](
            header=self._header("visible", result.stamp_ns),
            format=self._settings.images,
            data=np.frombuffer(data, np.uint8),
        )
        return self._serialized(topic, COMPRESSED, result.stamp_ns, content)

    def _camera_info(self, part: Part, camera: Camera, frame: SourceFrame) -> Message:
        model = DISTORTION.get((camera.model, camera.distortion.size), "equidistant")
        types = self._store.types
        content = types[CAMERA_INFO](
            header=self._header(part, frame.stamp_ns),
            height=camera.height,
            width=camera.width,
            distortion_model=model,
            d=camera.distortion,
            k=camera.K.ravel(),
            r=np.eye(3).ravel(),
            p=np.column_stack([camera.K, np.zeros(3)]).ravel(),
            binning_x=0,
            binning_y=0,
            roi=types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False),
        )
        return self._serialized(f"{part}/camera_info", CAMERA_INFO, frame.stamp_ns, content)

    def _header(self, part: Part, stamp_ns: int) -> Any:
        if not 0 <= stamp_ns < LAST_NS:
            raise SinkError(
                f"the stamp {stamp_ns} ns of {part} is none that ROS can hold: expected "
                f"0 to {LAST_NS}, nanoseconds since 1970"
            )
        types = self._store.types
        stamp = types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 10**9))
        return types["std_msgs/msg/Header"](stamp=stamp, frame_id=f"{self._rig}_{part}")

    def _serialized(self, topic: str, type: str, stamp_ns: int, content: Any) -> Message:
        data = self._store.serialize_cdr(content, type)
        return Message(f"/{self._rig}/{topic}", type, stamp_ns, data)
