"""The pictures of an unparsed live stream, as packets that a decoder takes."""

import time
from collections.abc import Iterator
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TYPE_CHECKING

from segmif.sources.arrival_clock import ArrivalClock
from segmif.sources.base import POLL_S
from segmif.sources.ffmpeg import imported
from segmif.sources.picture_joiner import Picture, PictureJoiner, Piece

if TYPE_CHECKING:
    from av import Packet, VideoStream
    from av.container import InputContainer

MAX_WAITING = 1000  # packets; the rest waits in the socket, as without this thread


class PacketReader:
    """Reads a container in a thread, so that nothing but time may end a picture."""

    def __init__(
        self, container: "InputContainer", stream: "VideoStream", clock: ArrivalClock
    ) -> None:
        self._packets, self._clock = container.demux(stream), clock
        self._read: Queue[Piece | Exception | None] = Queue(MAX_WAITING)
        self._stopped = Event()
        self._thread = Thread(target=self._fill, name="packets", daemon=True)
        self._thread.start()

    def get(self, until_s: float | None) -> Piece | None:
        """
        The next packet; None if none came until then, or for a moment.

        Raises StopIteration at the end, and what reading raises.
        """
        wait_s = POLL_S if until_s is None else min(max(until_s - time.monotonic(), 0), POLL_S)
        try:
            read = self._read.get(timeout=wait_s) if wait_s else self._read.get_nowait()
        except Empty:
            return None
        if read is None:
            raise StopIteration
        if isinstance(read, Exception):
            raise read
        return read

    def close(self) -> None:
        """Wait for the thread, which may take the source's timeout."""
        self._stopped.set()
        self._thread.join()

    def _fill(self) -> None:
        try:
            for packet in self._packets:
                if packet.size:  # the last one is empty
                    self._put(
                        Piece(
                            bytes(packet),
                            packet.pts,
                            self._clock.arrived(packet),
                            time.monotonic(),
                        )
                    )
                if self._stopped.is_set():
                    return
            self._put(None)
        except Exception as error:  # raised again by `get`
            self._put(error)

    def _put(self, read: Piece | Exception | None) -> None:
        while not self._stopped.is_set():
            try:
                self._read.put(read, timeout=POLL_S)
            except Full:
                continue
            return


def joined(
    packets: PacketReader, joiner: PictureJoiner, stream: "VideoStream", closed: Event
) -> Iterator["Packet[VideoStream]"]:
    """Each picture as soon as it is whole; raises as the `demux` of its container."""
    while not closed.is_set():
        due_s = joiner.due_s()
        try:
            piece = packets.get(due_s)
        except StopIteration:
            yield from (_packet(stream, picture) for picture in joiner.end())
            yield _packet(stream, None)
            return
        if piece is not None:
            yield from (_packet(stream, picture) for picture in joiner.add(piece))
        elif due_s is not None and time.monotonic() >= due_s:
            yield from (_packet(stream, picture) for picture in joiner.take())


def _packet(stream: "VideoStream", picture: Picture | None) -> "Packet[VideoStream]":
    """A picture for the decoder; None: an empty packet, after which it gives what it holds."""
    data = b"".join(picture.data) if picture else b""
    # Allocated by FFmpeg: decoders read beyond the end of the data.
    packet: Packet[VideoStream] = imported().Packet(len(data))
    packet.stream = stream
    if picture:
        packet.update(data)
        packet.pts, packet.opaque = picture.pts, picture.arrival
    if stream.time_base:
        packet.time_base = stream.time_base
    return packet
