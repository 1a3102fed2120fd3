"""Live sources: the newest frame, its time, silence, closing, and coming back."""

import itertools
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import trustme

from segmif.imaging.codecs import encode_jpeg
from segmif.sources.frame import Source, SourceError, SourceFrame
from segmif.sources.open_source import open_source
from segmif.sources.options import SourceOptions
from segmif.sources.reconnect import SourceEvent, reconnecting
from tests.segmif.sources.senders import (
    RtspCamera,
    free_udp_port,
    grey,
    mjpeg_server,
    silent_server,
    udp_sender,
)

PASSWORD = "se:c@ret/"
QUOTED = "se%3Ac%40ret%2F"
SOON = SourceOptions(timeout_s=1)


def first(source: Source, count: int) -> list[SourceFrame]:
    with closing(source.frames()) as given:  # type: ignore[type-var]
        return list(itertools.islice(given, count))


def test_an_rtsp_frame_has_its_cameras_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA_PASSWORD", PASSWORD)
    camera = RtspCamera("me", PASSWORD)
    with camera.serving() as port:
        source = open_source(f"rtsp://me:${{CAMERA_PASSWORD}}@127.0.0.1:{port}/x", "visible")
        assert source.address == f"rtsp://me:***@127.0.0.1:{port}/x"
        assert source.live
        for frame in first(source, 8):
            assert frame.stamp_from == "source"
            level = min(camera.sent, key=lambda one: abs(one - frame.pixels.mean()))
            assert abs(frame.stamp_ns - camera.sent[level]) < 1_000  # NTP resolves a nanosecond


@pytest.mark.parametrize("clock_off_s", [None, 3600.0])
def test_a_frame_without_a_true_time_has_that_of_its_arrival(clock_off_s: float | None) -> None:
    camera = RtspCamera("me", PASSWORD, clock_off_s)
    with camera.serving() as port:
        began = time.time_ns()
        frames = first(open_source(f"rtsp://me:{QUOTED}@127.0.0.1:{port}/x", "visible"), 4)
        assert {one.stamp_from for one in frames} == {"arrival"}
        stamps = [one.stamp_ns for one in frames]
        assert began < stamps[0] < stamps[-1] < time.time_ns()
        assert stamps == sorted(stamps)


def test_a_slow_reader_gets_the_newest_frame() -> None:
    with mjpeg_server(grey(level) for level in itertools.count()) as address:
        source = open_source(address, "visible")
        given = source.frames()
        next(given)
        time.sleep(0.6)
        late, after = next(given), next(given)
        source.close()
        assert source.dropped > 5
        assert float(after.pixels.mean()) - float(late.pixels.mean()) < 4
        assert after.stamp_from == "arrival"


def test_a_certificate_is_checked_if_asked_for(tmp_path: Path) -> None:
    ours, theirs = trustme.CA(), trustme.CA()
    for name, authority in (("ours", ours), ("theirs", theirs)):
        authority.cert_pem.write_to_path(str(tmp_path / name))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.issue_cert("127.0.0.1").configure_cert(context)
    with mjpeg_server(itertools.repeat(grey(77)), tls=context) as address:
        for trusted in (None, str(tmp_path / "ours")):
            assert first(open_source(address, "visible", SourceOptions(ca_file=trusted)), 1)
        with pytest.raises(SourceError, match="cannot be opened"):
            wrong = SourceOptions(ca_file=str(tmp_path / "theirs"))
            first(open_source(address, "visible", wrong), 1)


def test_grey_pictures_of_a_stream_are_levels() -> None:
    with mjpeg_server(itertools.repeat(grey(77))) as address:
        pixels = first(open_source(address, "infrared"), 1)[0].pixels
    assert pixels.dtype == np.uint8
    assert pixels.shape == (48, 64)
    assert np.abs(pixels.astype(int) - 77).max() <= 2


def test_a_stream_over_udp() -> None:
    with udp_sender(itertools.repeat(123)) as address:
        frames = first(open_source(address, "visible", SourceOptions(timeout_s=10)), 5)
    assert abs(float(frames[-1].pixels.mean()) - 123) < 4


def test_a_stream_that_goes_silent_is_an_error() -> None:
    with mjpeg_server(iter([grey(1), grey(2)] * 5), stall=True) as address:
        given = open_source(address, "visible", SOON).frames()
        next(given)
        with pytest.raises(SourceError, match="broke off: nothing came within the timeout"):
            list(given)


def test_a_stream_that_cannot_be_decoded_any_more_is_an_error() -> None:
    good = encode_jpeg(grey(77))
    damaged = good[:2] + bytes(len(good) - 4) + good[-2:]
    pictures = itertools.chain([good] * 9, itertools.repeat(damaged))
    with mjpeg_server(pictures) as address:
        given = open_source(address, "visible", SourceOptions(timeout_s=0.5)).frames()
        next(given)
        with pytest.raises(SourceError, match=r"no frame could be decoded for 2 s"):
            list(given)


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_a_server_that_says_nothing_is_an_error(scheme: str) -> None:
    with silent_server() as port, pytest.raises(SourceError, match="cannot be opened"):
        list(open_source(f"{scheme}://127.0.0.1:{port}/x", "visible", SOON).frames())


