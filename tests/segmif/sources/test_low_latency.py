"""Pictures of network streams are decoded once they have come, and are those of the parser."""

import hashlib
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import av
import numpy as np
import pytest

from segmif.sources.frame import Source, SourceError, SourceFrame
from segmif.sources.open_source import open_source
from segmif.sources.options import RtspTransport, SourceOptions
from segmif.sources.picture_joiner import KEY_S, START, PictureJoiner, Piece
from segmif.sources.pixel_formats import visible_pixels
from tests.segmif.sources.senders import RtspCamera, write_video

SERVER = Path(__file__).with_name("rtsp_server.py")
DEBIAN = "/usr/bin/python3"
NEEDED = (
    "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst; "
    "Gst.init(None); assert Gst.ElementFactory.find('h265parse')"
)
X264, X265, LIVE = "libx264", "libx265", {"tune": "zerolatency"}
FRAMES, PERIOD_MS = 70, 50


@contextmanager
def rtsp_server(launch: str) -> Iterator[str]:
    """A real server; gives the address of its stream."""
    if (
        not Path(DEBIAN).exists()
        or subprocess.run([DEBIAN, "-c", NEEDED], capture_output=True, check=False).returncode
    ):
        pytest.skip("needs GStreamer's RTSP server: make servers")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [DEBIAN, str(SERVER), str(port), launch]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "listening\n"
            yield f"rtsp://127.0.0.1:{port}/x"
        finally:
            server.kill()


def noise() -> list[np.ndarray]:
    """Pictures that move and differ: large enough that a slice is cut into several packets."""
    random = np.random.default_rng(3)
    still = random.integers(0, 256, (128, 192, 3), np.uint8)
    return [np.roll(still, 5 * at, axis=1) ^ np.uint8(at % 4) for at in range(FRAMES)]


