"""The pairs of a stream pass its memory in their order, also if one of them ends early."""

import asyncio
from typing import cast

from service.scheduler.admission import QueueSlot
from service.scheduler.camera_streams import QueuedPair, Stream
from service.scheduler.pair_request import PairRequest


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
