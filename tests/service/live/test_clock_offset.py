"""The offset of two clocks is found from the motion that both cameras see."""

from collections.abc import Iterator

import numpy as np

from segmif.geometry.time_sync import Offset
from segmif.sources.frame import SourceFrame
from service.live.clock_offset import OffsetFinder

SIZE = 60
OFFSET_NS = 137_000_000  # that the infrared clock is ahead


def frames(rate: float, seconds: float, clock_ns: int, colour: bool) -> Iterator[SourceFrame]:
    """A square that starts and stops at the same moments for every camera."""
    steps = np.random.default_rng(3).random(400) < 0.4
    for number in range(int(rate * seconds)):
        at_s = number / rate
        place = int(np.interp(at_s, np.arange(401) / 5, np.r_[0, np.cumsum(steps * 4.0)])) % SIZE
        picture = np.full((SIZE, SIZE), 50, np.uint8)
        picture[20:40, place : place + 12] = 200
        pixels = np.repeat(picture[..., None], 3, 2) if colour else picture.astype(np.uint16) * 40
        yield SourceFrame(pixels, round(at_s * 1e9) + clock_ns)


def found(finder: OffsetFinder, seconds: float) -> Offset | None:
    given = [
        (frame.stamp_ns - clock_ns, part, frame)
        for part, rate, clock_ns in (("visible", 30, 0), ("infrared", 9, OFFSET_NS))
        for frame in frames(rate, seconds, clock_ns, part == "visible")
    ]
    for _, part, frame in sorted(given, key=lambda each: each[0]):
        if offset := finder.see(part, frame):  # type: ignore[arg-type]
            return offset
    return None


def test_the_offset_of_two_clocks_is_found() -> None:
    offset = found(OffsetFinder(), 40)
    assert offset
    assert abs(offset.ns + OFFSET_NS) < 30_000_000


def test_it_is_not_guessed_from_too_little() -> None:
    finder = OffsetFinder()
    assert found(finder, 8) is None
    assert "too few frames" in finder.why_not


def test_a_still_scene_gives_none_and_says_what_to_do() -> None:
    finder = OffsetFinder()
    for number in range(700):
        for part, pixels in (
            ("visible", np.zeros((SIZE, SIZE, 3), np.uint8)),
            ("infrared", np.zeros((SIZE, SIZE), np.uint16)),
        ):
            assert finder.see(part, SourceFrame(pixels, number * 33_000_000)) is None  # type: ignore[arg-type]
    assert "move the rig" in finder.why_not
