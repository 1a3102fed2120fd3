"""How a rig keeps the network busy, and in what order and how much it hands on."""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from segmif.imaging.image_header import ImageError
from segmif.runtime import Runtime
from segmif.thermal.camera_profile import CameraProfile, Cameras, Crop
from service.errors import BadFrame, EngineFailed
from service.live.events.rules import ObjectRule
from service.live.live_metrics import LiveMetrics
from service.live.live_result import LiveResult
from service.live.network_slots import AT_NETWORK, IN_WORK
from service.live.open_rig import open_rig
from service.live.rig_pipeline import RigPipeline
from service.live.rig_settings import LiveSettings, RigSettings
from service.pipeline.align import RigAligner
from service.pipeline.pair_rules import PairRules
from service.pipeline.result import Result
from service.scheduler.dispatcher import Dispatcher
from service.scheduler.pair_request import PairRequest
from service.scheduler.worker_threads import Workers
from tests.service.live.sinks.conftest import results, runtime  # noqa: F401  fixtures
from tests.service.live.test_ros_topics import LENS, rig_file, write_bag

pytestmark = pytest.mark.anyio
SOURCE = "synthetic:96x64@50"
PERSONS = ObjectRule(name="intruder", kind="object", classes=("person",))


class HeldNetwork:
    """Is nearly free when the test says so."""

    busy_s = 0.0

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.free.set()

    async def nearly_free(self, lead_s: float) -> None:
        await self.free.wait()


class HeldDispatcher:
    """Notes the pairs that it gets, and ends them when the test says so."""

    def __init__(self, result: Result) -> None:
        self.result, self.computes = result, True
        self.error: Exception | None = None  # what pairs then end with
        self.requests: list[PairRequest] = []
        self.ends: list[asyncio.Event] = []
        self.arrived: dict[int, asyncio.Event] = defaultdict(asyncio.Event)  # by count
        self.rules = replace(PairRules(10**6), memory=True)
        self.runtime = result.runtime
        self.batcher = HeldNetwork()
        self.queues = SimpleNamespace(viewers=Workers(1, "viewer"))

    async def process(self, request: PairRequest, finish: Callable[[Result], Result]) -> Result:
        self.requests.append(request)
        self.arrived[len(self.requests)].set()
        self.ends.append(asyncio.Event())
        if self.computes:
            request.computed()
        await self.ends[-1].wait()
        if self.error:
            raise self.error
        return replace(self.result, request_id=request.request_id)

    def end_stream(self, client: str, name: str) -> None:
        pass

    def end_all(self) -> None:
        for each in reversed(self.ends):
            each.set()


class Kept:
    """A sink that remembers."""

    name, dropped = "kept", 0

    def __init__(self) -> None:
        self.sequences: list[int] = []

    def write(self, result: LiveResult) -> None:
        assert result.result.request_id == f"rig-{result.sequence}"
        self.sequences.append(result.sequence)

    def close(self) -> None:
        pass


Held = tuple[RigPipeline, HeldDispatcher, Kept]


@asynccontextmanager
async def held_rig(result: Result, **changed: Any) -> AsyncIterator[Held]:
    settings = RigSettings.model_validate({"visible": SOURCE, "infrared": SOURCE} | changed)
    dispatcher, sink = HeldDispatcher(result), Kept()
    opened = replace(open_rig(settings, LiveSettings(rigs=(settings,))), sinks=[sink])
    metrics = LiveMetrics(CollectorRegistry())
    pipeline = RigPipeline(opened, cast(Dispatcher, dispatcher), metrics)
    running = asyncio.create_task(pipeline.run())
    try:
        yield pipeline, dispatcher, sink
    finally:
        running.cancel()
        dispatcher.end_all()
        await pipeline.close()
        dispatcher.queues.viewers.close()


async def begun(dispatcher: HeldDispatcher, count: int) -> None:
    async with asyncio.timeout(60):
        await dispatcher.arrived[count].wait()
    await asyncio.sleep(0.1)  # more would have come by now


@pytest.fixture
def result(results: Callable[..., Iterator[LiveResult]], runtime: Runtime) -> Result:  # noqa: F811
    return next(results(1)).result


