"""What can be stated of a source beside its address."""

from dataclasses import dataclass
from typing import Literal

RtspTransport = Literal["tcp", "udp"]
TIMEOUT_S = (0.1, 3600.0)
PATIENCE_S = (0.0, 1e6)
RATE = (0.001, 10_000.0)


@dataclass(frozen=True)
class SourceOptions:
    """Options of all kinds of sources; raises ValueError for values out of their ranges."""

    # For settings that pydantic reads: a misspelt option is an error.
    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    timeout_s: float = 5.0  # for opening a stream, and for its next frame
    rtsp_transport: RtspTransport = "tcp"
    # H.264 and H.265 by rtsp and udp: a picture is decoded once it has come; else one period later.
    low_latency: bool = True
    live: bool | None = None  # whether an http(s) address is a live stream; None: by its suffix
    stream: int = 0  # which of several video streams, from 0; `#n` in the address is the same
    topic: str | None = None  # of a bag; `FILE:/topic` is the same
    patience_s: float = 0.0  # a folder ends when no file came for so long; 0: it is complete
    rate: float = 25.0  # [frames/s] of frames without any time: numbered files, raw video
    decode_threads: int = 1  # 0: as many as there are cores
    ca_file: str | None = None  # authorities of https and rtsps; None: certificates go unchecked
    input_format: str | None = None  # of a V4L2 device, such as mjpeg or yuyv422

    def __post_init__(self) -> None:
        _check("timeout_s", self.timeout_s, TIMEOUT_S)
        _check("patience_s", self.patience_s, PATIENCE_S)
        _check("rate", self.rate, RATE)
        _check("stream", self.stream, (0, 1000))
        _check("decode_threads", self.decode_threads, (0, 64))
        if self.rtsp_transport not in ("tcp", "udp"):
            raise ValueError(f"rtsp_transport is {self.rtsp_transport!r}, expected tcp or udp")

    @property
    def period_ns(self) -> int:
        """Time between two frames at `rate` [ns]."""
        return round(1e9 / self.rate)


def _check(name: str, value: float, limits: tuple[float, float]) -> None:
    if not limits[0] <= value <= limits[1]:
        raise ValueError(f"{name} is {value:g}, expected {limits[0]:g} to {limits[1]:g}")
