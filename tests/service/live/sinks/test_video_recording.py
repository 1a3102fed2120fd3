"""Recordings as video: what is in them, when a new one begins, what a kill leaves."""

import errno
import fcntl
import json
import os
import resource
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from segmif.sources.open_source import open_source
from segmif.sources.pixel_formats import visible_pixels
from service.live.sinks import rotation
from service.live.sinks.open_sinks import open_sinks, parse_sink
from service.live.sinks.picture import PictureName, picture
from service.live.sinks.settings import VideoSettings
from service.live.sinks.sink import Sink, SinkError
from tests.service.live.sinks.conftest import KilledAfter, Results
from tests.service.live.sinks.made_results import PERIOD_NS, START_NS, counts

NAME = "front-20260101T000000.123Z"


def frames_of(path: Path, format: str = "rgb24") -> tuple[list[Any], list[int], dict[str, Any]]:
    """Pictures, stamps [ns] and facts of a recording."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.time_base
        metadata = {name.lower(): value for name, value in container.metadata.items()}
        facts = json.loads(metadata["comment"])
        decoded = list(container.decode(stream))
        codec = stream.codec_context.name
        pictures: list[Any] = [
            visible_pixels(frame, codec) if format == "rgb24" else frame.to_ndarray(format=format)
            for frame in decoded
        ]
        ticks = [frame.pts or 0 for frame in decoded]
        stamps = [facts["first_stamp_ns"] + round(t * stream.time_base * 10**9) for t in ticks]
    return pictures, stamps, facts


def record(settings: VideoSettings, results: Any) -> None:
    (sink,) = open_sinks([settings], "front")
    for result in results:
        sink.write(result)
    sink.close()


@pytest.mark.parametrize(("suffix", "off_ns"), [("mp4", 5_556), ("mkv", 500_000)])
@pytest.mark.parametrize("codec", ["h264", "mpeg4"])
def test_pictures_and_stamps_come_back(
    tmp_path: Path, results: Results, suffix: str, off_ns: int, codec: str
) -> None:
    written = list(results(40))
    path = tmp_path / f"out.{suffix}"
    record(VideoSettings(path=path, picture="fused", codec=codec), written)
    pictures, stamps, facts = frames_of(path)
    assert len(pictures) == 40
    assert max(abs(a - b.stamp_ns) for a, b in zip(stamps, written, strict=True)) <= off_ns
    error = pictures[20].astype(int) - picture(written[20], "fused")
    assert np.abs(error).mean() < 3  # the colours are those of RGB, not of another matrix
    assert facts["rig"] == "front"
    assert facts["padding"] == [0, 0]


@pytest.mark.parametrize("lost_first", [False, True])
def test_a_lost_infrared_camera_leaves_gaps_in_the_counts_alone(
    tmp_path: Path, results: Results, lost_first: bool
) -> None:
    written = list(results(20))
    lost = range(5) if lost_first else range(5, 10)
    for number in lost:
        written[number] = replace(written[number], infrared=None)
    record(VideoSettings(path=tmp_path / "out.mkv", picture="fused", counts=True), written)
    names = ["out.mkv", "out-2.mkv"] if lost_first else ["out.mkv"]
    stamps = [stamp for name in names for stamp in frames_of(tmp_path / name)[1]]
    assert max(abs(a - b.stamp_ns) for a, b in zip(stamps, written, strict=True)) <= 500_000
    (heat,) = tmp_path.glob("*.counts.mkv")
    known = [one.infrared for one in written if one.infrared]
    found, heat_stamps, _ = frames_of(heat, "gray16le")
    for seen, stamp_ns, frame in zip(found, heat_stamps, known, strict=True):
        np.testing.assert_array_equal(seen, frame.pixels)
        assert abs(stamp_ns - frame.stamp_ns) <= 500_000


@pytest.mark.parametrize("codec", ["h264", "mpeg4", "ffv1", "libx265", "libvpx-vp9"])
def test_the_rate_of_a_file_is_that_of_its_pictures(
    tmp_path: Path, results: Results, codec: str
) -> None:
    record(VideoSettings(path=tmp_path / "out.mkv", codec=codec), results(20))
    with av.open(str(tmp_path / "out.mkv")) as container:
        rate = container.streams.video[0].average_rate
    assert rate is not None and float(rate) == pytest.approx(1e9 / PERIOD_NS, rel=0.02)


@pytest.mark.parametrize("name", ["visible", "infrared", "mask", "overlay", "mosaic"])
def test_every_picture_is_recorded_without_loss(
    tmp_path: Path, results: Results, name: PictureName
) -> None:
    (result,) = results(1, shape=(65, 97))
    path = tmp_path / "out.mkv"
    record(VideoSettings(path=path, picture=name, codec="ffv1"), [result])
    ((shown,), _, facts) = frames_of(path)
    np.testing.assert_array_equal(shown, picture(result, name))
    assert facts["shows"] == name


def test_odd_sides_are_padded_and_said(tmp_path: Path, results: Results) -> None:
    record(VideoSettings(path=tmp_path / "out.mp4"), results(2, shape=(65, 97)))
    pictures, _, facts = frames_of(tmp_path / "out.mp4")
    assert pictures[0].shape == (66, 98, 3)
    assert facts["padding"] == [1, 1]


@pytest.mark.parametrize("deep", [True, False])
def test_counts_lie_beside_it_bit_for_bit(tmp_path: Path, results: Results, deep: bool) -> None:
    record(VideoSettings(path=tmp_path, counts=True), results(3, deep=deep))
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == [f"{NAME}.counts.mkv", f"{NAME}.overlay.mkv"]
    found, stamps, facts = frames_of(tmp_path / files[0], "gray16le" if deep else "gray")
    for number, frame in enumerate(found):
        sent = counts(number, (64, 96))
        np.testing.assert_array_equal(frame, sent if deep else (sent >> 6).astype(np.uint8))
    assert abs(stamps[2] - (START_NS + 2 * PERIOD_NS + 4_000_000)) <= 500_000
    assert facts["camera"] == {"bits": 14, "kelvin_per_count": 0.04}


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_recording_is_a_source_of_the_same_pairs(
    tmp_path: Path, results: Results, suffix: str
) -> None:
    written = list(results(20, shape=(65, 97)))
    path = tmp_path / f"out{suffix}"
    record(VideoSettings(path=path, picture="visible", counts=True, quality=1), written)
    visible = list(open_source(str(path), "visible").frames())
    infrared = list(open_source(str(tmp_path / "out.counts.mkv"), "infrared").frames())
    for seen, heat, result in zip(visible, infrared, written, strict=True):
        assert result.visible and result.infrared
        assert abs(seen.stamp_ns - result.visible.stamp_ns) <= 500_000
        assert abs(heat.stamp_ns - result.infrared.stamp_ns) <= 500_000
        assert seen.pixels.shape == (65, 97, 3)
        assert np.abs(seen.pixels.astype(int) - result.visible.pixels).mean() < 3
        np.testing.assert_array_equal(heat.pixels, result.infrared.pixels)
        assert heat.profile == result.infrared.profile


def test_a_new_file_begins_with_another_size_after_some_time_and_when_stamps_go_back(
    tmp_path: Path, results: Results
) -> None:
    written = [
        *results(4),
        *results(2, first=4, shape=(64, 98)),
        *results(40, first=6, shape=(64, 98)),  # the first minute of it ends after 30
        *results(2, first=40, shape=(64, 98)),
    ]
    record(VideoSettings(path=tmp_path / "out.mkv", max_minutes=1 / 60, quality=51), written)
    files = ["out.mkv", "out-2.mkv", "out-3.mkv", "out-4.mkv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files)
    assert [len(frames_of(tmp_path / name)[0]) for name in files] == [4, 30, 12, 2]


@pytest.mark.parametrize("name", ["mosaic", "mask"])
def test_a_rig_short_of_time_stays_in_its_file(
    tmp_path: Path, results: Results, name: PictureName
) -> None:
    written = [*results(2), *results(2, first=2, half=True)]
    record(VideoSettings(path=tmp_path, picture=name, codec="ffv1"), written)
    pictures, _, _ = frames_of(tmp_path / f"{NAME}.{name}.mkv")
    assert len(pictures) == 4
    assert np.abs(pictures[3].astype(int) - pictures[1]).mean() < 30  # 8 pixels of 2 have moved


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_killed_recording_plays_to_its_last_second(
    tmp_path: Path, killed_after: KilledAfter, suffix: str
) -> None:
    path = tmp_path / f"out{suffix}"
    killed_after(VideoSettings(path=path, counts=True), 75)
    last_ns = START_NS + 74 * PERIOD_NS
    for file in (path, tmp_path / "out.counts.mkv"):
        _, stamps, _ = frames_of(file, "gray16le" if "counts" in file.name else "rgb24")
        assert last_ns - stamps[-1] <= 10**9


def test_a_file_that_is_cut_off_anywhere_plays_up_to_there(
    tmp_path: Path, results: Results
) -> None:
    record(VideoSettings(path=tmp_path / "out.mkv"), results(90))
    whole = (tmp_path / "out.mkv").read_bytes()
    found = []
    for cut in range(len(whole) // 2, len(whole), 1501):
        (tmp_path / "cut.mkv").write_bytes(whole[:cut])
        found.append(len(frames_of(tmp_path / "cut.mkv")[0]))
    assert found == sorted(found)
    assert found[0] >= 30
    assert found[-1] >= 60


def test_only_the_oldest_of_our_closed_recordings_are_deleted(
    tmp_path: Path, results: Results
) -> None:
    others = ["front.mp4", "front-2020.mp4", "notes.txt", "rear-20200101T000000.000Z.mp4.part"]
    old = [f"rear-2020010{day}T000000.000Z.mp4" for day in range(1, 6)]
    for place, name in enumerate([*others, *old]):
        (tmp_path / name).write_bytes(bytes(400_000))
        os.utime(tmp_path / name, (place, place))
    with (tmp_path / old[0]).open("rb") as in_use:
        fcntl.flock(in_use, fcntl.LOCK_EX)  # another sink writes it
        settings = VideoSettings(path=tmp_path, keep_gb=0.0013, max_mb=0.5)
        record(settings, results(1))
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*others, old[0], *old[3:], f"{NAME}.overlay.mkv"}


def test_recordings_older_than_the_days_kept_are_deleted(tmp_path: Path, results: Results) -> None:
    for name, age in (
        ("rear-20200101T000000.000Z.mask.mkv", 3),
        ("rear-20200102T000000.000Z.mkv", 1),
    ):
        (tmp_path / name).write_bytes(b"x")
        then = time.time() - age * 86_400
        os.utime(tmp_path / name, (then, then))
    record(VideoSettings(path=tmp_path, keep_days=2), results(1))
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"rear-20200102T000000.000Z.mkv", f"{NAME}.overlay.mkv"}


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """Let no file grow beyond a size, as a quota or a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try a sink again at once."""
    monkeypatch.setattr("service.live.sinks.retrying.FIRST_S", 0)


def fill(sink: Sink, results: Iterator[Any]) -> int:
    """Write until the disk is full; gives how many were taken."""
    with file_limit(60_000):
        for taken, result in enumerate(results):
            try:
                sink.write(result)
            except SinkError as error:
                assert "is full" in str(error)
                assert "make room" in str(error)
                return taken
    raise AssertionError("the disk never became full")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_full_disk_is_said_and_recording_goes_on_with_room(
    tmp_path: Path, results: Results, no_pause: None, suffix: str
) -> None:
    (sink,) = open_sinks([VideoSettings(path=tmp_path / f"out{suffix}", counts=True)], "front")
    taken = fill(sink, results(500))
    for result in results(3, first=500):
        sink.write(result)
    sink.close()
    assert sink.dropped == 1
    before, after = (frames_of(tmp_path / f"out{n}{suffix}") for n in ("", "-2"))
    assert taken - 31 <= len(before[0]) <= taken + 1  # the counts may be the first to fail
    assert len(after[0]) == 3
    counted = frames_of(tmp_path / "out.counts.mkv", "gray16le")[0]
    np.testing.assert_array_equal(counted[-1], counts(len(counted) - 1, (64, 96)))


def test_nothing_is_begun_on_a_disk_without_room(
    tmp_path: Path, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "rear-20200101T000000.000Z.mp4"
    old.write_bytes(b"x")
    (sink,) = open_sinks([VideoSettings(path=tmp_path)], "front")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=1_000_000))
    with pytest.raises(SinkError, match=r"full \(1 MB are left\): make room"):
        sink.write(next(results(1)))
    sink.write(next(results(1)))  # within the pause
    assert sink.dropped == 2
    assert list(tmp_path.iterdir()) == [old]
    sink.close()


def test_a_recording_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_bytes(b"of yesterday")
    with pytest.raises(SinkError, match=r"out\.mp4 exists, and no recording is replaced"):
        open_sinks([parse_sink(str(tmp_path / "out.mp4"))], "front")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"codec": "h265_of_tomorrow"}, "no working encoder 'h265_of_tomorrow'"),
        ({"path": "/proc/none"}, "no recording to /proc/none"),
    ],
)
def test_what_can_never_work_is_refused_at_once(
    tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(SinkError, match=words):
        open_sinks([VideoSettings.model_validate({"path": tmp_path} | settings)], "front")


def test_the_error_of_a_disk_that_breaks_stays_what_it_is(
    tmp_path: Path, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(rotation.RecordingFile, "write", broken)
    (sink,) = open_sinks([VideoSettings(path=tmp_path)], "front")
    with pytest.raises(OSError, match="Input/output error"):
        for result in results(60):
            sink.write(result)
    sink.close()
    assert not list(tmp_path.iterdir())  # a file without a picture is removed
