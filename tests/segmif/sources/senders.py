"""Videos and streams that tests make: files, MJPEG over HTTP, MPEG-TS over UDP, H.264 over RTSP."""

import base64
import itertools
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np

from segmif.imaging.codecs import encode_jpeg

MILLISECONDS = Fraction(1, 1000)
NTP_EPOCH_S = 2_208_988_800  # from 1900 to 1970
RTP_CLOCK = 90_000


def write_video(
    path: Path,
    frames: Sequence[np.ndarray],
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    layout: str = "rgb24",
    pts_ms: Sequence[int] | None = None,
    **options: str,
) -> Path:
    """Write frames of a layout such as rgb24 or gray16le; `options` are the encoder's."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.time_base = stream.codec_context.time_base = MILLISECONDS
        for at, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format=layout)
            frame = frame if layout == pix_fmt else frame.reformat(format=pix_fmt)
            frame.pts = pts_ms[at] if pts_ms else 40 * at
            frame.time_base = MILLISECONDS
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def grey(level: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A uniform frame (height, width, 3) uint8."""
    return np.full((height, width, 3), level, np.uint8)


@contextmanager
def background(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run `work` in a thread until the block ends."""
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)


@contextmanager
def udp_sender(levels: Iterator[int]) -> Iterator[str]:
    """MPEG-TS of uniform frames at 25 Hz; gives the address to receive it."""
    port = free_udp_port()

    def send(stop: threading.Event) -> None:
        address = f"udp://127.0.0.1:{port}?pkt_size=1316"
        with av.open(address, "w", "mpegts", options={"flush_packets": "1"}) as container:
            options = {"tune": "zerolatency", "preset": "ultrafast", "g": "5"}
            stream = container.add_stream("libx264", rate=25, options=options)
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for number, level in enumerate(levels):
                if stop.wait(0.04):
                    return
                frame = av.VideoFrame.from_ndarray(grey(level), format="rgb24")
                frame.pts = number
                with suppress(OSError):  # nobody listens yet
                    container.mux(stream.encode(frame))

    with background(send):
        yield f"udp://127.0.0.1:{port}"


def free_udp_port() -> int:
    """A port of UDP that nothing uses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def mjpeg_server(
    frames: Iterator[np.ndarray | bytes],
    period_s: float = 0.04,
    stall: bool = False,
    tls: ssl.SSLContext | None = None,
) -> Iterator[str]:
    """A camera that sends JPEGs as multipart; `stall`: it goes silent when `frames` end."""
    over = threading.Event()

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            for pixels in frames:
                jpeg = pixels if isinstance(pixels, bytes) else encode_jpeg(pixels)
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                with suppress(OSError):
                    self.wfile.write(head.encode() + jpeg + b"\r\n")
                if over.wait(period_s):
                    return
            if stall:
                over.wait(30)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    server.daemon_threads = True
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}/video"
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def silent_server() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held = []

        def accept(stop: threading.Event) -> None:
            server.settimeout(0.05)
            while not stop.is_set():
                with suppress(TimeoutError):
                    held.append(server.accept()[0])

        with background(accept):
            yield server.getsockname()[1]
        for connection in held:
            connection.close()


