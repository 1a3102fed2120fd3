"""Many pairs at once: batches, deadlines, order, whose turn it is, and clients that vanish."""

import asyncio
import math
import re
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import cast

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from segmif.frames import FramePair
from segmif.imaging import codecs
from segmif.manifest import Manifest
from segmif.runtime import Runtime, open_runtime
from service.errors import Busy, CannotFinish
from service.pipeline.stage_times import StageTimes
from service.scheduler.admission import Admission
from service.scheduler.batching import Batcher, Job
from service.scheduler.worker_threads import Workers
from service.settings import Settings

pytestmark = pytest.mark.anyio

Serve = Callable[[Settings, Runtime], AbstractContextManager[httpx.Client]]
Files = dict[str, tuple[str, bytes]]
HELD, POISON = 99, 200
GREY = 20  # added to a pair's number, as a black frame would be no frame


class Gate:
    """A runtime that writes down what it gets, and lets each run through once it is open."""

    name = "gate"

    def __init__(self, runtime: Runtime, slots: int) -> None:
        self.manifest: Manifest = runtime.manifest
        self.outputs: tuple[str, ...] = runtime.outputs
        self.default_tint: float | None = runtime.default_tint
        self.runtime = runtime
        self.slots = slots
        self.opened = threading.Event()
        self.opened.set()  # for the golden pair
        self.entered = threading.Event()
        self.batches: list[list[int]] = []

    def run(
        self,
        visible: NDArray[np.uint8],
        infrared: NDArray[np.uint8],
        *,
        tint: NDArray[np.float32] | None = None,
        confidence: bool = False,
    ) -> tuple[NDArray[np.uint8], ...]:
        self.batches.append([int(frame[0, 0, 0]) - GREY for frame in visible])
        self.entered.set()
        assert self.opened.wait(20)
        if (visible[:, 0, 0] == GREY + POISON).any():
            raise RuntimeError("/secret/kernel.cu failed")
        return self.runtime.run(visible, infrared, tint=tint, confidence=confidence)

    def trim(self) -> None:
        self.runtime.trim()

    def close(self) -> None:
        self.opened.set()
        self.runtime.close()


def pair(number: int, size: int = 32) -> Files:
    """A pair whose visible pixels tell its number."""
    visible = np.full((size, size, 3), GREY + number, np.uint8)
    infrared = np.tile(np.arange(size, dtype=np.uint8), (size, 1))
    return {
        "visible": ("v.png", codecs.encode_png(visible)),
        "infrared": ("i.png", codecs.encode_png(infrared)),
    }


