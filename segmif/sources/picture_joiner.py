"""
Joins the packets of an H.264 or H.265 stream into pictures, each as soon as it is whole.

A parser knows the end of a picture from the beginning of the next, one period later. Here a picture
counts as whole if its packets show no more to come, and none comes for a moment:

- its last packet is shorter than those that were cut from a larger unit (RFC 6184, RFC 7798);
- it has as many slices as each of the pictures before it.

A stream that breaks this rule once is joined as a parser does it from then on.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from segmif.sources.frame import StampFrom

CODECS = frozenset({"h264", "hevc"})
START = b"\0\0\0\1"  # before each unit; a packet without one goes on with the unit before it
QUIET_S = 0.005  # without a packet; those of one picture follow each other within 1 to 2 ms
STEADY = 8  # pictures with one number of slices, before that of the next is known
KEY_S = 10.0  # without a keyframe, after which a picture that refers to a damaged one is better
FADE = 0.9  # of the longest pause within a picture, for each picture
# Bytes that an RTP packet holds at least if its unit goes on, until the stream has shown it.
LEAST_CUT = 900
Arrival = tuple[int, StampFrom]


class Piece(NamedTuple):
    """A packet of a stream that was not parsed."""

    data: bytes
    pts: int | None  # those of one picture have the same; None: that of the packet before
    arrival: Arrival | None  # its camera's time, or that of its arrival
    at_s: float  # when it came, on the clock of `time.monotonic`


@dataclass
class Part:
    """The part of a packet that belongs to one picture: mostly all of it."""

    begin: int
    slices: int = 0
    begins: bool = False  # its first slice is the first of the picture
    key: bool = False  # the picture needs none before it


@dataclass
class Picture:
    """What has come of one coded picture, with the parameter sets before it."""

    pts: int | None
    arrival: Arrival | None
    data: list[bytes] = field(default_factory=list)
    slices: int = 0
    key: bool = False
    last_size: int = 0  # of its last packet, without what the depacketizer added
    last_s: float = 0.0


class PictureJoiner:
    """Takes the packets of a stream in their order and gives its pictures."""

    def __init__(self, codec: str, least_cut: int = LEAST_CUT, quiet_s: float = QUIET_S) -> None:
        """`least_cut`: bytes of a packet that may be cut from a larger unit."""
        self.damaged = 0  # pictures that lack a part, or refer to one that does
        self.late_parts = False  # a part came after its picture was handed on
        self._is_hevc, self._quiet_s = codec == "hevc", quiet_s
        self._cut, self._cut_is_known = least_cut, False
        self._cuts_evenly = True  # all packets of a unit but the last are of one size
        self._open: Picture | None = None
        self._handed_on: int | None = None  # pts of a picture that counted as whole
        self._headless: int | None = None  # pts of a picture whose beginning is lost
        self._slices, self._alike = 0, 0  # of the picture before; how many before that had as many
        self._pause_s = 0.0  # the longest within a picture that seemed whole
        self._waits_for_key, self._waits_until_s = False, 0.0

    def add(self, piece: Piece) -> Iterator[Picture]:
        """Add a packet; gives the pictures that it ends."""
        if not piece.data.startswith(START):
            yield from self._go_on(piece)
            return
        parts = self._parts(piece.data)
        ends = [part.begin for part in parts[1:]] + [len(piece.data)]
        for part, end in zip(parts, ends, strict=True):
            if self._ends(piece, part):
                yield from self._closed()
            lacks_begin = part.slices and not part.begins
            if lacks_begin and self._is_late(piece):
                self._note_late(piece)
            elif not lacks_begin or self._slices or self._is_begun():  # else: joined in a picture
                self._append(piece._replace(data=piece.data[part.begin : end]), part)

    def due_s(self) -> float | None:
        """When the open picture counts as whole, if nothing comes; None: it is not known."""
        open_ = self._open
        if open_ is None or self.late_parts or not self._seems_whole(open_):
            return None
        return open_.last_s + max(self._quiet_s, 2 * self._pause_s)

    def take(self) -> Iterator[Picture]:
        """Give the open picture, which counts as whole."""
        self._handed_on = self._open.pts if self._open else None
        yield from self._closed()

    def end(self) -> Iterator[Picture]:
        """Give the open picture at the end of the stream, unless it seems to be cut off."""
        if self._open and self._alike >= STEADY and not self._seems_whole(self._open):
            self.damaged += 1
            return
        yield from self._closed()

    def _go_on(self, piece: Piece) -> Iterator[Picture]:
        """Add a packet that goes on with the unit before it."""
        open_ = self._open
        if open_ is not None and piece.pts in (open_.pts, None):
            self._note_pause(open_, piece)
            self._note_cut(open_.last_size)
            _put(open_, piece, len(piece.data))
        elif self._is_late(piece):
            self._note_late(piece)
        elif piece.pts != self._headless and self._slices:
            self._headless = piece.pts
            self.damaged += 1
            yield from self._closed()

    def _append(self, piece: Piece, part: Part) -> None:
        """Add a packet that begins with a unit."""
        open_ = self._open
        if open_ is None:
            open_ = self._open = Picture(piece.pts, piece.arrival)
        elif not open_.slices:  # parameter sets and messages go with the picture after them
            open_.pts, open_.arrival = piece.pts, piece.arrival
        else:
            self._note_pause(open_, piece)
        if part.slices:
            self._handed_on = None
        open_.slices += part.slices
        open_.key |= part.key
        _put(open_, piece, len(piece.data) - len(START) - self._head)

    def _ends(self, piece: Piece, part: Part) -> bool:
        """Whether a packet is of another picture than the open one."""
        if self._open is None or not self._open.slices:
            return False
        return part.begins or piece.pts not in (self._open.pts, None)

    def _closed(self) -> Iterator[Picture]:
        """End the open picture, and give it unless it refers to a damaged one."""
        open_, self._open = self._open, None
        if open_ is None:
            return
        if open_.slices:
            self._alike = self._alike + 1 if open_.slices == self._slices else 0
            self._slices = open_.slices
        self._pause_s *= FADE
        is_known = open_.key or open_.last_s > self._waits_until_s
        self._waits_for_key = self._waits_for_key and not is_known
        if self._waits_for_key:
            self.damaged += 1
        else:
            yield open_

    def _is_late(self, piece: Piece) -> bool:
        """Whether a part that does not begin a picture would be of one that was handed on."""
        if self._is_begun() or self._handed_on is None:
            return False
        return piece.pts in (self._handed_on, None)

    def _is_begun(self) -> bool:
        return self._open is not None and self._open.slices > 0

    def _note_late(self, piece: Piece) -> None:
        # The decoder got a picture with a hole, and those after it refer to that.
        if not self._waits_for_key:
            self.damaged += 1
            self._waits_until_s = piece.at_s + KEY_S
        self.late_parts = self._waits_for_key = True

    def _note_cut(self, size: int) -> None:
        if self._cut_is_known and size < self._cut:
            self._cuts_evenly = False
        self._cut = max(self._cut, size) if self._cut_is_known else size
        self._cut_is_known = True

    def _note_pause(self, open_: Picture, piece: Piece) -> None:
        if self._seems_whole(open_):
            self._pause_s = max(self._pause_s, piece.at_s - open_.last_s)

    def _seems_whole(self, open_: Picture) -> bool:
        is_cut = self._cuts_evenly and open_.last_size >= self._cut
        return self._alike >= STEADY and open_.slices >= self._slices and not is_cut

    def _parts(self, data: bytes) -> list[Part]:
        """Look at the units of a packet; a first slice after another slice begins a new part."""
        parts = [Part(0)]
        at = data.find(START[1:])
        while at >= 0:
            unit = data[at + 3 : at + 6]
            if self._is_slice(unit):
                # The first bit after the head: the slice is the first of its picture.
                begins = unit[self._head : self._head + 1] >= b"\x80"
                if begins and parts[-1].slices:
                    parts.append(Part(at - (not data[at - 1])))
                part = parts[-1]
                part.begins |= begins and not part.slices
                part.slices += 1
                part.key |= self._is_key(unit)
            at = data.find(START[1:], at + 3)
        return parts

    @property
    def _head(self) -> int:
        """Bytes before the content of a unit."""
        return 2 if self._is_hevc else 1

    def _is_slice(self, unit: bytes) -> bool:
        if len(unit) <= self._head:
            return False
        return unit[0] >> 1 & 0x3F < 32 if self._is_hevc else unit[0] & 0x1F in (1, 2, 5)

    def _is_key(self, unit: bytes) -> bool:
        return 16 <= unit[0] >> 1 & 0x3F < 24 if self._is_hevc else unit[0] & 0x1F == 5


def _put(open_: Picture, piece: Piece, size: int) -> None:
    open_.data.append(piece.data)
    open_.last_size, open_.last_s = size, piece.at_s
