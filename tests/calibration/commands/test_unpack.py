"""Recordings to folders of stamped frames."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags import rosbag1
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from calibration.commands import pair, unpack
from segmif import cli
from segmif.imaging import codecs

STORE = get_typestore(Stores.ROS2_HUMBLE)
STAMP_NS = 1_790_000_000_123_456_789
COLOUR = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
COUNTS = np.arange(20_000, 20_012, dtype=np.uint16).reshape(3, 4)


def header(stamp_ns: int) -> Any:
    stamp = STORE.types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 10**9))
    return STORE.types["std_msgs/msg/Header"](stamp, "camera")


def image(frame: np.ndarray, encoding: str, stamp_ns: int, padding: int = 0) -> Any:
    rows = np.ascontiguousarray(frame).view(np.uint8).reshape(frame.shape[0], -1)
    data = np.pad(rows, ((0, 0), (0, padding)))
    size = frame.shape[:2]
    kind = STORE.types["sensor_msgs/msg/Image"]
    big = int(frame.dtype.byteorder == ">")
    return kind(header(stamp_ns), *size, encoding, big, data.shape[1], data.ravel())


def compressed(content: bytes, stamp_ns: int) -> Any:
    kind = STORE.types["sensor_msgs/msg/CompressedImage"]
    return kind(header(stamp_ns), "jpeg", np.frombuffer(content, np.uint8))


def record(folder: Path, storage: StoragePlugin, messages: dict[str, Any]) -> None:
    with Writer(folder, version=9, storage_plugin=storage) as writer:
        for topic, message in messages.items():
            connection = writer.add_connection(topic, message.__msgtype__, typestore=STORE)
            data = STORE.serialize_cdr(message, message.__msgtype__)
            writer.write(connection, STAMP_NS + 5, data)


def run(
    monkeypatch: pytest.MonkeyPatch,
    bag: Path,
    visible: str,
    infrared: str,
    out: Path | None = None,
) -> int:
    words = [
        "--bag",
        bag,
        "--visible",
        visible,
        "--infrared",
        infrared,
        "--out",
        out or bag.parent / "out",
    ]
    monkeypatch.setattr(sys, "argv", ["calibration", "unpack", *map(str, words)])
    return cli.run("calibration", "", {"unpack": unpack})


@pytest.mark.parametrize("storage", list(StoragePlugin), ids=lambda one: one.name)
def test_frames_keep_their_pixels_and_stamps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: StoragePlugin
) -> None:
    messages = {
        "/rgb": image(COLOUR[..., ::-1], "bgr8", STAMP_NS, padding=2),
        "/thermal": image(COUNTS.astype(">u2"), "mono16", 0),  # a driver without a clock
        "/rgb/jpeg": compressed(codecs.encode_jpeg(COLOUR, 90), STAMP_NS + 1),
    }
    record(tmp_path / "bag", storage, messages)
    assert run(monkeypatch, tmp_path / "bag", "/rgb", "/thermal") == 0
    visible = codecs.read_visible(tmp_path / "out" / "visible" / f"{STAMP_NS}.png")
    np.testing.assert_array_equal(visible, COLOUR)
    infrared = (tmp_path / "out" / "infrared" / f"{STAMP_NS + 5}.png").read_bytes()
    np.testing.assert_array_equal(codecs.decode_infrared(infrared), COUNTS)
    assert run(monkeypatch, tmp_path / "bag", "/rgb/jpeg", "/thermal", tmp_path / "other") == 0
    kept = (tmp_path / "other" / "visible" / f"{STAMP_NS + 1}.jpg").read_bytes()
    assert kept == codecs.encode_jpeg(COLOUR, 90)


def rosbag_1(path: Path, messages: dict[str, Any]) -> None:
    store = get_typestore(Stores.ROS1_NOETIC)
    with rosbag1.Writer(path) as writer:
        for topic, message in messages.items():
            stamp, kind = message.header.stamp, message.__msgtype__
            old = store.types["std_msgs/msg/Header"](0, stamp, "camera")
            sent = store.types[kind](old, *list(vars(message).values())[1:])
            connection = writer.add_connection(topic, kind, typestore=store)
            writer.write(connection, STAMP_NS, store.serialize_ros1(sent, kind))


def test_from_a_single_file_to_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    later_ns = STAMP_NS + 3_000_000
    messages = {
        "/rgb": image(COLOUR, "rgb8", STAMP_NS),
        "/thermal": image(COUNTS, "mono16", later_ns),
    }
    rosbag_1(tmp_path / "old.bag", messages)
    record(tmp_path / "folder", StoragePlugin.MCAP, messages)
    frames = tmp_path / "out"
    folders = ["--visible", frames / "visible", "--infrared", frames / "infrared"]
    for recording in (tmp_path / "old.bag", tmp_path / "folder" / "folder.mcap"):
        shutil.rmtree(frames, ignore_errors=True)
        assert run(monkeypatch, recording, "/rgb", "/thermal", frames) == 0
        command = ["calibration", "pair", *folders, "--tolerance-ms", 5, "--out", tmp_path / "csv"]
        monkeypatch.setattr(sys, "argv", list(map(str, command)))
        assert cli.run("calibration", "", {"pair": pair}) == 0
        _, row = (tmp_path / "csv").read_text().splitlines()
        assert row == f"{STAMP_NS}.png,{later_ns}.png,3.000"
    assert "1 pairs within 5.0 ms" in capsys.readouterr().out


def test_what_cannot_be_unpacked_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    messages = {
        "/bayer": image(COLOUR[..., 0], "bayer_rggb8", STAMP_NS),
        "/avif": compressed(b"ftypavif", STAMP_NS),
    }
    record(tmp_path / "bag", StoragePlugin.MCAP, messages)
    for topic, said in (
        ("/none", "no topic /none; with images: /avif, /bayer"),
        ("/bayer", "encoded as bayer_rggb8, expected one of rgb8"),
        ("/avif", "neither JPEG nor PNG"),
    ):
        assert run(monkeypatch, tmp_path / "bag", topic, topic) == 1
        assert said in capsys.readouterr().err
    assert run(monkeypatch, tmp_path / "nothing", "/a", "/b") == 1
    assert "there is no such recording" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert run(monkeypatch, tmp_path / "empty", "/a", "/b") == 1
    assert "empty' does not exist" in capsys.readouterr().err


def test_frames_of_one_stamp_do_not_replace_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A driver whose clock stands gives all its frames one stamp."""
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, stamps in (("/rgb", (STAMP_NS,) * 3), ("/odd", (-1,))):
            connection = writer.add_connection(topic, "sensor_msgs/msg/Image", typestore=STORE)
            for number, stamp_ns in enumerate(stamps):
                message = image(COLOUR + number, "rgb8", stamp_ns)
                data = STORE.serialize_cdr(message, message.__msgtype__)
                writer.write(connection, STAMP_NS + number, data)
    assert run(monkeypatch, tmp_path / "bag", "/rgb", "/rgb") == 0
    said = capsys.readouterr()
    assert said.out.startswith("1 visible and 1 infrared frames")
    assert "2 frames of /rgb have the stamp of one before: left out" in said.err
    (kept,) = (tmp_path / "out" / "visible").iterdir()
    np.testing.assert_array_equal(codecs.read_visible(kept), COLOUR)
    assert run(monkeypatch, tmp_path / "bag", "/rgb", "/odd", tmp_path / "other") == 1
    assert "stamped -1 ns, before 1970" in capsys.readouterr().err