class RtspCamera:
    """
    An RTSP camera over TCP: H.264 of uniform frames, each one slice in one RTP packet.

    It wants a user and a password, and sends a report of its clock before each frame.
    """

    def __init__(self, user: str, password: str, clock_off_s: float | None = 0.0) -> None:
        self._right = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self.clock_off_s = clock_off_s  # of the camera's clock; None: it sends no reports
        self.sent: dict[int, int] = {}  # level of a frame to when it was taken [ns]
        self.limit: int | None = None  # frames of a connection, then it is closed
        self.down = threading.Event()  # while set it closes each connection at once
        self.stays_s = 0.0  # how long it says nothing before that
        self.cuts: tuple[int, ...] = ()  # bytes of the packets that a slice is cut into; () is one
        self.pause_s = 0.0  # before the last packet of every tenth frame

    @contextmanager
    def serving(self) -> Iterator[int]:
        """Serve on the port that is given."""
        with socket.create_server(("127.0.0.1", 0)) as server:

            def accept(stop: threading.Event) -> None:
                server.settimeout(0.05)
                while not stop.is_set():
                    with suppress(OSError), server.accept()[0] as connection:
                        connection.settimeout(5)
                        if self.down.is_set():
                            continue
                        self._talk(connection, stop)

            with background(accept):
                yield server.getsockname()[1]

    def _talk(self, connection: socket.socket, stop: threading.Event) -> None:
        reader = connection.makefile("rb")
        while not stop.is_set():
            head = self._head(reader)
            if not head:
                return
            method, fields = head["method"], f"CSeq: {head['cseq']}\r\n"
            if method == "OPTIONS":
                fields += "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
            elif head.get("authorization") != self._right:
                fields += 'WWW-Authenticate: Basic realm="camera"\r\n'
                connection.sendall(f"RTSP/1.0 401 Unauthorized\r\n{fields}\r\n".encode())
                continue
            body = SDP if method == "DESCRIBE" else ""
            if body:
                fields += f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
            elif method == "SETUP":
                fields += "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
            connection.sendall(f"RTSP/1.0 200 OK\r\n{fields}\r\n{body}".encode())
            if method == "PLAY":
                self._play(connection, stop)
                return

    def _head(self, reader: BinaryIO) -> dict[str, str]:
        found: dict[str, str] = {}
        for raw in iter(reader.readline, b""):
            line = raw.decode().strip()
            if not line:
                return found
            name, _, value = line.partition(": ")
            if not found:
                found["method"] = line.split()[0]
            found[name.lower()] = value
        return {}

    def _play(self, connection: socket.socket, stop: threading.Event) -> None:
        encoder = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height, encoder.pix_fmt = 64, 48, "yuv420p"
        encoder.time_base = Fraction(1, 25)
        encoder.options = {"tune": "zerolatency", "x264-params": "sliced-threads=0:keyint=5"}
        sequence = 0
        for number in range(10_000 if self.limit is None else self.limit):
            if stop.wait(0.04) or self.down.is_set():
                return
            level, taken_ns = 20 + 4 * number % 200, time.time_ns()
            self.sent[level] = taken_ns
            frame = av.VideoFrame.from_ndarray(grey(level), format="rgb24")
            frame.pts, ticks = number, number * RTP_CLOCK // 25
            if self.clock_off_s is not None:
                connection.sendall(self._report(taken_ns, ticks))
            for packet in encoder.encode(frame):
                units = [unit for unit in bytes(packet).split(b"\0\0\1") if len(unit) > 1]
                payloads = [one for unit in units for one in self._payloads(unit.rstrip(b"\0"))]
                for at, payload in enumerate(payloads):
                    last = at == len(payloads) - 1
                    if last and number % 10 == 9:
                        time.sleep(self.pause_s)
                    head = struct.pack(">BBHII", 0x80, 96 | last << 7, sequence, ticks, 7)
                    connection.sendall(_interleaved(0, head + payload))
                    sequence += 1
        stop.wait(self.stays_s)

    def _payloads(self, unit: bytes) -> list[bytes]:
        """A unit as one packet, or its slice in several (FU-A of RFC 6184)."""
        kind, ends = unit[0] & 0x1F, list(itertools.accumulate(self.cuts, initial=1))
        if not self.cuts or kind not in (1, 5):
            return [unit]
        pieces = [unit[a:b] for a, b in itertools.pairwise([*ends, len(unit)]) if unit[a:b]]
        marks = [0x80 * (at == 0) | 0x40 * (at == len(pieces) - 1) for at in range(len(pieces))]
        heads = [bytes([unit[0] & 0xE0 | 28, mark | kind]) for mark in marks]
        return [head + piece for head, piece in zip(heads, pieces, strict=True)]

    def _report(self, taken_ns: int, ticks: int) -> bytes:
        """A sender report of RTCP: wall clock and RTP time of one moment."""
        assert self.clock_off_s is not None
        seconds, part_ns = divmod(taken_ns + round(self.clock_off_s * 1e9), 10**9)
        fraction = (part_ns << 32) // 10**9
        ntp = struct.pack(">II", seconds + NTP_EPOCH_S, fraction)
        return _interleaved(
            1, struct.pack(">BBHI", 0x80, 200, 6, 7) + ntp + struct.pack(">III", ticks, 1, 1)
        )


SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\n"
    "a=control:video\r\n"
)


def _interleaved(channel: int, packet: bytes) -> bytes:
    return struct.pack(">BBH", 0x24, channel, len(packet)) + packet
