"""Recordings as MCAP: read by the official reader and by rosbags, whole, killed and cut off."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.exceptions import EndOfFile
from mcap.reader import NonSeekingReader, make_reader
from rosbags.highlevel import AnyReader

from segmif.geometry.cameras import Camera, Rig
from segmif.imaging import codecs
from service.live.sinks.open_sinks import open_sinks, parse_sink
from service.live.sinks.settings import McapSettings
from service.live.sinks.sink import SinkError
from tests.service.live.sinks.conftest import KilledAfter, Results
from tests.service.live.sinks.made_results import PERIOD_NS, START_NS, counts

NAME = "front-20260101T000000.123Z.mcap"


def messages_of(path: Path) -> dict[str, list[tuple[int, Any]]]:
    """Log times and messages by topic, as rosbags reads those of ROS."""
    found: dict[str, list[tuple[int, Any]]] = {}
    with AnyReader([path]) as reader:
        ros = [one for one in reader.connections if "_msgs/msg/" in one.msgtype]
        for connection, time, data in reader.messages(ros):
            message = reader.deserialize(data, connection.msgtype)
            found.setdefault(connection.topic, []).append((time, message))
    return found


def camera() -> Camera:
    K = np.array([[90.0, 0, 48], [0, 90, 32], [0, 0, 1]])
    return Camera(96, 64, K, np.array([-0.1, 0.01, 0, 0, 0.0]))


@pytest.mark.parametrize("compression", ["zstd", "lz4", "none"])
@pytest.mark.parametrize("images", ["jpeg", "png"])
def test_messages_come_back(
    tmp_path: Path, results: Results, compression: str, images: str
) -> None:
    stated = {"path": tmp_path, "compression": compression, "images": images}
    T = np.eye(4)
    T[0, 3] = 0.1
    rig = Rig(camera(), camera(), T)
    (sink,) = open_sinks([McapSettings.model_validate(stated)], "front", rig)
    written = list(results(3))
    for result in written:
        sink.write(result)
    sink.close()
    found = messages_of(tmp_path / NAME)
    assert set(found) == {
        "/front/fused",
        "/front/overlay",
        "/front/mask",
        "/front/visible",
        "/front/infrared",
        "/front/visible/camera_info",
        "/front/infrared/camera_info",
        "/front/camera_info",
        "/front/label_info",
        "/tf_static",
    }
    for number, (time, message) in enumerate(found["/front/infrared"]):
        frame = written[number].infrared
        assert frame and time == frame.stamp_ns
        assert message.header.stamp.sec * 10**9 + message.header.stamp.nanosec == time
        assert (message.encoding, message.step, message.is_bigendian) == ("mono16", 192, 0)
        seen = message.data.view("<u2").reshape(64, 96)
        np.testing.assert_array_equal(seen, counts(number, (64, 96)))
    time, message = found["/front/mask"][1]
    assert (time, message.encoding) == (written[1].stamp_ns, "mono8")
    labels = written[1].result.prediction.labels
    np.testing.assert_array_equal(message.data.reshape(64, 96), labels)
    fused = found["/front/fused"][1][1]
    assert fused.format == images
    decoded = codecs.decode_visible(fused.data.tobytes()).astype(int)
    error = np.abs(decoded - written[1].result.prediction.fused)
    assert error.mean() < (2 if images == "jpeg" else 1e-9)
    info = found["/front/infrared/camera_info"][0][1]
    assert (info.width, info.distortion_model) == (96, "plumb_bob")
    np.testing.assert_array_equal(info.k, camera().K.ravel())
    np.testing.assert_array_equal(info.d, camera().distortion)


def test_a_lost_camera_has_no_messages(tmp_path: Path, results: Results) -> None:
    T = np.eye(4)
    T[0, 3] = 0.1
    (sink,) = open_sinks([McapSettings(path=tmp_path)], "front", Rig(camera(), camera(), T))
    whole, first, second = results(3)
    for result in (whole, replace(first, infrared=None), replace(second, visible=None)):
        sink.write(result)
    sink.close()
    found = messages_of(tmp_path / NAME)
    seen = {topic: len(messages) for topic, messages in found.items()}
    assert {seen.pop(topic) for topic in ("/front/fused", "/front/overlay", "/front/mask")} == {3}
    assert seen.pop("/front/camera_info") == 3
    assert {seen.pop(topic) for topic in ("/front/label_info", "/tf_static")} == {1}
    assert set(seen.values()) == {2}
    assert set(seen) == {
        f"/front/{part}{more}" for part in ("visible", "infrared") for more in ("", "/camera_info")
    }


def test_reports_are_json(tmp_path: Path, results: Results) -> None:
    (sink,) = open_sinks([McapSettings(path=tmp_path, topics=("report",))], "front")
    (result,) = results(1)
    sink.write(result)
    sink.close()
    with (tmp_path / NAME).open("rb") as file:
        reader = make_reader(file)
        ((schema, channel, message),) = reader.iter_messages()
        (metadata,) = reader.iter_metadata()
    assert schema is None
    assert (channel.topic, channel.message_encoding) == ("/front/report", "json")
    assert message.log_time == result.stamp_ns
    assert json.loads(message.data)["report"] == result.report
    assert json.loads(metadata.metadata["classes"])[2] == "person"


def times_of(path: Path) -> list[int]:
    """Log times up to where a file is cut off."""
    times = []
    with path.open("rb") as file:
        try:
            for _, _, message in NonSeekingReader(file).iter_messages(log_time_order=False):
                times.append(message.log_time)
        except EndOfFile:
            pass
    return times


def test_a_killed_recording_lacks_a_second_at_most(
    tmp_path: Path, killed_after: KilledAfter
) -> None:
    killed_after(McapSettings(path=tmp_path), 75)
    times = times_of(tmp_path / NAME)
    assert min(times) == START_NS
    assert START_NS + 74 * PERIOD_NS - max(times) < 10**9


def test_files_are_rotated_and_old_ones_deleted(tmp_path: Path, results: Results) -> None:
    settings = McapSettings(path=tmp_path, max_mb=0.05, keep_gb=0.0002)
    (sink,) = open_sinks([settings], "front")
    for result in results(60):
        sink.write(result)
    sink.close()
    files = sorted(tmp_path.iterdir())
    assert sum(file.stat().st_size for file in files) < 400_000
    assert files[0].name > NAME  # the first is gone
    assert max(times_of(files[-1])) >= START_NS + 59 * PERIOD_NS


def test_a_name_that_is_no_topic_is_made_one(tmp_path: Path, results: Results) -> None:
    settings = McapSettings(path=tmp_path / "out.mcap", topics=("mask",))
    (sink,) = open_sinks([settings], "2. Mast/Ost")
    sink.write(next(results(1)))
    sink.close()
    assert set(messages_of(tmp_path / "out.mcap")) == {"/rig_2__Mast_Ost/mask"}


def test_a_stamp_beyond_ros_is_said(tmp_path: Path, results: Results) -> None:
    (sink,) = open_sinks([parse_sink(f"{tmp_path}/out.mcap")], "front")
    with pytest.raises(SinkError, match="is none that ROS can hold"):
        sink.write(next(results(1, start_ns=2**31 * 10**9)))
    sink.close()
