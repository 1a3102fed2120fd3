"""
The process that streams: pictures come by its standard input, what happens goes to its output.

FFmpeg holds Python's lock while it connects, and cannot be interrupted while it sends: in a
process of its own neither stops anybody else. The input is a line of JSON, `Start`, then for each
picture its stamp (8 bytes, little-endian) and its pixels. The output is lines of JSON: `{}` once
the stream runs, `{"error": ...}` if it cannot.
"""

import json
import signal
import ssl
import struct
import sys
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from segmif.addresses import masked

from .sink_error import SinkError
from .video_track import Encoder, VideoTrack, av_module, encoder_for

RAW = Encoder("rawvideo", "yuv420p", bt601=True)  # of a camera, which loopback devices are
STAMP = struct.Struct("<q")


@dataclass(frozen=True)
class Start:
    """What the process needs to begin."""

    url: str
    codec: str
    quality: int
    max_kbit_s: int | None
    ca_file: str | None
    shape: tuple[int, int, int]
    longest_s: float  # that FFmpeg may take for one step; then the process ends

    def line(self) -> bytes:
        """As the process reads it."""
        return json.dumps(asdict(self)).encode() + b"\n"


def open_container(start: Start) -> tuple[Any, Encoder]:
    """The container of a stream and the encoder for it; raises what FFmpeg raises."""
    av, scheme = av_module(), start.url.partition("://")[0]
    if start.url.startswith("/dev/"):
        try:
            return av.open(start.url, "w", format="v4l2"), RAW
        except ValueError:
            raise SinkError("FFmpeg has no output to devices (v4l2) here") from None
    encoder = encoder_for(start.codec, start.quality)
    if start.max_kbit_s:  # a third of a second may come at once: a keyframe
        rate = {"maxrate": f"{start.max_kbit_s}k", "bufsize": f"{start.max_kbit_s // 3}k"}
        encoder = Encoder(encoder.name, encoder.pix_fmt, {**encoder.options, **rate})
    if scheme == "udp":
        options = {"flush_packets": "1"}
        url = start.url if "pkt_size=" in start.url else _with_packet_size(start.url)
        return av.open(url, "w", format="mpegts", container_options=options), encoder
    options = {"rtsp_transport": "tcp"}
    if scheme == "rtsps":  # FFmpeg itself trusts everybody
        trusted = start.ca_file or ssl.get_default_verify_paths().cafile
        options |= {"tls_verify": "1"} | ({"ca_file": trusted} if trusted else {})
    return av.open(start.url, "w", format="rtsp", container_options=options), encoder


def _with_packet_size(url: str) -> str:
    """Seven packets of MPEG-TS in a datagram: many receivers take no parts of one."""
    return f"{url}{'&' if '?' in url else '?'}pkt_size=1316"


def stream(start: Start, pictures: Any, answers: Any) -> None:
    """Stream pictures from a file until it ends; raises what FFmpeg raises."""
    _limit(start.longest_s)
    container, encoder = open_container(start)
    track = VideoTrack(container, encoder, start.shape)
    container.start_encoding()
    answers.write(b"{}\n")
    answers.flush()
    pixels = np.empty(start.shape, np.uint8)
    while True:
        _limit(0)
        stamp = pictures.read(STAMP.size)
        if len(stamp) < STAMP.size or pictures.readinto(pixels.reshape(-1)) < pixels.size:
            break
        _limit(start.longest_s)
        track.write(pixels, STAMP.unpack(stamp)[0])
    _limit(start.longest_s)
    track.finish()
    container.close()


def _limit(seconds: float) -> None:
    """Have the kernel end this process after so many seconds; 0: never."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


def words_for(error: Exception, url: str) -> str:
    """What went wrong, without the address that FFmpeg adds."""
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return masked(str(words).replace(url, masked(url)))


def main() -> None:
    """Stream what the standard input says."""
    stated = json.loads(sys.stdin.buffer.readline())
    start = Start(**stated | {"shape": tuple(stated["shape"])})
    try:
        stream(start, sys.stdin.buffer, sys.stdout.buffer)
    except Exception as error:  # whatever it is, the other side must be able to say it
        report = {"error": words_for(error, start.url)}
        sys.stdout.buffer.write(json.dumps(report).encode() + b"\n")
        sys.stdout.buffer.flush()
        sys.exit(1)