async def test_memory_and_objects_do_not_keep_the_network_waiting(result: Result) -> None:
    async with held_rig(result) as (pipeline, dispatcher, sink):
        await begun(dispatcher, IN_WORK)  # they have left the network, and are not done
        assert len(dispatcher.requests) == IN_WORK
        dispatcher.computes = False
        for end in reversed(dispatcher.ends[1:]):
            end.set()
        await asyncio.sleep(0.05)
        assert pipeline.last is None  # none passes the first
        dispatcher.ends[0].set()
        await begun(dispatcher, IN_WORK + AT_NETWORK)
        assert len(dispatcher.requests) == IN_WORK + AT_NETWORK
        assert sink.sequences == list(range(IN_WORK))


async def test_until_the_network_is_nearly_free_newer_pairs_replace_the_one_that_waits(
    result: Result,
) -> None:
    async with held_rig(result) as (pipeline, dispatcher, _):
        dispatcher.batcher.free.clear()
        began_ns = time.time_ns()
        counts = pipeline.cameras.queue.counts
        async with asyncio.timeout(60):
            while counts.late < 5:
                await asyncio.sleep(0.01)
                passed = counts.late + pipeline.outcomes["skipped"]
                assert counts.paired - passed <= 1 and not dispatcher.requests
        replaced = counts.late
        dispatcher.batcher.free.set()
        await begun(dispatcher, 1)
        first_ns = dispatcher.requests[0].options.visible_ns
        assert first_ns and first_ns - began_ns >= replaced * 15_000_000  # they are 20 ms apart


async def test_lenses_are_compared_with_the_rig_file_in_force(
    result: Result, tmp_path: Path
) -> None:
    bag = write_bag(tmp_path / "in", infrared_fx=99)
    topics = {"visible": f"{bag}:/rgb/image_raw", "infrared": f"{bag}:/thermal/image_raw"}
    async with held_rig(result, **topics) as (_, dispatcher, _):
        seen = []
        for lens in (None, replace(LENS, K=LENS.K + np.diag([9, 9, 0])), LENS):
            # As after a reload of the service.
            aligner = RigAligner(rig_file(tmp_path, lens), math.inf) if lens else None
            dispatcher.rules = replace(dispatcher.rules, rig_aligner=aligner)
            dispatcher.end_all()
            await begun(dispatcher, len(dispatcher.requests) + 1)
            seen.append(dispatcher.requests[-1].rules)
    assert [rules and rules.source_flags for rules in seen] == [(), (), ("infrared_calibration",)]


async def test_a_crop_that_a_reload_mends_is_no_other_camera_any_more(
    result: Result, tmp_path: Path
) -> None:
    bag = write_bag(tmp_path / "in", infrared_fx=90)
    topics = {"visible": f"{bag}:/rgb/image_raw", "infrared": f"{bag}:/thermal/image_raw"}
    async with held_rig(result, rig=rig_file(tmp_path), **topics) as (_, dispatcher, _):
        seen = []
        for crop in (Crop(0, 0, 0, 2), None):
            cameras = Cameras(infrared=CameraProfile(crop=crop))
            dispatcher.rules = replace(dispatcher.rules, cameras=cameras)
            dispatcher.end_all()
            await begun(dispatcher, len(dispatcher.requests) + 1)
            seen.append(dispatcher.requests[-1].rules)
    assert [rules and rules.source_flags for rules in seen] == [("infrared_calibration",), ()]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (EngineFailed(), "engine_failed"),
        (BadFrame("infrared", ImageError("empty", "no bytes")), "empty"),
        (KeyError("unforeseen"), "internal"),
    ],
)
async def test_a_failed_pair_counts_by_the_name_of_its_problem(
    result: Result, error: Exception, outcome: str
) -> None:
    async with held_rig(result) as (pipeline, dispatcher, _):
        await begun(dispatcher, IN_WORK)
        dispatcher.error = error
        dispatcher.ends[0].set()
        await begun(dispatcher, IN_WORK + 1)  # once the first has ended
        assert pipeline.outcomes.keys() - {"skipped"} == {outcome}


@pytest.mark.parametrize(("events", "objects"), [((), False), ((PERSONS,), True)])
async def test_a_rig_that_is_short_of_time_asks_for_less(
    result: Result, events: tuple[ObjectRule, ...], objects: bool
) -> None:
    async with held_rig(result, events=events) as (pipeline, dispatcher, _):
        await begun(dispatcher, 1)
        first = dispatcher.requests[0].options
        pipeline.ladder.place = 1
        dispatcher.end_all()
        await begun(dispatcher, IN_WORK + 1)
        last = dispatcher.requests[-1].options
        pipeline.ladder.place = 0
    assert (first.memory, first.objects) == (None, True)
    assert (last.memory, last.objects) == (False, objects)
