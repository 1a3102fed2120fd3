"""Folders, bags, thermal recordings, and what is no source."""

import os
import struct
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin

from segmif.imaging.codecs import encode_jpeg, encode_png
from segmif.sources.frame import Source, SourceError, SourceFrame
from segmif.sources.open_source import open_source
from segmif.sources.options import SourceOptions
from segmif.sources.pacing import PlaybackClock, paced
from tests.calibration.commands.test_unpack import (
    COLOUR,
    COUNTS,
    STAMP_NS,
    compressed,
    image,
    record,
    rosbag_1,
)

DATA = os.environ.get("SEGMIF_DATA")
real = pytest.mark.skipif(not DATA, reason="SEGMIF_DATA is not set")
RANDOM = np.random.default_rng(0)
BEGAN = 1_790_000_000  # [s]


def frames(spec: object, part: str, **options: Any) -> list[SourceFrame]:
    return list(open_source(str(spec), part, SourceOptions(**options)).frames())  # type: ignore[arg-type]


def counts_png(count: int) -> bytes:
    return encode_png(np.full((4, 6), count, np.uint16))


def test_a_folder_is_read_by_number(tmp_path: Path) -> None:
    for number in (10, 9, 100):
        (tmp_path / f"frame{number}.png").write_bytes(counts_png(number))
    (tmp_path / "notes.txt").write_text("no frame")
    found = frames(tmp_path, "infrared", rate=10)
    assert [int(one.pixels[0, 0]) for one in found] == [9, 10, 100]
    assert [one.stamp_ns for one in found] == [9 * 10**8, 10**9, 10**10]
    assert [one.name for one in found] == ["frame9.png", "frame10.png", "frame100.png"]
    assert frames(tmp_path, "visible")[0].pixels.shape == (4, 6, 3)


