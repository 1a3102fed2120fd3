"""By how much the clocks of two recordings differ, if that is to be found."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Literal

from segmif.sources.frame import Part, Source, SourceError, SourceFrame

from ...live.clock_offset import OffsetFinder, found_offset
from .read_ahead import ReadAhead

OffsetMs = float | Literal["start", "motion"]
Openers = Mapping[Part, Callable[[], Source]]


def offset_ns(stated: OffsetMs, openers: Openers, say: Callable[[str], object]) -> int:
    """
    What is added to infrared stamps [ns].

    `start`: both recordings begin at one moment. `motion`: found from the motion that both show in
    their first minute. Raises SourceError, or ValueError if the motion decides nothing.
    """
    if not isinstance(stated, str):
        return round(stated * 1e6)
    with ExitStack() as opened:
        frames: dict[Part, Iterator[SourceFrame]] = {}
        for part, open_it in openers.items():
            reading = ReadAhead(open_it(), f"look-{part}")
            opened.callback(reading.close)
            frames[part] = iter(reading)
        if stated == "motion":
            return _by_motion(frames, say)
        first = {part: next(each, None) for part, each in frames.items()}
        visible, infrared = first["visible"], first["infrared"]
        if visible is None or infrared is None:
            part = "infrared" if visible else "visible"
            raise SourceError(f"{part} has no frame from which its start could be known")
        return visible.stamp_ns - infrared.stamp_ns


def _by_motion(frames: dict[Part, Iterator[SourceFrame]], say: Callable[[str], object]) -> int:
    """The offset by motion, frame by frame in the order of time since each one's start."""
    finder = OffsetFinder()
    began: dict[Part, int] = {}
    heads = {part: next(each, None) for part, each in frames.items()}
    while left := {part: frame for part, frame in heads.items() if frame}:
        for part, frame in left.items():
            began.setdefault(part, frame.stamp_ns)
        part = min(left, key=lambda each: left[each].stamp_ns - began[each])
        if found := finder.see(part, left[part]):
            say(found_offset(found))
            return found.ns
        heads[part] = next(frames[part], None)
    raise ValueError(f"{finder.why_not}; state --offset-ms in milliseconds")