class Watched:
    """Reads a stream to its end in a thread."""

    def __init__(self, address: str, options: SourceOptions) -> None:
        self.source = open_source(address, "visible", options)
        self.frames: dict[str, SourceFrame] = {}
        self.began = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with suppress(SourceError):
            for frame in self.source.frames():
                self.frames[digest(frame.pixels)] = frame
                self.began.set()

    def wait(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()


def digest(pixels: np.ndarray) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()


@pytest.mark.parametrize(
    ("codec", "options", "sent_as", "transport"),
    [
        (X264, LIVE | {"x264-params": "slices=3"}, "h264parse config-interval=-1", "tcp"),
        (X264, LIVE | {"x264-params": "slices=3"}, "h264parse", "udp"),
        (X264, {"x264-params": "bframes=2:b-adapt=0"}, "h264parse", "tcp"),
        (X264, LIVE | {"x264-params": "interlaced=1"}, "h264parse", "tcp"),
        (X264, LIVE | {"x264-params": "slice-max-size=900"}, "h264parse", "tcp"),
        (X265, LIVE | {"x265-params": "log-level=none:slices=2"}, "h265parse", "udp"),
        (X265, {"x265-params": "log-level=none"}, "h265parse config-interval=-1", "tcp"),
    ],
    ids=["slices", "udp", "b-frames", "interlaced", "small-slices", "h265", "h265-b-frames"],
)
def test_pictures_and_stamps_are_those_of_the_parser(
    tmp_path: Path, codec: str, options: dict[str, str], sent_as: str, transport: RtspTransport
) -> None:
    stamps = [PERIOD_MS * at for at in range(FRAMES)]
    options = {"preset": "ultrafast", "g": "10", "crf": "28"} | options
    file = write_video(tmp_path / "x.mp4", noise(), codec, pts_ms=stamps, **options)
    with av.open(str(file)) as container:
        recorded = [digest(visible_pixels(one, codec)) for one in container.decode(video=0)]
    payloader = "rtph265pay" if codec == X265 else "rtph264pay"
    with rtsp_server(
        f"( filesrc location={file} ! qtdemux ! {sent_as} ! {payloader} name=pay0 pt=96 )"
    ) as address:
        prompt = Watched(address, SourceOptions(rtsp_transport=transport))
        assert prompt.began.wait(10)  # the server fails if two come at once
        parsed = Watched(address, SourceOptions(rtsp_transport=transport, low_latency=False))
        prompt.wait()
        parsed.wait()
    # A busy server may end the stream, or begin it, within a picture.
    assert prompt.source.damaged <= 1
    assert set(prompt.frames) <= set(recorded)
    assert len(prompt.frames) + prompt.source.dropped >= len(parsed.frames)
    assert prompt.source.damaged or transport == "udp" or recorded[-1] in prompt.frames
    both = prompt.frames.keys() & parsed.frames.keys()
    assert len(both) > FRAMES / 3
    pairs = [(prompt.frames[one], parsed.frames[one]) for one in both]
    stated = [pair for pair in pairs if {one.stamp_from for one in pair} == {"source"}]
    assert {one.stamp_ns for one, _ in stated} == {other.stamp_ns for _, other in stated}


def test_mjpeg_over_rtsp(tmp_path: Path) -> None:
    pictures = [np.kron(one[::16, ::16], np.ones((16, 16, 1), np.uint8)) for one in noise()[:30]]
    # RFC 2435 carries no other tables than the default ones.
    file = write_video(
        *(tmp_path / "x.avi", pictures, "mjpeg", "yuvj420p"), qmin="2", qmax="2", huffman="default"
    )
    launch = f"( filesrc location={file} ! avidemux ! jpegparse ! rtpjpegpay name=pay0 pt=26 )"
    with av.open(str(file)) as container:
        recorded = [digest(visible_pixels(one, "mjpeg")) for one in container.decode(video=0)]
    with rtsp_server(launch) as address:
        watched = Watched(address, SourceOptions())
        watched.wait()
    assert watched.frames
    assert set(watched.frames) <= set(recorded)
    assert not watched.source.damaged


def watched_camera(
    low_latency: bool = True, cuts: tuple[int, ...] = (), pause_s: float = 0.0
) -> tuple[RtspCamera, Source, list[SourceFrame], float]:
    """What a camera sent that falls silent; its source; what came, and when the last came."""
    camera = RtspCamera("me", "x")
    camera.limit, camera.stays_s, camera.cuts, camera.pause_s = 40, 2, cuts, pause_s
    frames, last_s = [], 0.0
    with camera.serving() as port:
        options = SourceOptions(timeout_s=1.5, low_latency=low_latency)
        source = open_source(f"rtsp://me:x@127.0.0.1:{port}/x", "visible", options)
        with suppress(SourceError):
            for frame in source.frames():
                frames.append(frame)
                last_s = time.time()
    return camera, source, frames, last_s


def check_levels(camera: RtspCamera, frames: list[SourceFrame]) -> None:
    """Each frame is whole, and stamped with the time at which its level was sent."""
    for frame in frames:
        assert frame.pixels.std() < 0.5
        level = min(camera.sent, key=lambda one: abs(one - float(frame.pixels.mean())))
        assert abs(frame.stamp_ns - camera.sent[level]) <= 1_000  # both in whole microseconds


@pytest.mark.parametrize("low_latency", [True, False])
def test_a_picture_needs_none_after_it(low_latency: bool) -> None:
    camera, source, frames, last_s = watched_camera(low_latency)
    check_levels(camera, frames)
    assert abs(frames[-1].stamp_ns - max(camera.sent.values())) < 1_000
    late_s = last_s - frames[-1].stamp_ns / 1e9
    assert late_s < 1 if low_latency else late_s > 1  # a parser gives it when the stream ends
    assert not source.damaged


def test_a_picture_is_not_cut_off_by_a_pause() -> None:
    camera, source, frames, _ = watched_camera(cuts=(12,) * 80, pause_s=0.03)
    check_levels(camera, frames)
    assert not source.damaged
    assert len(frames) + source.dropped == camera.limit


def test_a_part_that_comes_too_late_is_damage(caplog: pytest.LogCaptureFixture) -> None:
    camera, source, frames, _ = watched_camera(cuts=(12, 5, 12, 3, 12), pause_s=0.03)
    check_levels(camera, frames)
    assert source.damaged
    assert len(frames) + source.dropped + source.damaged == camera.limit
    assert "a part of a picture came late" in caplog.text


def test_a_stream_without_another_keyframe_goes_on_after_damage() -> None:
    joiner = PictureJoiner("h264", quiet_s=0.005)

    def slice_of(pts: int, unit: bytes) -> Piece:
        return Piece(START + unit + bytes(9), pts, None, pts / 10)

    given = list(joiner.add(slice_of(0, b"\x65\x80")))
    for pts in range(1, 20):
        given += joiner.add(slice_of(pts, b"\x41\x80"))
    given += joiner.take()
    assert not list(joiner.add(slice_of(19, b"\x41\x00")))  # a part of what was handed on
    assert joiner.late_parts and joiner.damaged == 1
    later = (slice_of(pts, b"\x41\x80") for pts in range(20, 200))
    late = [picture for piece in later for picture in joiner.add(piece)]
    assert late[0].pts is not None and late[0].pts / 10 > 1.9 + KEY_S
    assert joiner.damaged == late[0].pts - 20 + 1
