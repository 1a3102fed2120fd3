"""Frames of two cameras become pairs; what is dropped is counted."""

import asyncio

import numpy as np
import pytest

from segmif.sources.frame import Part, SourceFrame
from service.live.pair_queue import WAITING_PAIRS, LivePair, PairQueue

pytestmark = pytest.mark.anyio
MS = 1_000_000


def frame(stamp_ms: float) -> SourceFrame:
    return SourceFrame(np.zeros((2, 2), np.uint8), round(stamp_ms * MS))


def stamp_ns_of(given: SourceFrame | None) -> int:
    assert given
    return given.stamp_ns


async def fill(queue: PairQueue, part: Part, stamps_ms: list[float]) -> None:
    for stamp in stamps_ms:
        await queue.put(part, frame(stamp))
    await queue.end(part)


async def drain(queue: PairQueue) -> list[LivePair]:
    return [pair async for pair in _pairs(queue)]


async def _pairs(queue: PairQueue):  # type: ignore[no-untyped-def]
    while pair := await queue.get():
        yield pair


async def test_a_recording_loses_no_pair_however_slow_the_reader() -> None:
    queue = PairQueue(lossless=True)
    visible, infrared = [i * 40.0 for i in range(200)], [i * 40.0 + 7 for i in range(200)]
    filling = asyncio.gather(fill(queue, "visible", visible), fill(queue, "infrared", infrared))
    pairs = await drain(queue)
    await filling
    assert [stamp_ns_of(pair.visible) for pair in pairs] == [round(s * MS) for s in visible]
    assert {stamp_ns_of(pair.infrared) - stamp_ns_of(pair.visible) for pair in pairs} == {7 * MS}
    assert queue.unpaired == {"visible": 0, "infrared": 0}
    assert queue.skew_ns == 7 * MS


@pytest.mark.parametrize("first", ["visible", "infrared"])
async def test_recordings_of_two_clocks_begin_at_one_moment(first: str) -> None:
    queue = PairQueue(None, lossless=True, from_start=True)
    visible, infrared = [i * 40.0 for i in range(50)], [9e9 + i * 40.0 for i in range(50)]
    fillings = [fill(queue, "visible", visible), fill(queue, "infrared", infrared)]
    filling = asyncio.gather(*(fillings if first == "visible" else reversed(fillings)))
    pairs = await asyncio.wait_for(drain(queue), 10)
    await filling
    assert [stamp_ns_of(pair.visible) for pair in pairs] == [round(s * MS) for s in visible]
    assert [stamp_ns_of(pair.infrared) for pair in pairs] == [round(s * MS) for s in infrared]


async def test_a_recording_that_begins_later_does_not_stop_the_other() -> None:
    queue = PairQueue(lossless=True)
    visible, infrared = [i * 40.0 for i in range(300)], [i * 40.0 for i in range(150, 300)]
    filling = asyncio.gather(fill(queue, "visible", visible), fill(queue, "infrared", infrared))
    pairs = await asyncio.wait_for(drain(queue), 10)
    await filling
    assert len(pairs) == 150
    assert queue.unpaired["visible"] == 150


async def test_frames_that_still_wait_at_the_end_are_counted() -> None:
    queue = PairQueue(lossless=True)
    visible, infrared = [i * 40.0 for i in range(80)], [i * 40.0 for i in range(30)]
    filling = asyncio.gather(fill(queue, "visible", visible), fill(queue, "infrared", infrared))
    assert len(await asyncio.wait_for(drain(queue), 10)) == 30
    await filling
    assert queue.unpaired == {"visible": 50, "infrared": 0}


@pytest.mark.parametrize("from_start", [False, True])
async def test_frames_before_the_offset_is_known_are_counted(from_start: bool) -> None:
    queue = PairQueue(None, from_start=from_start)
    await fill(queue, "visible", [i * 40.0 for i in range(50)])
    await queue.end("infrared")
    assert queue.unpaired == {"visible": 50, "infrared": 0}


async def test_a_recording_that_ends_early_does_not_stop_the_other() -> None:
    queue = PairQueue(lossless=True)
    filling = asyncio.gather(
        fill(queue, "visible", [i * 40.0 for i in range(300)]),
        fill(queue, "infrared", [i * 40.0 for i in range(10)]),
    )
    assert len(await asyncio.wait_for(drain(queue), 10)) == 10
    await filling


async def test_of_live_pairs_the_newest_waits_and_others_count_as_late() -> None:
    queue = PairQueue()
    for stamp in range(0, 1000, 100):
        await queue.put("visible", frame(stamp))
        await queue.put("infrared", frame(stamp + 3))
    assert queue.counts.paired == 10
    assert queue.counts.late == 10 - WAITING_PAIRS
    newest = await queue.get()
    assert newest and stamp_ns_of(newest.visible) == 900 * MS


async def test_pairs_that_nobody_takes_replace_none_that_wait() -> None:
    queue = PairQueue(takes=lambda pair: stamp_ns_of(pair.visible) % (200 * MS) == 0)
    for stamp in range(0, 600, 100):
        await queue.put("visible", frame(stamp))
        await queue.put("infrared", frame(stamp + 3))
    newest = await queue.get()
    assert newest and stamp_ns_of(newest.visible) == 400 * MS
    assert (queue.counts.paired, queue.counts.late) == (6, 2)


async def test_the_tolerance_follows_the_faster_camera() -> None:
    queue = PairQueue()
    for stamp in range(0, 400, 100):
        await queue.put("infrared", frame(stamp))
        for step in (0, 33, 66):
            await queue.put("visible", frame(stamp + step))
    assert queue.tolerance_ns == pytest.approx(33 * MS / 2, abs=MS)


async def test_clocks_that_differ_are_measured_and_an_offset_brings_them_together() -> None:
    apart, corrected = PairQueue(), PairQueue(offset_ns=-5000 * MS)
    for queue in (apart, corrected):
        for stamp in range(0, 300, 100):
            await queue.put("visible", frame(stamp))
            await queue.put("infrared", frame(stamp + 5000))
    assert apart.counts.paired == 0
    assert apart.gap_ns == 5000 * MS
    assert corrected.counts.paired == 3
