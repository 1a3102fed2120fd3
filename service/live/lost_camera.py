"""Which camera of a rig has given nothing new for too long, so that the other one goes on alone."""

from collections.abc import Callable, Collection
from time import monotonic

import numpy as np

from segmif.sources.frame import Part, SourceFrame

OTHER: dict[Part, Part] = {"visible": "infrared", "infrared": "visible"}
EVERY = 4  # one of so many rows is compared first: noise of a sensor shows in any


class LostCamera:
    """Notes when each camera last gave a frame that differs from the one before."""

    def __init__(
        self,
        after_s: float,
        live: Collection[Part],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`after_s`: without a new picture; `live`: cameras, since a recording is never lost."""
        self._after_s, self._live, self._clock = after_s, live, clock
        self._last: dict[Part, SourceFrame] = {}
        self._changed_s = dict.fromkeys(OTHER, clock())

    def see(self, part: Part, frame: SourceFrame) -> None:
        """Note a frame; called in the thread of its camera."""
        last, self._last[part] = self._last.get(part), frame
        if last is None or not _repeats(last, frame):
            self._changed_s[part] = self._clock()

    @property
    def lone(self) -> Part | None:
        """The camera that goes on alone; None if both give pictures, or neither does."""
        now_s = self._clock()
        lost = [part for part in self._live if now_s - self._changed_s[part] > self._after_s]
        return OTHER[lost[0]] if len(lost) == 1 else None


def _repeats(last: SourceFrame, frame: SourceFrame) -> bool:
    before, pixels = last.pixels, frame.pixels
    return np.array_equal(before[::EVERY], pixels[::EVERY]) and np.array_equal(before, pixels)
