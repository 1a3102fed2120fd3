"""A moving scene without a camera, for demonstrations and tests."""

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from segmif.clock import unstepped_ns
from segmif.imaging.codecs import Pixels
from segmif.sources.base import SourceBase
from segmif.sources.frame import Part, SourceError, SourceFrame

FORM = re.compile(r"(?:(\d+)x(\d+))?(?:@(\d+(?:\.\d+)?))?(?:,?frames=(\d+))?")
SIZE, RATE = (640, 480), 10.0  # width and height [px], frames/s
SIDES, RATES = (16, 4096), (0.1, 1000.0)
PERIOD_S = 8.0  # after which the scene repeats itself
SKY, GROUND, PERSON, ENGINE = 29_000, 29_600, 31_000, 33_000  # counts


class SyntheticSource(SourceBase):
    """
    `synthetic:640x480@10`: a street with a walking person and a car, the same for both cameras.

    It is live and stamped by the clock of this process, so two are in step. With `,frames=N`
    it is a recording of N frames that begins at 0. Infrared has 16-bit counts.
    """

    def __init__(self, form: str, address: str, part: Part) -> None:
        """Raises SourceError for a form that is not known."""
        super().__init__(address)
        self.part = part
        self.size, self.rate, self.count = _parsed(form, address)
        self.live = self.count is None

    def frames(self) -> Iterator[SourceFrame]:
        """Give the frames; live ones at their rate, and only those that are due."""
        if self.count is not None:
            for number in range(self.count):
                if self.closed.is_set():
                    return
                yield self._frame(number)
            return
        number = int(_now_s() * self.rate) + 1
        while not self.closed.wait(max(0.0, number / self.rate - _now_s())):
            yield self._frame(number)
            due = max(number + 1, int(_now_s() * self.rate))
            self.dropped += due - number - 1
            number = due

    def _frame(self, number: int) -> SourceFrame:
        stamp_ns = round(number * 10**9 / self.rate) if self.rate % 1 else self._whole(number)
        phase = number / self.rate % PERIOD_S / PERIOD_S
        return SourceFrame(self.picture(phase), stamp_ns, "source", str(number))

    def picture(self, phase: float) -> Pixels:
        """The frame at a phase of 0 to 1: (H, W, 3) uint8 RGB, or (H, W) counts or levels."""
        return scene(self.part, *self.size, phase)

    def _whole(self, number: int) -> int:
        return number * 10**9 // int(self.rate)


def _now_s() -> float:
    return unstepped_ns() / 1e9


def scene(part: Part, width: int, height: int, phase: float) -> Pixels:
    """The scene at a phase of 0 to 1: (H, W, 3) uint8 RGB, or (H, W) uint16 counts."""
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(2, 1, 1)
    person = np.abs(x - phase) < 0.03
    person &= np.abs(y - 0.6) < 0.18
    car = (np.abs(x - (1.1 - 1.2 * phase)) < 0.11) & (np.abs(y - 0.72) < 0.07)
    if part == "infrared":
        counts = np.where(y < 0.45, SKY + 200 * y, GROUND + 300 * y)
        counts = np.where(car, ENGINE - 6000 * np.abs(y - 0.72), counts)
        return np.where(person, PERSON, counts).astype(np.uint16)
    return _colours(x, y, person, car)


def _colours(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    person: NDArray[np.bool_],
    car: NDArray[np.bool_],
) -> NDArray[np.uint8]:
    picture = np.empty((*y.shape, 3), np.uint8)
    sky = y < 0.45
    for channel, (above, below) in enumerate(((150, 90), (185, 92), (225, 88))):
        texture = 20 * np.sin(40 * x + channel) * np.sin(55 * y)
        picture[..., channel] = np.where(sky, above - 60 * y, below + texture)
    picture[car] = 170, 40, 35
    picture[person] = 60, 70, 120
    return picture


def _parsed(form: str, address: str) -> tuple[tuple[int, int], float, int | None]:
    found = FORM.fullmatch(form)
    if found is None:
        raise SourceError(
            f"{address}: expected synthetic:WxH@FPS,frames=N, each part may be missing"
        )
    wide, high, rate, count = found.groups()
    size = (int(wide), int(high)) if wide else SIZE
    fast = float(rate) if rate else RATE
    if not all(SIDES[0] <= side <= SIDES[1] for side in size) or not RATES[0] <= fast <= RATES[1]:
        raise SourceError(
            f"{address}: expected sides of {SIDES[0]} to {SIDES[1]} pixels and {RATES[0]:g} to "
            f"{RATES[1]:g} frames/s"
        )
    return size, fast, int(count) if count else None