@pytest.mark.parametrize(
    "name", [f"{STAMP_NS}", f"left_{STAMP_NS // 1000}", f"{STAMP_NS / 1e9:.3f}"]
)
def test_a_time_in_a_name_is_the_stamp(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.png").write_bytes(counts_png(1))
    assert abs(frames(tmp_path, "infrared")[0].stamp_ns - STAMP_NS) < 10**6


def test_numbers_with_leading_zeros_are_no_times(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"{number:010d}.png").write_bytes(counts_png(1))
    assert [one.stamp_ns for one in frames(tmp_path, "infrared")] == [0, 40_000_000]


def test_a_folder_that_fills_gives_whole_files(tmp_path: Path) -> None:
    jpeg = encode_jpeg(RANDOM.integers(0, 256, (96, 128), np.uint8))
    png = encode_png(RANDOM.integers(0, 65_536, (96, 128), np.uint16))

    def fill() -> None:
        for number, (suffix, data) in enumerate([("png", png), ("jpg", jpeg)] * 2):
            with (tmp_path / f"{number}.{suffix}").open("wb", buffering=0) as file:
                for at in range(0, len(data), len(data) // 3 + 1):
                    file.write(data[at : at + len(data) // 3 + 1])
                    time.sleep(0.05)

    writer = threading.Thread(target=fill)
    writer.start()
    source = open_source(str(tmp_path), "infrared", SourceOptions(patience_s=1.5))
    found = list(source.frames())
    writer.join()
    assert [one.name for one in found] == ["0.png", "1.jpg", "2.png", "3.jpg"]
    assert source.damaged == source.dropped == 0


def filling(folder: Path, stamps_s: list[int]) -> list[int]:
    """What a folder gives of times [s] that come one by one as names."""
    source, found = filled(folder, [str(BEGAN + stamp_s) for stamp_s in stamps_s])
    assert source.dropped == 0
    return [int(name) - BEGAN for name in found]


def filled(
    folder: Path, names: list[str], patience_s: float = 2, every_s: float = 0.5
) -> tuple[Source, list[str]]:
    """
    A folder in which files of these names come one by one, and the names in the order it gives.

    Their files change a second apart, and are there for several looks before the next comes.
    """
    source = open_source(str(folder), "infrared", SourceOptions(patience_s=patience_s))

    def fill() -> None:
        for number, name in enumerate(names):
            new = folder / "new"
            new.write_bytes(counts_png(1))
            os.utime(new, (BEGAN + number, BEGAN + number))
            time.sleep(every_s)
            new.replace(folder / f"{name}.png")

    writer = threading.Thread(target=fill)
    writer.start()
    found = [Path(frame.name).stem for frame in source.frames()]
    writer.join()
    return source, found


@pytest.mark.parametrize("far", [90_000, 7_000_000_000, 8_000_000_000])
def test_one_false_name_in_a_folder_that_fills_loses_no_other(tmp_path: Path, far: int) -> None:
    assert filling(tmp_path, [0, 1, far, 2, 3]) == [0, 1, 2, 3, far]


@pytest.mark.parametrize("far", [90_000, 7_000_000_000, 8_000_000_000])
def test_one_false_name_that_comes_first_loses_no_other(tmp_path: Path, far: int) -> None:
    assert filling(tmp_path, [far, 0, 1, 2]) == [0, 1, 2, far]


@pytest.mark.parametrize("far", ["99999999", "last", "9999999999"])
def test_one_number_far_beyond_the_others_that_comes_first_loses_none(
    tmp_path: Path, far: str
) -> None:
    source, found = filled(tmp_path, [far, "1", "2", "3"])
    assert (found, source.dropped) == (["1", "2", "3", far], 0)


@pytest.mark.parametrize("at", [0, 2], ids=["first", "among others"])
@pytest.mark.parametrize(
    ("far", "others"),
    [
        (["4000000000", "5000000000"], [str(BEGAN + at) for at in range(4)]),
        (["5000000", "99999999"], ["1", "2", "3", "4"]),
        (["99999999", "last"], ["1", "2", "3", "4"]),
        (["first", "last"], ["1", "2", "3", "4"]),
    ],
    ids=["times", "numbers", "a number and a word", "words"],
)
def test_two_names_far_from_each_other_lose_no_frame(
    tmp_path: Path, far: list[str], others: list[str], at: int
) -> None:
    """Neither bears the other out."""
    source, found = filled(tmp_path, [*others[:at], *far, *others[at:]])
    assert (found, source.dropped) == ([*others, *far], 0)


def test_names_that_are_always_far_from_each_other_do_not_wait_for_the_end(tmp_path: Path) -> None:
    """As those that count microseconds."""
    names = [f"{1_000_000 + 33_333 * at}.png" for at in range(6)]
    for at, name in enumerate(names):
        (tmp_path / name).write_bytes(counts_png(1))
        os.utime(tmp_path / name, (BEGAN + at, BEGAN + at))
    given = open_source(str(tmp_path), "infrared", SourceOptions(patience_s=60)).frames()
    began = time.monotonic()
    assert [next(given).name for _ in names] == names
    assert time.monotonic() - began < 30


def test_a_count_that_begins_anywhere_loses_no_frame(tmp_path: Path) -> None:
    """A first name that waits is a file that came: the folder ends as long after it."""
    source, found = filled(tmp_path, ["4711", "4712"], patience_s=3, every_s=1.8)
    assert (found, source.dropped) == (["4711", "4712"], 0)


def test_frames_that_come_late_are_dropped_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, found = filled(tmp_path, ["500", "501", "1", "2"])
    assert (found, source.dropped) == (["500", "501"], 2)
    assert caplog.text.count("came late") == 1 and "1.png came late" in caplog.text


def test_names_whose_clock_is_set_ahead_lose_no_frame(tmp_path: Path) -> None:
    assert filling(tmp_path, [0, 1, 9000, 9001]) == [0, 1, 9000, 9001]


def test_a_pause_of_a_folder_that_fills_is_no_leap(tmp_path: Path) -> None:
    """Frames whose files come as far apart as their names say wait for no other."""
    for second in (0, 60):
        path = tmp_path / f"{BEGAN + second}.png"
        path.write_bytes(counts_png(1))
        os.utime(path, (BEGAN + second, BEGAN + second))
    source = open_source(str(tmp_path), "infrared", SourceOptions(patience_s=60))
    given = source.frames()
    began = time.monotonic()
    assert [next(given).name, next(given).name] == [f"{BEGAN}.png", f"{BEGAN + 60}.png"]
    assert time.monotonic() - began < 30
    source.close()


def test_damaged_files_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "1.png").write_bytes(counts_png(1))
    (tmp_path / "2.png").write_bytes(counts_png(2)[:-20])
    (tmp_path / "3.png").write_bytes(counts_png(3))
    source = open_source(str(tmp_path), "infrared")
    assert [int(one.pixels[0, 0]) for one in source.frames()] == [1, 3]
    assert source.damaged == 1
    assert "2.png" in caplog.text


def test_a_folder_without_frames_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no frame that can be decoded"):
        frames(tmp_path, "visible")


MESSAGES = {
    "/rgb": image(COLOUR[..., ::-1], "bgr8", STAMP_NS, padding=2),
    "/thermal": image(COUNTS.astype(">u2"), "mono16", 0),
    "/rgb/compressed": compressed(encode_png(COLOUR), STAMP_NS + 1),
    "/yuv": image(np.full((2, 4, 2), 128, np.uint8), "yuv422", STAMP_NS),
}


@pytest.mark.parametrize("storage", list(StoragePlugin), ids=lambda one: one.name)
def test_topics_of_a_rosbag2(tmp_path: Path, storage: StoragePlugin) -> None:
    record(tmp_path / "bag", storage, MESSAGES)
    thermal = frames(f"{tmp_path}/bag:/thermal", "infrared")
    np.testing.assert_array_equal(thermal[0].pixels, COUNTS)
    assert thermal[0].stamp_ns == STAMP_NS + 5  # of the recorder
    for topic, stamp_ns in (("/rgb", STAMP_NS), ("/rgb/compressed", STAMP_NS + 1)):
        found = frames(tmp_path / "bag", "visible", topic=topic)
        np.testing.assert_array_equal(found[0].pixels, COLOUR)
        assert found[0].stamp_ns == stamp_ns
    grey = frames(f"{tmp_path}/bag:/yuv", "infrared")[0].pixels
    assert grey.shape == (2, 4)
    assert np.ptp(grey) == 0


def test_a_single_topic_needs_no_name(tmp_path: Path) -> None:
    one = {"/thermal": image(COUNTS, "16UC1", STAMP_NS)}
    rosbag_1(tmp_path / "one.bag", one)
    record(tmp_path / "bag", StoragePlugin.MCAP, one)
    for path in (tmp_path / "one.bag", tmp_path / "bag" / "bag.mcap"):
        np.testing.assert_array_equal(frames(path, "infrared")[0].pixels, COUNTS)
    rosbag_1(tmp_path / "more.bag", one | {"/rgb": image(COLOUR, "rgb8", STAMP_NS)})
    with pytest.raises(SourceError, match=r"name the topic, .*with images: /rgb, /thermal"):
        frames(tmp_path / "more.bag", "infrared")
    with pytest.raises(SourceError, match="no topic /none; with images: /rgb, /thermal"):
        frames(f"{tmp_path}/more.bag:/none", "infrared")


@pytest.mark.parametrize("topic", ["", ":/thermal"])
def test_a_recording_whose_recorder_was_killed_gives_what_there_is(
    tmp_path: Path, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    record(tmp_path / "bag", StoragePlugin.MCAP, {"/thermal": image(COUNTS, "16UC1", STAMP_NS)})
    path = tmp_path / "bag" / "bag.mcap"
    path.write_bytes(path.read_bytes()[:-100])
    found = frames(f"{path}{topic}", "infrared")
    np.testing.assert_array_equal(found[0].pixels, COUNTS)
    assert found[0].stamp_ns == STAMP_NS
    assert "the recording has no end" in caplog.text
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(SourceError, match=r"images: none|no frame"):
        frames(f"{path}{topic}", "infrared")


def test_a_recording_that_is_cut_off_says_so(tmp_path: Path) -> None:
    rosbag_1(tmp_path / "cut.bag", {"/thermal": image(COUNTS, "16UC1", STAMP_NS)})
    data = (tmp_path / "cut.bag").read_bytes()
    for size in (10, len(data) // 2):
        (tmp_path / "cut.bag").write_bytes(data[:size])
        with pytest.raises(SourceError, match=r"cut\.bag"):
            frames(tmp_path / "cut.bag", "infrared")


def fff(counts: np.ndarray, seconds: int) -> bytes:
    """An FFF block as the SEQ of FLIR has it: a record of facts, a record of counts."""
    facts = bytes(900) + struct.pack("<2I", seconds, 250) + bytes(100)
    height, width = counts.shape
    raw = struct.pack("<3H", 2, width, height).ljust(32, b"\0") + counts.astype("<u2").tobytes()
    index, at = b"", 64 + 2 * 32
    for kind, content in ((32, facts), (1, raw)):
        index += struct.pack("<2H5I", kind, 1, 100, 1, at, len(content), 0).ljust(32, b"\0")
        at += len(content)
    head = b"FFF\0" + b"camera".ljust(16, b"\0") + struct.pack("<3I", 100, 64, 2)
    return head.ljust(64, b"\0") + index + facts + raw


def test_frames_of_a_seq_file(tmp_path: Path) -> None:
    counts = [RANDOM.integers(0, 65_536, (12, 16), np.uint16) for _ in range(3)]
    path = tmp_path / "x.seq"
    path.write_bytes(b"".join(fff(one, 1_700_000_000 + at) for at, one in enumerate(counts)))
    found = frames(path, "infrared")
    for at, (one, written) in enumerate(zip(found, counts, strict=True)):
        np.testing.assert_array_equal(one.pixels, written)
        assert one.stamp_ns == (1_700_000_000 + at) * 10**9 + 250 * 10**6
    path.write_bytes(path.read_bytes()[:-9])
    source = open_source(str(path), "infrared")
    assert len(list(source.frames())) == 2
    assert source.damaged == 1
    with pytest.raises(SourceError, match="infrared alone"):
        open_source(str(path), "visible")


def test_damage_in_a_seq_file_is_an_error_of_ours(tmp_path: Path) -> None:
    good = fff(np.zeros((12, 16), np.uint16), 1)
    for seed in range(300):
        data, random = bytearray(good), np.random.default_rng(seed)
        for at in random.integers(0, 200, 6):
            data[at] = random.integers(0, 256)
        (tmp_path / "x.seq").write_bytes(data)
        try:
            frames(tmp_path / "x.seq", "infrared")
        except SourceError as error:
            assert "x.seq" in str(error)


def test_counts_and_picture_of_a_radiometric_jpeg(tmp_path: Path) -> None:
    counts = RANDOM.integers(0, 65_536, (12, 16), np.uint16)
    block = fff(counts, 1_700_000_000)
    piece = b"FLIR\0\1\0\0" + block
    jpeg = encode_jpeg(COLOUR)
    data = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(piece) + 2) + piece + jpeg[2:]
    (tmp_path / "x.jpg").write_bytes(data)
    for spec in (tmp_path, tmp_path / "x.jpg"):
        found = frames(spec, "infrared")[0]
        np.testing.assert_array_equal(found.pixels, counts)
        assert found.stamp_ns == 1_700_000_000 * 10**9 + 250 * 10**6
    with pytest.raises(SourceError, match="carries no visible picture"):
        frames(tmp_path / "x.jpg", "visible")


def write_cptv(path: Path, times: list[tuple[int, int]]) -> list[np.ndarray]:
    """Frames with their (time since start, time of the last correction) in milliseconds."""
    cptv = pytest.importorskip("cptv")
    written = []
    with path.open("wb") as file:
        writer = cptv.CPTVWriter(file)
        writer.timestamp = datetime.fromtimestamp(1_700_000_000, timezone.utc)
        writer.write_header()
        for on_ms, corrected_ms in times:
            pixels = RANDOM.integers(2000, 4000, (120, 160), np.uint16)
            moments = [timedelta(milliseconds=one) for one in (on_ms, corrected_ms)]
            writer.write_frame(cptv.Frame(pixels, *moments, 20.0, 20.0))
            written.append(pixels)
        writer.close()
    return written


def test_frames_of_a_cptv_file(tmp_path: Path) -> None:
    path = tmp_path / "x.cptv"
    written = write_cptv(path, [(60_000, 30_000), (60_111, 60_000), (62_000, 60_000)])
    found = frames(path, "infrared")
    for one, counts in zip(found, written, strict=True):
        np.testing.assert_array_equal(one.pixels, counts)
    begin_ns = 1_700_000_000 * 10**9
    assert [one.stamp_ns - begin_ns for one in found] == [0, 111_000_000, 2_000_000_000]
    assert [one.shutter for one in found] == [False, True, False]
    path.write_bytes(path.read_bytes()[:-20_000])
    source = open_source(str(path), "infrared")
    assert len(list(source.frames())) == 2
    assert source.damaged == 1
    path.write_bytes(b"no recording")
    with pytest.raises(SourceError, match="is no CPTV recording"):
        frames(path, "infrared")


@real
def test_real_thermal_recordings() -> None:
    flyr = pytest.importorskip("flyr")
    folder = Path(DATA or "") / "raw_thermal"
    seq = frames(folder / "SampleSEQ.seq", "infrared")
    assert [one.pixels.shape for one in seq] == [(480, 640)] * 2
    assert seq[1].stamp_ns - seq[0].stamp_ns == 3_967_000_000
    recording = frames(folder / "v2.cptv", "infrared")
    assert len(recording) == 100
    assert recording[1].stamp_ns - recording[0].stamp_ns == 111_000_000
    for path in folder.glob("*.jpg"):
        counts = frames(path, "infrared")[0].pixels
        theirs = [each for each in vars(flyr.unpack(str(path))).values() if _is_counts(each)]
        np.testing.assert_array_equal(counts, theirs[0])
        assert frames(path, "visible")[0].pixels.ndim == 3


def _is_counts(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.uint16


def test_a_synthetic_scene_is_the_same_for_both_cameras() -> None:
    spec = "synthetic:160x120@5,frames=6"
    visible, infrared = frames(spec, "visible"), frames(spec, "infrared")
    assert [one.stamp_ns for one in visible] == [at * 2 * 10**8 for at in range(6)]
    assert [one.stamp_ns for one in visible] == [one.stamp_ns for one in infrared]
    for colour, warm in zip(visible, infrared, strict=True):
        assert colour.pixels.shape == (120, 160, 3)
        assert warm.pixels.dtype == np.uint16
        person = (colour.pixels == (60, 70, 120)).all(axis=-1)
        np.testing.assert_array_equal(person, warm.pixels == 31_000)
    np.testing.assert_array_equal(frames(spec, "infrared")[3].pixels, infrared[3].pixels)
    with pytest.raises(SourceError, match="expected synthetic:WxH@FPS"):
        open_source("synthetic:big", "visible")


def test_recordings_of_two_cameras_are_played_in_step() -> None:
    now = 100.0
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        now += seconds

    clock = PlaybackClock(2.0, lambda: now, sleep)
    spec = "synthetic:16x16@10,frames=3"
    times = [now for _ in paced(open_source(spec, "visible").frames(), clock)]
    assert times == pytest.approx([100.0, 100.05, 100.1])
    now = 100.12  # the other camera comes late: it does not wait
    assert [now for _ in paced(open_source(spec, "infrared").frames(), clock)] == [100.12] * 3
    clock.stop()
    assert list(paced(open_source(spec, "visible").frames(), clock)) == []


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("", "is empty; expected a video file"),
        ("nothing.mp4", "there is no such file or folder; expected a video file"),
        ("ftp://host/x", "no source has this scheme"),
        ("${NO_SUCH_SECRET}", "the environment has no NO_SUCH_SECRET"),
        ("rtsp://me:${file:/no/such}@host/x", "cannot be read: No such file"),
        ("/dev/video99", "cannot be opened"),
        ("gst:videotestsrc", "GStreamer's bindings are missing"),
    ],
)
def test_what_is_no_source_is_said(spec: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        frames(spec, "visible")


def test_a_secret_may_be_the_whole_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "1.png").write_bytes(counts_png(1))
    (tmp_path / "secret").write_text(f"{tmp_path}\n")
    monkeypatch.setenv("CAMERA", str(tmp_path))
    for spec in ("${CAMERA}", f"${{file:{tmp_path / 'secret'}}}"):
        source = open_source(spec, "infrared")
        assert source.address == spec
        assert len(list(source.frames())) == 1


def test_a_password_of_a_pipeline_is_not_shown() -> None:
    source = open_source("gst:rtspsrc location=rtsp://a:b@c/ user-pw=d latency=0", "visible")
    assert source.address == "gst:rtspsrc location=rtsp://a:***@c/ user-pw=*** latency=0"
