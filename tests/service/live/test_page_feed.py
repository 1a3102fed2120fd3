"""What viewers show is encoded once for all of them, and nothing else is."""

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from service.live.live_result import LiveResult
from service.live.page_feed import IDLE_S, PageFeed
from service.live.page_message import ENCODERS, MessagePart, requested_parts
from service.scheduler.worker_threads import Workers

pytestmark = pytest.mark.anyio


async def test_a_part_is_encoded_once_for_all_viewers(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[tuple[str, int]] = []

    def encode(name: str, live: LiveResult) -> MessagePart:
        encoded.append((name, live.sequence))
        return MessagePart({"name": name}, b"")

    for name in ENCODERS:
        monkeypatch.setitem(
            cast(dict[str, object], ENCODERS), name, lambda live, name=name: encode(name, live)
        )
    workers = Workers(2, "viewer")
    feed = PageFeed(workers)
    for sequence in range(2):
        result = cast(LiveResult, SimpleNamespace(sequence=sequence))
        feed.put(result)
        leaves = asyncio.create_task(feed.parts(result, ["fused"]))
        await asyncio.sleep(0)
        leaves.cancel()
        seen = await asyncio.gather(
            feed.parts(result, ["fused"]), feed.parts(result, ["fused", "mask"])
        )
        assert [[part.header["name"] for part in each] for each in seen] == [
            ["fused"],
            ["fused", "mask"],
        ]
    workers.close()
    assert sorted(encoded) == [("fused", 0), ("fused", 1), ("mask", 0), ("mask", 1)]


async def test_viewers_that_ask_no_more_want_nothing() -> None:
    now = [100.0]
    workers = Workers(1, "viewer")
    feed = PageFeed(workers, lambda: now[0])
    workers.close()
    hidden, shown = object(), object()
    feed.request(hidden, requested_parts("next counts mask"))
    now[0] += IDLE_S
    feed.request(shown, requested_parts("next fused"))
    assert feed.wanted == {"fused"}
    feed.leave(shown)
    assert feed.wanted == set()
    assert requested_parts("next") == ENCODERS.keys()
    for words in ("", "more", "next heat"):
        with pytest.raises(ValueError, match="fused"):
            requested_parts(words)
