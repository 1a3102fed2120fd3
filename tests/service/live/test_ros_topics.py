"""`segmif run` as a node of ROS 2, under a fake of rclpy: cameras by topics, results as topics."""

import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import cv2
import numpy as np
import pytest
from fastapi import FastAPI
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosReliability
from rosbags.rosbag2 import Writer

from segmif.geometry.cameras import Camera, Rig
from segmif.geometry.rig import write_rig
from segmif.runtime import open_runtime
from service.app import create_app
from service.live.rig_settings import LiveSettings, RigSettings
from service.live.sinks.open_sinks import open_sinks, parse_sink
from service.live.sinks.sink import SinkError
from service.settings import Settings
from tests.calibration.commands.test_unpack import STORE
from tests.service.live.test_run import run_once

START_NS, PERIOD_NS, COUNT = 1_767_225_600_123_456_789, 100_000_000, 60
SHAPE, HOT = (64, 96), (slice(20, 40), slice(30, 42))  # of the hot object: rows, columns
K = np.array([[90.0, 0, 48], [0, 90, 32], [0, 0, 1]])
LENS = Camera(SHAPE[1], SHAPE[0], K, np.zeros(5))
RIG = """
[[rigs]]
visible = "in:/rgb/image_raw"
infrared = "in:/thermal/image_raw"
sinks = ["pairs.jsonl"]
"""


def header(stamp_ns: int, frame_id: str) -> Any:
    stamp = STORE.types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 10**9))
    return STORE.types["std_msgs/msg/Header"](stamp, frame_id)


def image(header: Any, encoding: str, pixels: np.ndarray) -> Any:
    data = np.ascontiguousarray(pixels).view(np.uint8)
    step = data.nbytes // SHAPE[0]
    return STORE.types["sensor_msgs/msg/Image"](header, *SHAPE, encoding, 0, step, data.ravel())


def camera_info(header: Any, fx: float) -> Any:
    types = STORE.types
    stated = np.array([fx, 0, 48, 0, fx, 32, 0, 0, 1], float)
    return types["sensor_msgs/msg/CameraInfo"](
        header,
        *SHAPE,
        "plumb_bob",
        np.zeros(5),
        stated,
        np.eye(3).ravel(),
        np.zeros(12),
        0,
        0,
        types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False),
    )


def write_bag(folder: Path, infrared_fx: float) -> Path:
    """Two cameras, one of 16 bit, whose noise and stamps differ from pair to pair."""
    rng, connections = np.random.default_rng(0), dict[str, Any]()
    with Writer(folder, version=9) as writer:
        for number in range(COUNT):
            stamp_ns = START_NS + number * PERIOD_NS
            counts = rng.integers(7000, 7100, SHAPE, np.uint16)
            counts[HOT] = 9000
            colour = rng.integers(0, 256, (*SHAPE, 3), np.uint8)
            rgb, thermal = header(stamp_ns, "rgb_optical"), header(stamp_ns + 10**6, "ir_optical")
            for topic, message in (
                ("/rgb/image_raw", image(rgb, "bgr8", colour[..., ::-1])),
                ("/rgb/camera_info", camera_info(rgb, 90)),
                ("/thermal/image_raw", image(thermal, "mono16", counts)),
                ("/thermal/camera_info", camera_info(thermal, infrared_fx)),
            ):
                kind = message.__msgtype__
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
                data = STORE.serialize_cdr(message, kind)
                writer.write(connections[topic], stamp_ns, data)
    return folder


