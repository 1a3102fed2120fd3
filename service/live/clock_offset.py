"""Finds by how much the clocks of two live cameras differ, from the motion that both see."""

from collections import deque
from threading import Lock

import numpy as np

from segmif.geometry.motion import Floats, change, downscaled
from segmif.geometry.time_sync import MIN_FRAMES, Offset, clock_offset
from segmif.imaging.luma import luma
from segmif.sources.frame import Part, SourceFrame

from .pair_queue import PARTS

LEAST_S, MOST_S = 10.0, 60.0  # seconds of motion that are compared
EVERY = 20  # frames of the visible camera between two tries
SURE_NS = 10_000_000  # standard deviation of an offset that is taken


class OffsetFinder:
    """Collects the motion of both cameras and compares it, until the offset is known."""

    def __init__(self) -> None:
        self.why_not = "the offset of the clocks is not known yet: too few frames"
        self._last: dict[Part, tuple[int, Floats]] = {}
        self._motion: dict[Part, deque[tuple[int, float]]] = {part: deque() for part in PARTS}
        self._seen = 0
        self._lock = Lock()  # frames of both cameras come in threads

    def see(self, part: Part, frame: SourceFrame) -> Offset | None:
        """Add a frame, from any thread; gives the offset once it is known."""
        grey = frame.pixels if frame.pixels.ndim == 2 else luma(frame.pixels.astype(np.uint8))
        small = downscaled(grey)
        with self._lock:
            return self._add(part, frame.stamp_ns, small)

    def _add(self, part: Part, stamp_ns: int, small: Floats) -> Offset | None:
        last, self._last[part] = self._last.get(part), (stamp_ns, small)
        if last is None or stamp_ns <= last[0] or last[1].shape != small.shape:
            return None
        between_ns = last[0] + (stamp_ns - last[0]) // 2
        motion = self._motion[part]
        motion.append((between_ns, change(last[1], small)))
        while motion[-1][0] - motion[0][0] > MOST_S * 1e9:
            motion.popleft()
        self._seen += part == "visible"
        return self._try() if part == "visible" and self._seen % EVERY == 0 else None

    def _try(self) -> Offset | None:
        """The offset if the motion so far shows it; else `why_not` says what is missing."""
        motions = [np.array(each) for each in self._motion.values()]
        if any(len(each) < MIN_FRAMES or _seconds(each) < LEAST_S for each in motions):
            return None
        stamps = [np.array([ns for ns, _ in each], np.int64) for each in self._motion.values()]
        try:
            found = clock_offset(stamps[0], motions[0][:, 1], stamps[1], motions[1][:, 1])
        except ValueError as error:
            self.why_not = f"the offset of the clocks is not known yet: {error}"
            return None
        if found.std_ns > SURE_NS:
            self.why_not = (
                f"the offset of the clocks is known to {found.std_ns / 1e6:.0f} ms only: move the "
                "rig or an object irregularly"
            )
            return None
        return found


def found_offset(found: Offset) -> str:
    """Say what was found."""
    return (
        f"found offset_ms = {found.ns / 1e6:.1f}, to {found.std_ns / 1e6:.1f} ms; the motions "
        f"correlate by {found.correlation:.2f}"
    )


def _seconds(motion: Floats) -> float:
    return float(motion[-1, 0] - motion[0, 0]) / 1e9
