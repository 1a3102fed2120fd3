"""ROS 2 messages of a result, serialized by `rosbags`, which needs no ROS."""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmif.geometry.cameras import Camera, Rig
from segmif.imaging.codecs import Pixels, encode_jpeg, encode_png
from segmif.sources.camera_info import CAMERA_INFO, model_name
from segmif.sources.frame import Part, SourceFrame

from ..live_result import LiveResult
from .jsonl import line
from .picture import labels, picture
from .ros_objects import detections, label_info, transform
from .ros_types import (
    COMPRESSED,
    DETECTIONS,
    IMAGE,
    LABEL_INFO,
    TRANSFORMS,
    message_types,
    namespace_of,
    topic_name,
)
from .settings import ImageForm, Topic
from .sink import SinkError

JSON = "json"  # no type of ROS
LAST_NS = 2**31 * 10**9  # ROS counts seconds in 31 bits, until the year 2038
SAME_FRAME = (
    "%s: both cameras state the frame %r, so there is no transform between them: give each driver "
    "a frame_id of its own"
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Message:
    """A message, ready to be written."""

    topic: str
    type: str
    stamp_ns: int
    data: bytes | memoryview


class RosMessages:
    """
    Makes the messages of a rig's results.

    Those of latched topics come with every result, and are the same bytes until they change.
    """

    def __init__(
        self,
        topics: Sequence[Topic],
        images: ImageForm,
        rig: str,
        cameras: Rig | None,
        namespace: str | None = None,
    ) -> None:
        """
        `namespace` None: /RIG; `cameras` are in force until a result was aligned by others.

        Raises SinkError if `rosbags` is missing.
        """
        self._store = message_types()
        self._topics, self._images, self._cameras = topics, images, cameras
        self._rig = topic_name(rig)
        self.namespace = namespace or namespace_of(rig)
        self._said = False
        self._frames: dict[Part, str] = {}  # the cameras' names in the robot's tree, once known

    def definition(self, type: str) -> str:
        """The text that defines a type."""
        text: str = self._store.generate_msgdef(type, ros_version=2)[0]
        return text

    def of(self, result: LiveResult) -> Iterator[Message]:
        """The messages of a result; raises SinkError for a stamp that ROS cannot hold."""
        if (rig := result.result.prepared.rig) is not None:  # its file may have been saved anew
            self._cameras = rig if isinstance(rig, Rig) else None
        for part, frame in self._parts(result):
            self._frames[part] = frame.frame_id or f"{self._rig}_{part}"
        for topic in self._topics:
            if message := self._message(topic, result):
                yield message

    def camera_infos(self, result: LiveResult) -> Iterator[Message]:
        """The intrinsics of each camera whose frame came, if the rig or the source knows them."""
        for part, frame in self._parts(result):
            if camera := self._camera(part, frame):
                topic = f"{part}/camera_info"
                yield self._camera_info(topic, part, camera, frame.stamp_ns)

    def _parts(self, result: LiveResult) -> Iterator[tuple[Part, SourceFrame]]:
        if result.visible:
            yield "visible", result.visible
        if result.infrared:
            yield "infrared", result.infrared

    def _camera(self, part: Part, frame: SourceFrame | None) -> Camera | None:
        if self._cameras:
            return self._cameras.visible if part == "visible" else self._cameras.infrared
        return frame.camera if frame else None

    def _message(self, topic: Topic, result: LiveResult) -> Message | None:
        """None for what this result, or this rig, does not have."""
        match topic:
            case "report":
                data = json.dumps(line(result)).encode()
                return Message(f"{self.namespace}/report", JSON, result.stamp_ns, data)
            case "mask":
                return self._image(topic, "visible", labels(result), result.stamp_ns)
            case "infrared":
                if (frame := result.infrared) is None:
                    return None
                return self._image(topic, "infrared", frame.pixels, frame.stamp_ns)
            case "visible":
                if (frame := result.visible) is None:
                    return None
                return self._picture(topic, frame.pixels, result)
            case "fused" | "overlay" | "mosaic":
                return self._picture(topic, picture(result, topic), result)
            case _:
                return self._facts(topic, result)

    def _facts(self, topic: Topic, result: LiveResult) -> Message | None:
        """What is known of a result besides its pictures."""
        stamp_ns = result.stamp_ns
        match topic:
            case "camera_info":
                camera = self._camera("visible", result.visible)
                if camera is None or labels(result).shape != (camera.height, camera.width):
                    return None
                return self._camera_info(topic, "visible", camera, stamp_ns)
            case "label_info":
                content = label_info(self._store, self._header("visible", 0), result.taxonomy)
                return self._serialized(topic, LABEL_INFO, stamp_ns, content)
            case "detections":
                if (objects := result.result.objects) is None:
                    return None
                content = detections(self._store, self._header("visible", stamp_ns), objects)
                return self._serialized(topic, DETECTIONS, stamp_ns, content)
            case _:
                return self._transform(stamp_ns)

    def _transform(self, stamp_ns: int) -> Message | None:
        """None without a rig, or if the frames of both cameras have one name."""
        if self._cameras is None or len(self._frames) < 2:
            return None
        visible, infrared = self._frames["visible"], self._frames["infrared"]
        if visible == infrared:
            if not self._said:
                logger.warning(SAME_FRAME, self._rig, visible)
            self._said = True
            return None
        header = self._header("visible", 0)
        content = transform(self._store, header, infrared, self._cameras)
        return self._serialized("/tf_static", TRANSFORMS, stamp_ns, content)

    def _image(self, topic: str, part: Part, pixels: Pixels, stamp_ns: int) -> Message:
        height, width = pixels.shape[:2]
        data = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))
        grey = "mono16" if pixels.itemsize == 2 else "mono8"
        content = self._store.types[IMAGE](
            header=self._header(part, stamp_ns),
            height=height,
            width=width,
            encoding=grey if pixels.ndim == 2 else "rgb8",
            is_bigendian=0,
            step=data.nbytes // height,
            data=data.view(np.uint8).ravel(),
        )
        return self._serialized(topic, IMAGE, stamp_ns, content)

    def _picture(self, topic: str, pixels: Pixels, result: LiveResult) -> Message:
        if self._images == "raw":
            return self._image(topic, "visible", pixels, result.stamp_ns)
        colours: NDArray[np.uint8] = np.asarray(pixels, np.uint8)
        data = encode_jpeg(colours) if self._images == "jpeg" else encode_png(colours)
        content = self._store.types[COMPRESSED](
            header=self._header("visible", result.stamp_ns),
            format=self._images,
            data=np.frombuffer(data, np.uint8),
        )
        return self._serialized(topic, COMPRESSED, result.stamp_ns, content)

    def _camera_info(self, topic: str, part: Part, camera: Camera, stamp_ns: int) -> Message:
        types = self._store.types
        content = types[CAMERA_INFO](
            header=self._header(part, stamp_ns),
            height=camera.height,
            width=camera.width,
            distortion_model=model_name(camera),
            d=camera.distortion,
            k=camera.K.ravel(),
            r=np.eye(3).ravel(),
            p=np.column_stack([camera.K, np.zeros(3)]).ravel(),
            binning_x=0,
            binning_y=0,
            roi=types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False),
        )
        return self._serialized(topic, CAMERA_INFO, stamp_ns, content)

    def _header(self, part: Part, stamp_ns: int) -> Any:
        if not 0 <= stamp_ns < LAST_NS:
            raise SinkError(
                f"the stamp {stamp_ns} ns of {part} is none that ROS can hold: expected "
                f"0 to {LAST_NS}, nanoseconds since 1970"
            )
        types = self._store.types
        stamp = types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 10**9))
        frame_id = self._frames.get(part, f"{self._rig}_{part}")
        return types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)

    def _serialized(self, topic: str, type: str, stamp_ns: int, content: Any) -> Message:
        data = self._store.serialize_cdr(content, type)
        name = topic if topic.startswith("/") else f"{self.namespace}/{topic}"
        return Message(name, type, stamp_ns, data)
