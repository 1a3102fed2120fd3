"""Topics of ROS 2 as cameras, under a fake of rclpy with generated messages."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from segmif.imaging.codecs import encode_png
from segmif.sources.frame import Part, SourceError, SourceFrame
from segmif.sources.open_source import open_source
from segmif.sources.options import SourceOptions
from tests.calibration.commands.test_unpack import (
    COLOUR,
    COUNTS,
    STAMP_NS,
    STORE,
    compressed,
    header,
    image,
)

PATIENT, SOON = SourceOptions(timeout_s=30), SourceOptions(timeout_s=0.5)


@contextmanager
def driver(rclpy: Any, messages: dict[str, Any], *, reliable: bool = False) -> Iterator[None]:
    """Publish messages by topic, again and again."""
    qos, context = rclpy.qos, rclpy.context.Context()
    rclpy.init(args=[], context=context)
    node = rclpy.Node("driver", context)
    profile = qos.QoSProfile(
        history=qos.HistoryPolicy.KEEP_LAST,
        depth=1,
        reliability=qos.ReliabilityPolicy(1 if reliable else 2),
        durability=qos.DurabilityPolicy.VOLATILE,
    )
    publishers = {}
    for topic, message in messages.items():
        package, _, name = message.__msgtype__.split("/")
        message_class = getattr(import_module(f"{package}.msg"), name)
        publishers[topic] = node.create_publisher(message_class, topic, profile)
    done = threading.Event()

    def publish() -> None:
        while not done.wait(0.01):
            for topic, message in messages.items():
                data = STORE.serialize_cdr(message, message.__msgtype__)
                publishers[topic].publish(bytes(data))

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def first(topic: str, part: Part, options: SourceOptions = PATIENT) -> SourceFrame:
    source = open_source(f"ros2:{topic}", part, options)
    frame = next(iter(source.frames()))
    source.close()
    return frame


def camera_info(fx: float, width: int = 4, height: int = 3) -> Any:
    types = STORE.types
    K = np.array([fx, 0, 1.5, 0, fx, 1, 0, 0, 1])
    roi = types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    lens = np.array([0.1, 0, 0, 0, 0])
    P = np.zeros(12)
    return types["sensor_msgs/msg/CameraInfo"](
        header(STAMP_NS), height, width, "plumb_bob", lens, K, np.eye(3).ravel(), P, 0, 0, roi
    )


@pytest.mark.parametrize("reliable", [True, False])
@pytest.mark.parametrize(
    ("part", "message", "pixels"),
    [
        ("infrared", image(COUNTS.astype(">u2"), "mono16", STAMP_NS), COUNTS),
        ("infrared", image(COUNTS, "16UC1", STAMP_NS, padding=2), COUNTS),
        ("infrared", image(COUNTS.astype(np.uint8), "mono8", STAMP_NS), COUNTS.astype(np.uint8)),
        ("infrared", compressed(encode_png(COUNTS), STAMP_NS), COUNTS),
        ("visible", image(COLOUR[..., ::-1], "bgr8", STAMP_NS), COLOUR),
        ("visible", compressed(encode_png(COLOUR), STAMP_NS), COLOUR),
    ],
)
def test_images_become_frames(
    rclpy: Any, part: Part, message: Any, pixels: np.ndarray, reliable: bool
) -> None:
    with driver(rclpy, {"/front/image_raw": message}, reliable=reliable):
        frame = first("/front/image_raw", part)
    np.testing.assert_array_equal(frame.pixels, pixels)
    assert frame.pixels.dtype == pixels.dtype
    assert (frame.stamp_ns, frame.stamp_from) == (STAMP_NS, "source")
    assert (frame.frame_id, frame.camera) == ("camera", None)


def test_a_driver_without_a_clock_is_stamped_by_arrival(rclpy: Any) -> None:
    before = time.time_ns()
    with driver(rclpy, {"/thermal": image(COUNTS, "mono16", 0)}):
        frame = first("/thermal", "infrared")
    assert frame.stamp_from == "arrival"
    assert before < frame.stamp_ns < time.time_ns()


@pytest.mark.parametrize("topic", ["/front/image_raw", "/front/image_raw/compressed"])
def test_the_camera_info_beside_it_comes_with_the_frames(rclpy: Any, topic: str) -> None:
    messages = {"/front/camera_info": camera_info(5.0)}
    sent = compressed(encode_png(COUNTS), 0)
    with driver(rclpy, {**messages, topic: sent}):
        source = open_source(f"ros2:{topic}", "infrared", PATIENT)
        camera = next(frame.camera for frame in source.frames() if frame.camera)
        source.close()
    assert (camera.width, camera.height, camera.fx, camera.model) == (4, 3, 5.0, "radtan")
    np.testing.assert_array_equal(camera.distortion, [0.1, 0, 0, 0, 0])


def test_what_gives_no_frames_is_said(rclpy: Any) -> None:
    with driver(rclpy, {"/info": camera_info(5.0), "/rgb": image(COLOUR, "rgb8", 0)}):
        with pytest.raises(SourceError, match=r"ros2:/none: nobody publishes .* images: /rgb$"):
            first("/none", "visible", SOON)
        with pytest.raises(SourceError, match="of sensor_msgs/msg/CameraInfo, expected one of"):
            first("/info", "visible")
    with (
        driver(rclpy, {"/rgb": image(COLOUR, "32FC1", 0)}),
        pytest.raises(SourceError, match="ros2:/rgb: frames are encoded as 32FC1"),
    ):
        first("/rgb", "visible")
    with pytest.raises(SourceError, match=r"no message came within 0\.5 s"):
        first("/rgb", "visible", SOON)


def test_without_ros_a_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rclpy", None)
    with pytest.raises(SourceError, match=r"ros2:/rgb: topics need ROS 2 .*source /opt/ros"):
        open_source("ros2:/rgb", "visible")
    with pytest.raises(SourceError, match=r"expected ros2:/TOPIC"):
        open_source("ros2:rgb", "visible")
