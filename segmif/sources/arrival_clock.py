"""When the frames of a live stream were taken."""

import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from segmif.sources.frame import StampFrom
from segmif.sources.stamps import nanoseconds_of

if TYPE_CHECKING:
    from av import Packet, VideoFrame, VideoStream

MAX_CLOCK_OFF_NS = 2_000_000_000  # a camera's clock further off was never set


class ArrivalClock:
    """
    The time of a live packet: its camera's by RTCP sender reports, else when it arrived.

    A camera's clock that is far from this machine's is not used.
    """

    def __init__(self, absolute: bool, warn: Callable[[str], None]) -> None:
        """`absolute`: the ticks of the packets are the system's clock, as V4L2 states them."""
        self._absolute, self._warn = absolute, warn

    def arrived(self, packet: "Packet[VideoStream]") -> tuple[int, StampFrom]:
        """Time [ns since 1970] and its source, to go through the decoder with the packet."""
        now_ns = time.time_ns()
        taken_ns = self._taken_ns(packet)
        if taken_ns is None:
            return now_ns, "arrival"
        if abs(taken_ns - now_ns) > MAX_CLOCK_OFF_NS:
            self._warn("its clock is more than 2 s off; the time of arrival is taken")
            return now_ns, "arrival"
        return taken_ns, "source"

    def _taken_ns(self, packet: "Packet[VideoStream]") -> int | None:
        """Wall-clock time of a packet [ns], if its stream states it."""
        if packet.has_sidedata("prft"):
            # AVProducerReferenceTime: microseconds since 1970, then flags.
            return int(struct.unpack_from("=q", bytes(packet.get_sidedata("prft")))[0]) * 1000
        if self._absolute and packet.pts is not None:
            return nanoseconds_of(packet.pts, packet.time_base)
        return None

    def of(self, frame: "VideoFrame") -> tuple[int, StampFrom]:
        """The time of the packet that a frame was decoded from."""
        carried = frame.opaque
        if isinstance(carried, tuple):
            return carried[0], carried[1]
        return time.time_ns(), "arrival"
