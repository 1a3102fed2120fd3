"""The pairs of a stream pass its memory in their order, also if one of them ends early."""

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from segmif.wire.raw_frames import Frame, Layout
from service.pipeline import result_history
from service.pipeline.result import Result
from service.scheduler.admission import QueueSlot
from service.scheduler.camera_streams import QueuedPair, Stream
from service.scheduler.dispatcher import Dispatcher, as_it_is
from service.scheduler.model_loading import LoadedModel, load_model
from service.scheduler.pair_request import PairRequest
from service.scheduler.worker_threads import NETWORK_NICE, NICE
from service.schemas.pair_options import PairOptions
from service.settings import Settings


def test_a_pair_that_ends_early_lets_none_past_those_before_it() -> None:
    async def order() -> None:
        stream = Stream()
        first, second, third = (
            QueuedPair(cast(PairRequest, None), cast(QueueSlot, None)) for _ in range(3)
        )
        for each in (first, second, third):
            stream.line_up(each)
        second.leave_memory()  # cancelled, or without a memory
        await asyncio.sleep(0)
        assert third.before and not third.before.done()
        first.leave_memory()
        await asyncio.wait_for(third.before, 1)

    asyncio.run(order())


@pytest.fixture
def model(stand_in_weights: Path) -> LoadedModel:
    return load_model(Settings(weights=stand_in_weights, threads=3))


def request(number: int) -> PairRequest:
    visible = np.full((64, 64, 3), 90 + number, np.uint8)
    grey = visible[..., 0].copy()
    frames = (
        Frame(visible.reshape(-1).data, Layout("rgb8", 64, 64)),
        Frame(grey.reshape(-1).data, Layout("y8", 64, 64)),
    )
    options = PairOptions(stream="yard", memory=False, objects=True)
    return PairRequest(*frames, options, "somebody", str(number))


def test_tracks_follow_the_order_of_the_stream(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def slow_at_first(result: Result, *_: Any) -> Result:
        time.sleep(0.2 if result.request_id == "0" else 0)
        order.append(result.request_id)
        return result

    monkeypatch.setattr(result_history, "with_objects", slow_at_first)

    async def send() -> Sequence[Result]:
        dispatcher = Dispatcher(model)
        try:
            pairs = (dispatcher.process(request(n), as_it_is) for n in range(3))
            return await asyncio.gather(*pairs)
        finally:
            await asyncio.to_thread(dispatcher.close)

    results = asyncio.run(send())
    assert [each.request_id for each in results] == order == ["0", "1", "2"]


def test_the_network_leaves_the_cores_to_what_is_nearer_to_its_end(stand_in_weights: Path) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)

    def threads() -> set[int]:
        return {int(each.name) for each in Path("/proc/self/task").iterdir()}

    before = threads()
    model = load_model(Settings(weights=stand_in_weights, threads=3))
    network = {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads() - before}
    model.close()
    assert network == {own + NETWORK_NICE}
    assert NETWORK_NICE > NICE > 0
