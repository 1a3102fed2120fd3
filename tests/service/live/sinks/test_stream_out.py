"""Streams to UDP receivers and RTSP servers: those that are there, stall, go away and come back."""

import io
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import trustme

from segmif.frames import FramePair
from segmif.sources.pixel_formats import visible_pixels
from service.live.live_result import LiveResult
from service.live.sinks.open_sinks import open_sinks, parse_sink
from service.live.sinks.picture import picture
from service.live.sinks.settings import SETTINGS
from service.live.sinks.sink import Sink, SinkError
from tests.service.live.sinks.conftest import Results

PASSWORD = "hush"
SERVER = Path(__file__).with_name("rtsp_server.py")
DEBIAN = "/usr/bin/python3"
NEEDED = (
    "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst; "
    "Gst.init(None); assert Gst.ElementFactory.find('rtph264depay')"
)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try a sink again at once."""
    monkeypatch.setattr("service.live.sinks.retrying.FIRST_S", 0)


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(type=kind) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def received(port: int) -> Iterator[list[bytes]]:
    """Datagrams that a port gets, all of them after the `with`."""
    datagrams: list[bytes] = []
    with socket.socket(type=socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        receiver.bind(("127.0.0.1", port))

        def receive() -> None:
            while (datagram := receiver.recv(1 << 16)) != b"end":
                datagrams.append(datagram)

        thread = threading.Thread(target=receive)
        thread.start()
        try:
            yield datagrams
        finally:
            receiver.sendto(b"end", ("127.0.0.1", port))
            thread.join()


@pytest.mark.parametrize("stated", [{}, {"codec": "mpeg4"}, {"max_kbit_s": 500}])
def test_a_receiver_gets_every_picture(results: Results, stated: dict[str, object]) -> None:
    port, written = free_port(socket.SOCK_DGRAM), list(results(40))
    settings = {"kind": "stream", "url": f"udp://127.0.0.1:{port}?pkt_size=1316"}
    (sink,) = open_sinks([SETTINGS.validate_python(settings | stated)], "front")
    with received(port) as datagrams:
        for result in written:
            sink.write(result)
        sink.close()
    with av.open(io.BytesIO(b"".join(datagrams)), "r", "mpegts") as container:
        frames = list(container.decode(video=0))
        assert len(frames) == 40
        assert sum(frame.key_frame for frame in frames) >= 2  # one a second
        times = [frame.time or 0 for frame in frames]
        shown = visible_pixels(frames[20], container.streams.video[0].codec_context.name)
    assert np.abs(shown.astype(int) - picture(written[20], "overlay")).mean() < 4
    stamps = [(result.stamp_ns - written[0].stamp_ns) / 1e9 for result in written]
    np.testing.assert_allclose(np.array(times) - times[0], stamps, atol=2e-5)


def test_a_stream_begins_anew_with_another_size(results: Results) -> None:
    port = free_port(socket.SOCK_DGRAM)
    (sink,) = open_sinks([parse_sink(f"udp://127.0.0.1:{port}")], "front")
    with received(port) as datagrams:
        for result in [*results(5), *results(5, first=5, shape=(96, 128))]:
            sink.write(result)
        sink.close()
    first = b"".join(datagrams)
    with av.open(io.BytesIO(first), "r", "mpegts") as container:
        sizes = {(frame.width, frame.height) for frame in container.decode(video=0)}
    assert sizes == {(96, 64), (128, 96)}


def must_fail(sink: Sink, results: Iterator[LiveResult]) -> str:
    """The words of the first error, which never hold the password."""
    with pytest.raises(SinkError) as failed:
        for result in results:
            sink.write(result)
    assert PASSWORD not in str(failed.value) + repr(failed.value)
    assert PASSWORD not in sink.name
    return str(failed.value)


def test_a_server_that_is_not_there_is_said_and_tried_again(results: Results) -> None:
    url = f"rtsp://me:{PASSWORD}@127.0.0.1:{free_port()}/live"
    (sink,) = open_sinks([parse_sink(url)], "front")
    for _ in range(2):
        assert "rtsp://me:***@127.0.0.1" in (said := must_fail(sink, results(2)))
        assert "Connection refused" in said
    assert sink.dropped == 2
    sink.close()
    assert PASSWORD not in repr(parse_sink(url))


def test_a_device_that_is_not_there_is_said(results: Results) -> None:
    (sink,) = open_sinks([parse_sink("/dev/video987")], "front")
    assert "/dev/video987: No such file or directory" in must_fail(sink, results(2))
    sink.close()


@contextmanager
def stalled_server(answers: int) -> Iterator[int]:
    """The port of a server that accepts, answers so many requests and reads no more."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

        def serve() -> None:
            connection = listening.accept()[0]
            with connection, connection.makefile("rb") as lines, suppress(OSError):
                for _ in range(answers):
                    head = {}
                    for line in iter(lines.readline, b"\r\n"):
                        name, _, value = line.decode().partition(": ")
                        head[name.lower()] = value.strip()
                    lines.read(int(head.get("content-length", 0)))
                    transport = f"Transport: {head['transport']}\r\n" if "transport" in head else ""
                    connection.sendall(
                        f"RTSP/1.0 200 OK\r\nCSeq: {head['cseq']}\r\nSession: 1\r\n"
                        f"Public: ANNOUNCE, SETUP, RECORD\r\n{transport}\r\n".encode()
                    )
                done.wait(30)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            done.set()
            thread.join()