def read_bag(path: Path) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Messages and offered quality of service by topic."""
    found: dict[str, list[Any]] = {}
    with AnyReader([path]) as reader:
        ros = [one for one in reader.connections if "_msgs/msg/" in one.msgtype]
        offered = {one.topic: one.ext.offered_qos_profiles for one in ros}  # type: ignore[union-attr]
        for connection, _, data in reader.messages(ros):
            message = reader.deserialize(data, connection.msgtype)
            found.setdefault(connection.topic, []).append(message)
    return found, offered


def stamp_of(message: Any) -> int:
    return int(message.header.stamp.sec * 10**9 + message.header.stamp.nanosec)


def rig_file(folder: Path, infrared: Camera = LENS) -> Path:
    """A rig that is turned about its vertical axis by 2 degrees, with 1 mm between its cameras."""
    T = np.eye(4)
    T[:3, :3] = cv2.Rodrigues(np.array([0, math.radians(2), 0]))[0]
    T[0, 3] = 0.001
    write_rig(folder / "rig.yaml", Rig(LENS, infrared, T))
    return folder / "rig.yaml"


def check_results(found: dict[str, list[Any]], namespace: str) -> None:
    """Whether results in a recording are those of the hot object, and belong together."""
    (labels,) = found[f"{namespace}/label_info"]
    names = {each.class_id: each.class_name for each in labels.class_map}
    assert names[2] == "person"
    (transforms,) = found["/tf_static"]
    (stamped,) = transforms.transforms
    assert (stamped.header.frame_id, stamped.child_frame_id) == ("rgb_optical", "ir_optical")
    rotation, place = stamped.transform.rotation, stamped.transform.translation
    # The infrared camera is turned back by the rig's 2 degrees, and stands 1 mm to the left.
    turned = math.degrees(2 * math.atan2(rotation.y, rotation.w))
    assert (rotation.x, rotation.z, turned) == pytest.approx((0, 0, -2))
    assert math.hypot(place.x, place.z) == pytest.approx(0.001)
    assert place.x < 0
    for mask, detections in zip(
        found[f"{namespace}/mask"], found[f"{namespace}/detections"], strict=True
    ):
        assert stamp_of(mask) == stamp_of(detections)
        rows, columns = np.nonzero(mask.data.reshape(SHAPE) == 2)
        (seen,) = detections.detections
        (result,) = seen.results
        assert (result.hypothesis.class_id, names[int(result.hypothesis.class_id)]) == (
            "2",
            "person",
        )
        assert result.hypothesis.score == 1
        centre, sizes = seen.bbox.center.position, (seen.bbox.size_x, seen.bbox.size_y)
        assert sizes == (np.ptp(columns) + 1, np.ptp(rows) + 1)
        left_top = centre.x - sizes[0] / 2, centre.y - sizes[1] / 2
        assert left_top == (columns.min(), rows.min())


def flags_of(config: str, bag: Path, weights: Path) -> list[str]:
    """What `segmif run --once` flags in the last pair of a bag."""
    (bag.parent / "rigs.toml").write_text(config)
    ended = run_once(weights, bag.parent, "--config", "rigs.toml")
    assert ended.returncode == 0, ended.stderr
    lines = (bag.parent / "pairs.jsonl").read_text().splitlines()
    flags: list[str] = json.loads(lines[-1])["report"]["pair"]["flags"]
    return flags


def results_of(app: FastAPI, rig: str) -> int:
    found = app.state.rigs.get(rig)
    return found.outcomes["ok"] if found else 0


async def run_until(rig: RigSettings, weights: Path, results: int) -> None:
    """Have a service read a rig, as `segmif run` does, until it gave so many results."""
    settings = Settings(weights=weights, decode_processes=0, memory=False)
    live = LiveSettings(rigs=(rig,))
    app = create_app(settings, open_runtime(weights, threads=1), rigs=live)
    async with app.router.lifespan_context(app):
        with anyio.fail_after(120):
            while results_of(app, rig.name) < results:  # noqa: ASYNC110  a rig tells nobody
                await anyio.sleep(0.05)


@pytest.mark.anyio
async def test_topics_in_and_topics_out(
    stand_in_weights: Path,
    tmp_path: Path,
    fake_ros: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    bag = write_bag(tmp_path / "in", infrared_fx=99)
    rclpy = fake_ros(plays=str(bag), records=str(tmp_path / "out"))
    rig = RigSettings(
        name="front",
        visible="ros2:/rgb/image_raw",
        infrared="ros2:/thermal/image_raw",
        rig=rig_file(tmp_path),
        alone_after_s=0,  # a busy machine is no lost camera
        sinks=(parse_sink("ros2:"), parse_sink(f"{tmp_path}/pairs.jsonl")),
    )
    await run_until(rig, stand_in_weights, 3)
    rclpy.network.finish()
    found, offered = read_bag(tmp_path / "out")
    names = ("fused", "mask", "camera_info", "label_info", "detections")
    assert set(found) == {*(f"/front/{name}" for name in names), "/tf_static"}
    assert {topic for topic, (qos,) in offered.items() if qos.durability.value == 1} == {
        "/front/label_info",
        "/tf_static",
    }
    assert {qos.reliability for (qos,) in offered.values()} == {QosReliability.RELIABLE}
    check_results(found, "/front")
    sent = {START_NS + number * PERIOD_NS for number in range(COUNT)}
    for name in ("fused", "mask", "camera_info"):
        stamps = [stamp_of(each) for each in found[f"/front/{name}"]]
        assert len(stamps) >= 3 and set(stamps) <= sent and stamps == sorted(set(stamps))
        assert {each.header.frame_id for each in found[f"/front/{name}"]} == {"rgb_optical"}
    fused = found["/front/fused"][0]
    assert (fused.height, fused.width, fused.encoding, fused.step) == (*SHAPE, "rgb8", 3 * SHAPE[1])
    # The rig file and the infrared driver state different lenses.
    lines = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert lines[-1]["report"]["pair"]["flags"] == ["infrared_calibration"]
    assert "infrared: the rig file and the camera_info of the source" in caplog.text


@pytest.mark.parametrize(
    "config", [f'rig = "rig.yaml"\n{RIG}', f'{RIG}rig = "rig.yaml"\n'], ids=["service", "own"]
)
@pytest.mark.parametrize(("fx", "flags"), [(90, []), (99, ["infrared_calibration"])])
def test_a_lens_that_is_not_of_the_rig_file_is_flagged_whoever_states_the_file(
    fx: float, flags: list[str], config: str, stand_in_weights: Path, tmp_path: Path
) -> None:
    rig_file(tmp_path)
    assert flags_of(config, write_bag(tmp_path / "in", fx), stand_in_weights) == flags


def test_a_rigs_crop_makes_no_other_camera_of_the_one_that_is_stated(
    stand_in_weights: Path, tmp_path: Path
) -> None:
    rig_file(tmp_path, replace(LENS, height=SHAPE[0] - 2))
    config = f'{RIG}rig = "rig.yaml"\ninfrared_crop = "0,0,0,2"\n'
    assert not flags_of(config, write_bag(tmp_path / "in", 90), stand_in_weights)


@pytest.mark.parametrize(("word", "words"), [("ros2:", "source /opt/ros"), ("ros2:x", "namespace")])
def test_what_cannot_be_published_is_said(word: str, words: str) -> None:
    with pytest.raises((SinkError, ValueError), match=words):
        open_sinks([parse_sink(word)], "front")


def test_a_missing_package_of_messages_is_named(
    monkeypatch: pytest.MonkeyPatch, rclpy: Any
) -> None:
    monkeypatch.setitem(sys.modules, "vision_msgs.msg", None)
    with pytest.raises(SinkError, match=r"LabelInfo is missing: apt install .*-vision-msgs"):
        open_sinks([parse_sink("ros2:/front")], "front")