def test_closing_ends_a_source_that_waits(tmp_path: Path) -> None:
    with silent_server() as port:
        for spec in (
            f"http://127.0.0.1:{port}/x",
            f"rtsp://127.0.0.1:{port}/x",
            f"udp://127.0.0.1:{free_udp_port()}",
            "synthetic:64x48@0.1",
            f"http://127.0.0.1:{port}/day.mp4",
            str(tmp_path),
        ):
            source = open_source(spec, "visible", SourceOptions(timeout_s=2, patience_s=60))
            ended = threading.Event()

            def read(source: Source = source, ended: threading.Event = ended) -> None:
                list(source.frames())
                ended.set()

            threading.Thread(target=read, daemon=True).start()
            assert not ended.wait(0.3)
            source.close()
            assert ended.wait(1.0), spec


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://me:{}@127.0.0.1:{}/x",
        "http://me:{}@127.0.0.1:{}/x.mjpg",
        "http://127.0.0.1:{1}/x?size=1&token={0}",
        "rtsp://me:{}@no.such.host.invalid:{}/x",
    ],
)
def test_a_password_is_in_no_error_and_in_no_log(
    address: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(0)
    with silent_server() as port:
        source = open_source(address.format("hunter2", port), "visible", SOON)
        with pytest.raises(SourceError) as raised:
            list(source.frames())
    said = f"{raised.value} {raised.value!r} {source.address} {caplog.text} {capfd.readouterr()}"
    assert "***" in said
    assert "hunter2" not in said
    assert raised.value.__cause__ is None


def test_a_wrong_password_says_so() -> None:
    with RtspCamera("me", PASSWORD).serving() as port:
        with pytest.raises(SourceError) as raised:
            list(open_source(f"rtsp://me:wrong@127.0.0.1:{port}/x", "visible").frames())
        assert "401 Unauthorized" in str(raised.value)
        assert "wrong" not in str(raised.value)


def test_a_lost_camera_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segmif.sources.reconnect.FIRST_PAUSE_S", 0.1)
    camera = RtspCamera("me", PASSWORD)
    camera.limit = 12
    events: list[SourceEvent] = []
    with camera.serving() as port:
        address = f"rtsp://me:{QUOTED}@127.0.0.1:{port}/x"
        source = reconnecting(lambda: open_source(address, "visible", SOON), events.append)
        stamps = []
        for frame in source.frames():
            stamps.append(frame.stamp_ns)
            if [one.kind for one in events].count("connected") == 3:
                source.close()
    assert stamps == sorted(set(stamps))
    assert [one.kind for one in events] == ["connected", "lost", "connected", "lost", "connected"]
    assert {one.address for one in events} == {source.address}
    assert PASSWORD not in repr(events)


class Scripted:
    """A live source that gives frames of given stamps and then fails."""

    address, live, dropped, damaged = "camera", True, 0, 0

    def __init__(self, stamps: list[int]) -> None:
        self.stamps = stamps

    def frames(self) -> Iterator[SourceFrame]:
        for stamp_ns in self.stamps:
            yield SourceFrame(np.zeros((2, 2), np.uint8), stamp_ns)
        self.dropped, self.damaged = 1, 5  # after the last frame
        raise SourceError("the cable is out")

    def close(self) -> None:
        """Nothing is open."""


def test_what_keeps_a_camera_from_coming_back_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segmif.sources.reconnect.FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr("segmif.sources.reconnect.LONGEST_PAUSE_S", 0.001)
    scripts = iter([[1], None, [2]])
    events: list[SourceEvent] = []

    def open_it() -> Source:
        script = next(scripts)
        if script is None:
            raise SourceError("the secret is gone")
        return Scripted(script)

    source = reconnecting(open_it, events.append)
    assert [one.stamp_ns for one in itertools.islice(source.frames(), 2)] == [1, 2]
    whys = [one.why for one in events if one.kind == "lost"]
    assert whys == ["the cable is out", "the secret is gone"]


def test_stamps_go_on_if_a_camera_starts_its_clock_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segmif.sources.reconnect.FIRST_PAUSE_S", 0.001)
    hour = 3600 * 10**9
    scripts = iter([[hour, hour + 40], [0, 40], [80, 120]])
    events: list[SourceEvent] = []
    source = reconnecting(lambda: Scripted(next(scripts)), events.append)
    stamps = [one.stamp_ns for one in itertools.islice(source.frames(), 6)]
    assert stamps == sorted(set(stamps))
    assert stamps[1] < stamps[2] < hour + 10**9
    assert stamps[3] - stamps[2] == 40
    assert [one.clock_restarted for one in events if one.kind == "connected"] == [
        False,
        True,
        False,
    ]
    assert [one.why for one in events if one.kind == "lost"] == ["the cable is out"] * 2


def test_a_camera_that_starts_its_clock_again_stays_in_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("segmif.sources.reconnect.FIRST_PAUSE_S", 0.001)
    hour = 3600 * 10**9
    scripts = iter([[hour], [0, 40]])
    source = reconnecting(lambda: Scripted(next(scripts)), lambda event: None)
    given = source.frames()
    before, began_ns = next(given), time.monotonic_ns()
    time.sleep(0.2)  # it is away, and the other camera's clock goes on
    after, most_ns = next(given), time.monotonic_ns() - began_ns
    assert 0.2e9 <= after.stamp_ns - before.stamp_ns <= most_ns + 0.05e9
    assert next(given).stamp_ns - after.stamp_ns == 40


def test_what_a_camera_lost_before_it_broke_off_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segmif.sources.reconnect.FIRST_PAUSE_S", 0.001)
    scripts = iter([[1, 2], [3], [4]])
    source = reconnecting(lambda: Scripted(next(scripts)), lambda event: None)
    assert len(list(itertools.islice(source.frames(), 4))) == 4
    assert (source.dropped, source.damaged) == (2, 10)