@pytest.mark.parametrize("answers", [0, 2, 4], ids=["nothing", "half of a greeting", "a greeting"])
def test_a_server_that_stalls_holds_nobody_for_ever(
    results: Results, monkeypatch: pytest.MonkeyPatch, answers: int
) -> None:
    monkeypatch.setattr("service.live.sinks.stream_out.STALL_S", 0.5)
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    with stalled_server(answers) as port:
        url = f"rtsp://me:{PASSWORD}@127.0.0.1:{port}/live?token={PASSWORD}"
        stated = {"kind": "stream", "url": url, "quality": 0, "picture": "visible"}
        (sink,) = open_sinks([SETTINGS.validate_python(stated)], "front")
        said = must_fail(sink, (noisy(result, noise) for result in results(200)))
        assert "took nothing for 0.5 seconds; it is tried again" in said
        sink.close()


def noisy(result: LiveResult, noise: np.ndarray) -> LiveResult:
    """A result with a large visible frame that no encoder makes small."""
    pair = FramePair(noise, noise[..., 0])
    prepared = replace(result.result.prepared, pair=pair, visible_shape=noise.shape[:2])
    return replace(result, result=replace(result.result, prepared=prepared))


@pytest.mark.parametrize("known", [False, True])
def test_only_a_server_with_a_known_certificate_is_greeted(
    tmp_path: Path, results: Results, known: bool
) -> None:
    authority, greetings = trustme.CA(), []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection = listening.accept()[0]
            with suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
                greetings.append(secure.recv(1000))

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"rtsps://me:{PASSWORD}@127.0.0.1:{listening.getsockname()[1]}/live"
        stated = {"kind": "stream", "url": url, "ca_file": tmp_path / "ca.pem" if known else None}
        (sink,) = open_sinks([SETTINGS.validate_python(stated)], "front")
        must_fail(sink, results(1))
        thread.join()
        sink.close()
    assert any(words.startswith(b"OPTIONS") for words in greetings) == known


@contextmanager
def rtsp_server(port: int, path: Path) -> Iterator[None]:
    """GStreamer's server, which writes what it gets to a file; killed at the end."""
    with subprocess.Popen(
        [DEBIAN, str(SERVER), str(port), "me", PASSWORD, str(path)],
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout
        try:
            assert server.stdout.readline() == "listening\n"
            yield
        finally:
            server.kill()


@pytest.mark.skipif(
    not Path(DEBIAN).exists()
    or subprocess.run([DEBIAN, "-c", NEEDED], capture_output=True, check=False).returncode != 0,
    reason="GStreamer's RTSP server is not installed: make servers",
)
def test_a_server_that_goes_away_gets_the_stream_when_it_is_back(
    tmp_path: Path, results: Results
) -> None:
    port = free_port()
    (sink,) = open_sinks([parse_sink(f"rtsp://me:{PASSWORD}@127.0.0.1:{port}/live")], "front")
    endless = results(10**6)
    for name in ("first", "second"):
        path = tmp_path / f"{name}.h264"
        with rtsp_server(port, path):
            while not path.exists() or path.stat().st_size < 3000:
                sink.write(next(endless))
        must_fail(sink, endless)
        assert "refused" in must_fail(sink, endless)
        with av.open(str(path)) as container:
            shown = [visible_pixels(frame, "h264") for frame in container.decode(video=0)]
        np.testing.assert_allclose(shown[0][0, 0].astype(int), (200, 40, 30), atol=6)
    sink.close()


def test_a_secret_comes_from_the_environment_and_is_in_no_argument(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [parse_sink("udp://127.0.0.1:9?token=${TOKEN_OF_TEST}")]
    with pytest.raises(SinkError, match=r"TOKEN_OF_TEST: set it"):
        open_sinks(settings, "front")
    monkeypatch.setenv("TOKEN_OF_TEST", PASSWORD)
    (sink,) = open_sinks(settings, "front")
    sink.write(next(results(1)))
    running = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if readable(path)]
    assert any(b"stream_process" in words for words in running)
    assert not any(PASSWORD.encode() in words for words in running)
    sink.close()


def readable(path: Path) -> bool:
    try:
        return bool(path.read_bytes())
    except OSError:
        return False