class Rig:
    """A service whose network can be held, and a client of it."""

    def __init__(self, gate: Gate, client: httpx.AsyncClient) -> None:
        self.gate = gate
        self.client = client

    def post(
        self, number: int, deadline_ms: float | None = None, size: int = 32, **query: str | int
    ) -> asyncio.Task[httpx.Response]:
        headers = {} if deadline_ms is None else {"X-Deadline-Ms": str(deadline_ms)}
        return asyncio.create_task(
            self.client.post(
                "/fuse-segment?return=fused",
                files=pair(number, size),
                params=query | {"return": "fused"},
                headers=headers,
            )
        )

    async def value(self, metric: str) -> float:
        text = (await self.client.get("/metrics")).text
        found = re.search(rf"^{re.escape(metric)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    async def until(self, metric: str, wanted: float) -> None:
        limit = time.monotonic() + 20
        while (value := await self.value(metric)) != wanted:
            assert time.monotonic() < limit, f"{metric} is {value}, never became {wanted}"
            await asyncio.sleep(0.01)

    async def hold(self) -> asyncio.Task[httpx.Response]:
        """Fill the network with one pair that does not come out before the gate opens."""
        await self.until("segmif_ready", 1)
        self.gate.opened.clear()
        self.gate.entered.clear()
        self.gate.batches.clear()
        held = self.post(HELD)
        assert await asyncio.to_thread(self.gate.entered.wait, 20)
        return held

    async def queue(self, *numbers: int, **query: str | int) -> list[asyncio.Task[httpx.Response]]:
        """Post pairs one after the other, each once the one before waits for the network."""
        before, tasks = await self.value("segmif_queue_depth"), []
        for place, number in enumerate(numbers, start=1):
            tasks.append(self.post(number, **query))  # type: ignore[arg-type]
            await self.until("segmif_queue_depth", before + place)
        return tasks


OpenRig = Callable[..., AbstractAsyncContextManager[Rig]]


@pytest.fixture
def rig(serve: Serve, stand_in_weights: Path) -> OpenRig:
    """Start a service around a gate: `async with rig(max_batch=3) as it`."""

    @asynccontextmanager
    async def open_rig(slots: int = 1, **settings: int) -> AsyncIterator[Rig]:
        gate = Gate(open_runtime(stand_in_weights, threads=1), slots)
        chosen = Settings.model_validate({"weights": stand_in_weights} | settings)
        with serve(chosen, gate) as client:
            async with httpx.AsyncClient(base_url=client.base_url, timeout=20) as other:
                try:
                    yield Rig(gate, other)
                finally:
                    gate.opened.set()

    return open_rig


async def test_as_many_batches_are_in_work_as_the_runtime_has_slots(rig: OpenRig) -> None:
    async with rig(slots=2, max_batch=1) as it:
        tasks = [await it.hold(), it.post(1)]
        limit = time.monotonic() + 20
        while len(it.gate.batches) < 2:  # while neither comes out
            assert time.monotonic() < limit
            await asyncio.sleep(0.01)
        tasks += await it.queue(2, 3)
        assert it.gate.batches == [[HELD], [1]]
        it.gate.opened.set()
        assert [number_of(await task) for task in tasks] == [HELD, 1, 2, 3]
        assert it.gate.batches == [[HELD], [1], [2], [3]]


def number_of(answer: httpx.Response) -> int:
    assert answer.status_code == 200, answer.text
    return int(codecs.decode_visible(answer.content)[0, 0, 0]) - GREY


def problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["kind"]


async def test_what_waits_goes_through_together_in_the_order_it_came(rig: OpenRig) -> None:
    async with rig(max_batch=3) as it:
        held = await it.hold()
        waiting = await it.queue(0, 1, 2, 3)
        it.gate.opened.set()
        assert [number_of(await task) for task in (held, *waiting)] == [HELD, 0, 1, 2, 3]
        assert it.gate.batches == [[HELD], [0, 1, 2], [3]]
        assert await it.value('segmif_batch_pairs_bucket{le="2.0"}') == 3  # golden, HELD and 3
        assert await it.value("segmif_batch_pairs_count") == 4


async def test_sizes_are_not_mixed_and_order_holds_across_them(rig: OpenRig) -> None:
    async with rig(max_batch=4) as it:
        held = await it.hold()
        waiting = [*await it.queue(0), *await it.queue(1, size=64), *await it.queue(2, 3)]
        it.gate.opened.set()
        await asyncio.gather(held, *waiting)
        assert it.gate.batches == [[HELD], [0], [1], [2, 3]]


async def test_pairs_of_a_stream_enter_the_network_as_they_came(rig: OpenRig) -> None:
    async with rig(max_pending=32) as it:
        held = await it.hold()
        large = it.post(0, size=1024, stream="rig-1")  # decodes long after the small ones behind
        await it.until("segmif_pending", 2)
        small = []
        for number in (1, 2, 3):
            small.append(it.post(number, stream="rig-1"))
            await it.until("segmif_pending", 2 + number)
        await it.until("segmif_queue_depth", 4)
        it.gate.opened.set()
        await asyncio.gather(held, large, *small)
        assert it.gate.batches == [[HELD], [0], [1], [2], [3]]


async def test_a_live_stream_keeps_only_its_newest_waiting_pair(rig: OpenRig) -> None:
    async with rig(max_pending=3) as it:
        held = await it.hold()
        (other,) = await it.queue(7, stream="other", live="true")
        (first,) = await it.queue(1, stream="rig-1", live="true")
        second = it.post(2, stream="rig-1", live="true")  # the line is full, but first makes way
        assert problem(await first) == (409, "superseded")
        await it.until("segmif_queue_depth", 2)
        it.gate.opened.set()
        assert [number_of(await task) for task in (held, other, second)] == [HELD, 7, 2]
        assert it.gate.batches == [[HELD], [7], [2]]
        await it.until("segmif_pending", 0)


async def test_live_without_a_stream_is_refused(rig: OpenRig) -> None:
    async with rig() as it:
        refused = await it.post(1, live="true")
    assert (refused.status_code, refused.json()["kind"]) == (422, "bad_parameter")


async def test_what_cannot_finish_in_time_is_refused_before_its_body_is_read(rig: OpenRig) -> None:
    async with rig(shared_memory=True) as it:
        held = await it.hold()
        region = f"/shared-memory/{'0' * 32}"
        for path in ("/fuse-segment", "/v2/models/nano/infer", f"{region}/fuse-segment"):
            answer = await it.client.post(
                path, content=b"no pair at all", headers={"X-Deadline-Ms": "1"}
            )
            assert problem(answer) == (503, "cannot_finish"), path
            assert int(answer.headers["retry-after"]) >= 1
        told = await it.client.post(
            "/fuse-segment", files=pair(1) | {"meta": ("m.json", b'{"deadline_ms": 1}')}
        )
        assert problem(told) == (503, "cannot_finish")
        it.gate.opened.set()
        assert number_of(await held) == HELD


async def test_a_deadline_that_passes_in_the_queue_spares_the_network(rig: OpenRig) -> None:
    async with rig() as it:
        held = await it.hold()
        (late,) = await it.queue(1, deadline_ms=500)
        answer = await late  # at the deadline, not once the network is free
        it.gate.opened.set()
        assert problem(answer) == (503, "deadline_missed")
        assert int(answer.headers["retry-after"]) >= 1
        assert number_of(await held) == HELD
        assert it.gate.batches == [[HELD]]


async def test_a_deadline_that_passes_in_the_network_is_told_at_once(rig: OpenRig) -> None:
    async with rig() as it:
        await it.until("segmif_ready", 1)
        it.gate.opened.clear()
        assert problem(await it.post(1, deadline_ms=500)) == (503, "deadline_missed")
        it.gate.opened.set()
        assert number_of(await it.post(2)) == 2


async def test_a_network_that_was_slow_once_is_asked_again(rig: OpenRig) -> None:
    async with rig() as it:
        held = await it.hold()
        await asyncio.sleep(0.6)
        it.gate.opened.set()
        await held
        answers = [await it.post(number, deadline_ms=500) for number in range(10)]
        assert 200 in {answer.status_code for answer in answers}


async def test_one_client_may_have_only_its_share(rig: OpenRig) -> None:
    async with rig(max_pending_per_client=2) as it:
        held = await it.hold()
        (second,) = await it.queue(1)
        refused = await it.post(2)
        assert problem(refused) == (429, "too_many_of_one")
        assert int(refused.headers["retry-after"]) >= 1
        it.gate.opened.set()
        assert [number_of(await task) for task in (held, second)] == [HELD, 1]


async def test_a_client_that_hangs_up_leaves_the_queue(rig: OpenRig) -> None:
    async with rig() as it:
        held = await it.hold()
        gone, kept = await it.queue(1, 2)
        gone.cancel()
        await it.until("segmif_pending", 2)
        it.gate.opened.set()
        assert [number_of(await task) for task in (held, kept)] == [HELD, 2]
        assert it.gate.batches == [[HELD], [2]]
        assert await it.value('segmif_requests_total{outcome="gone",route="/fuse-segment"}') == 1


async def test_a_bad_pair_spoils_no_batch_and_no_secret_gets_out(rig: OpenRig) -> None:
    async with rig(max_batch=4) as it:
        held = await it.hold()
        waiting = await it.queue(1, POISON, 3)
        it.gate.opened.set()
        answers = [await task for task in (held, *waiting)]
        assert [number_of(answers[at]) for at in (0, 1, 3)] == [HELD, 1, 3]
        assert problem(answers[2]) == (500, "engine_failed")
        assert "secret" not in answers[2].text


async def test_after_a_storm_nothing_is_left(rig: OpenRig) -> None:
    async with rig(max_pending=6, max_batch=2) as it:
        await it.until("segmif_ready", 1)
        tasks = []
        for number in range(60):
            sent = POISON if number % 7 == 0 else number
            deadline_ms = 5 if number % 5 == 0 else None
            live = str(number % 2 == 0)
            tasks.append(it.post(sent, deadline_ms, stream=f"rig-{number % 3}", live=live))
            if number % 4 == 3:
                await asyncio.sleep(0.01)
                tasks[number - 2].cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        told = [answer for answer in answers if isinstance(answer, httpx.Response)]
        assert {answer.status_code for answer in told} <= {200, 409, 500, 503}
        assert 200 in {answer.status_code for answer in told}
        for name in ("segmif_pending", "segmif_queue_depth"):
            await it.until(name, 0)
        assert number_of(await it.post(5)) == 5


def test_retry_after_follows_the_rate_at_which_pairs_leave() -> None:
    now = 0.0
    admission = Admission(max_pending=8, max_per_client=8, clock=lambda: now)
    places = [admission.enter("rig") for _ in range(8)]
    for _ in range(4):
        now += 2.0  # a pair leaves every two seconds
        places.pop().leave(worked_s=3.0)
    places += [admission.enter("rig") for _ in range(4)]
    with pytest.raises(Busy) as busy:
        admission.enter("rig")
    assert busy.value.retry_s == 16
    places.pop().leave()
    with pytest.raises(CannotFinish, match="7 pairs are before this one: it would take 18700 ms"):
        admission.enter("rig", deadline_s=18.6)
    admission.enter("rig", deadline_s=18.8)


class Slow:
    """A network whose runs take as long as the test says."""

    outputs, default_tint = ("fused", "labels"), None

    def __init__(self) -> None:
        self.entered, self.ends = asyncio.Event(), threading.Event()
        self.loop = asyncio.get_running_loop()

    def run(self, visible: NDArray[np.uint8], infrared: NDArray[np.uint8], **_: object) -> object:
        self.loop.call_soon_threadsafe(self.entered.set)
        assert self.ends.wait(20)
        self.ends.clear()
        return visible, infrared


async def test_a_pair_may_come_so_long_before_the_network_should_be_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    for clock in ("monotonic", "perf_counter"):
        monkeypatch.setattr(f"service.scheduler.batching.{clock}", lambda: now)
    slow, engine = Slow(), Workers(1, "engine")
    batcher = Batcher(cast(Runtime, slow), engine, 1, 0.0, lambda size: None, lambda: 1)
    grey = FramePair(np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32), np.uint8))

    async def begin() -> Job:
        slow.entered.clear()
        job = batcher.submit(grey, math.inf, StageTimes())
        await slow.entered.wait()
        return job

    async def is_in_time(lead_s: float) -> bool:
        waiting = asyncio.create_task(batcher.nearly_free(lead_s))
        await asyncio.sleep(0.01)
        return waiting.cancel() is False

    assert await is_in_time(0)  # nothing computes
    with batcher.coming():
        assert not await is_in_time(5)  # another pair is prepared already
    job = await begin()
    now = 100.0  # so long it takes
    slow.ends.set()
    await job.result
    job = await begin()
    assert not await is_in_time(20)
    assert await is_in_time(100)
    now = 185.0
    assert await is_in_time(20)
    waiting = asyncio.create_task(batcher.nearly_free(0))
    slow.ends.set()  # sooner than the last time
    await asyncio.wait_for(waiting, 20)
    assert job.result.done()
    engine.close()