def test_frames_of_two_recordings_do_not_come_into_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, name in enumerate(("first", "second")):
        messages = {"/rgb": image(COLOUR, "rgb8", STAMP_NS + number)}
        record(tmp_path / name, StoragePlugin.MCAP, messages)
    assert run(monkeypatch, tmp_path / "first", "/rgb", "/rgb") == 0
    assert run(monkeypatch, tmp_path / "second", "/rgb", "/rgb") == 1
    assert "visible is not empty: name a new folder" in capsys.readouterr().err
    assert [path.stem for path in (tmp_path / "out/visible").iterdir()] == [str(STAMP_NS)]


def test_what_is_kept_of_a_damaged_recording_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second topic is of no image: what the first one held is kept."""
    messages = {"/rgb": image(COLOUR, "rgb8", STAMP_NS), "/avif": compressed(b"avif", STAMP_NS)}
    record(tmp_path / "bag", StoragePlugin.MCAP, messages)
    synced: list[str] = []
    out = tmp_path / "out"
    monkeypatch.setattr(os, "sync", lambda: synced.extend(p.name for p in out.rglob("*.png")))
    assert run(monkeypatch, tmp_path / "bag", "/rgb", "/avif") == 1
    assert synced == [f"{STAMP_NS}.png"], capsys.readouterr().err


def test_a_damaged_recording_is_said_to_be_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    messages = {"/rgb": image(COLOUR, "rgb8", STAMP_NS)}
    for back, count, words in (  # before the frame's name: the message's header, its record's
        (7, 7, ""),
        (40, 40, ""),
        (26, 1, "is damaged (AssertionError: )"),
        (41, 1, "is damaged (KeyError: 255): what came before is kept"),
    ):
        rosbag_1(tmp_path / f"{back}.bag", messages)
        whole = (tmp_path / f"{back}.bag").read_bytes()
        at = whole.index(b"camera") - back
        (tmp_path / f"{back}.bag").write_bytes(whole[:at] + b"\xff" * count + whole[at + count :])
        assert run(monkeypatch, tmp_path / f"{back}.bag", "/rgb", "/rgb") == 1
        said = capsys.readouterr().err
        assert f"{back}.bag" in said and words in said
        assert "Traceback" not in said
