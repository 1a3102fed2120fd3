"""The client speaks to a real server; what only a busy one does is played to it."""

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import SecretStr

from segmif.classes import MFNET, overlay
from segmif.client import Answer, AsyncClient, Client, ServiceError, StampedPair, pack
from segmif.imaging import codecs
from segmif.runtime import open_runtime
from segmif.wire.binary_pair import RGB8, Y8, RawAnswer
from service.settings import Settings
from tests.conftest import UNSURE
from tests.service.conftest import Serve, open_regions

Bytes = NDArray[np.uint8]


def frames(seed: int = 0) -> tuple[Bytes, Bytes]:
    random = np.random.default_rng(seed)
    return (
        random.integers(0, 256, (48, 60, 3), np.uint8),
        random.integers(0, 256, (48, 60), np.uint8),
    )


def assert_right(answer: Answer, visible: Bytes, infrared: Bytes) -> None:
    np.testing.assert_array_equal(answer.fused, visible)
    np.testing.assert_array_equal(answer.labels, np.where(infrared > 200, 2, 0))
    assert answer.report["variant"] == "nano"


def test_arrays_bytes_and_paths_are_answered_alike(client: httpx.Client, tmp_path: Path) -> None:
    visible, infrared = frames()
    path = tmp_path / "visible.png"
    codecs.write_png(path, visible)
    with Client(str(client.base_url)) as ours:
        assert_right(ours.fuse(visible, infrared), visible, infrared)
        for given in (path, str(path)):
            assert_right(ours.fuse(given, codecs.encode_png(infrared)), visible, infrared)


def test_refusals_are_raised_with_the_services_words(client: httpx.Client) -> None:
    visible, infrared = frames()
    with Client(str(client.base_url)) as ours:
        with pytest.raises(ServiceError, match=r"415|400|422") as caught:
            ours.fuse(b"no picture", infrared)
        assert caught.value.problem["detail"]
        with pytest.raises(ServiceError, match="depth_m"):
            ours.fuse(visible, infrared, depth_m="far")
    with pytest.raises(ValueError, match=r"infrared is float64"):
        pack(visible, infrared.astype(float))
    with pytest.raises(ValueError, match=r"infrared is a list: expected an array"):
        pack(visible, infrared.tolist())


def test_counts_of_either_byte_order_are_the_same() -> None:
    visible, infrared = frames()
    counts = infrared.astype(np.uint16) * 100
    assert pack(visible, counts.astype(">u2")) == pack(visible, counts)


def test_a_sensor_that_gives_no_frame_is_left_out(client: httpx.Client) -> None:
    visible, _ = frames()
    with Client(str(client.base_url)) as ours:
        answer = ours.fuse(visible, None)
    np.testing.assert_array_equal(answer.fused, visible)
    assert answer.report["pair"]["sensors"] == ["visible"]
    assert answer.report["pair"]["flags"] == ["infrared_missing"]


def test_token_is_sent(stand_in_weights: Path, serve: Serve) -> None:
    settings = Settings(weights=stand_in_weights, token=SecretStr("secret"))
    with serve(settings, open_runtime(stand_in_weights, threads=1)) as http:
        url = str(http.base_url)
        with Client(url, token="secret") as ours:
            assert_right(ours.fuse(*frames()), *frames())
        with Client(url) as stranger, pytest.raises(ServiceError, match="401"):
            stranger.fuse(*frames())


def test_pixels_may_lie_in_shared_memory(stand_in_weights: Path, serve: Serve) -> None:
    there = open_regions()
    settings = Settings(weights=stand_in_weights, shared_memory=True)
    with (
        serve(settings, open_runtime(stand_in_weights, threads=1)) as http,
        Client(str(http.base_url), shared_memory=True) as ours,
    ):

        def ask(seed: int) -> None:
            assert_right(ours.fuse(*frames(seed)), *frames(seed))

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(ask, range(12)))
        regions = open_regions() - there
        assert 1 <= len(regions) <= 4  # they are used again
        for region in regions:  # as the service takes those that nobody uses
            assert http.delete(f"/shared-memory/{region.name.removeprefix('segmif-')}").is_success
        large = [np.repeat(np.repeat(frame, 2, 0), 2, 1) for frame in frames()]
        answer = ours.fuse(*large, confidence=True)
        assert_right(answer, *large)
        assert answer.confidence is not None and set(answer.confidence.ravel()) == {UNSURE, 255}
        assert_right(ours.fuse(codecs.encode_png(frames()[0]), frames()[1]), *frames())
        with pytest.raises(ServiceError, match="depth_m"):
            ours.fuse(*frames(), depth_m="far")
        last = open_regions() - there
    assert open_regions() == there and not [each for each in regions | last if each.exists()]


RETURNED = {
    "overlay": {"overlay"},
    "mask": {"mask"},
    "fused,mask": {"fused", "mask"},
    "mask,overlay,confidence": {"mask", "overlay", "confidence"},
}


@pytest.mark.parametrize("shared_memory", [False, True], ids=["http", "shared memory"])
@pytest.mark.anyio
async def test_an_answer_holds_the_pictures_that_were_asked_for(
    stand_in_weights: Path, serve: Serve, shared_memory: bool
) -> None:
    async def pairs() -> AsyncIterator[tuple[Bytes, Bytes]]:
        yield frames()

    (visible, infrared), answers = frames(), []
    settings = Settings(weights=stand_in_weights, shared_memory=shared_memory)
    with serve(settings, open_runtime(stand_in_weights, threads=1)) as http:
        url = str(http.base_url)
        for returned in RETURNED:
            query: dict[str, Any] = {"return": returned}
            with Client(url, shared_memory=shared_memory) as ours:
                answers.append((returned, ours.fuse(visible, infrared, **query)))
            async with AsyncClient(url, shared_memory=shared_memory) as theirs:
                answers.append((returned, await theirs.fuse(visible, infrared, **query)))
                async for answer in theirs.stream(pairs(), **query):
                    assert isinstance(answer, Answer)
                    answers.append((returned, answer))
    assert len(answers) == 3 * len(RETURNED)
    labels = np.where(infrared > 200, 2, 0).astype(np.uint8)
    expected = {"fused": visible, "mask": labels, "overlay": overlay(visible, labels, MFNET)}
    for returned, answer in answers:
        assert set(answer.pictures) == RETURNED[returned]
        for view in RETURNED[returned] - {"confidence"}:
            np.testing.assert_array_equal(answer.pictures[view], expected[view])
        assert (answer.confidence is not None) == ("confidence" in returned)
        if "fused" not in returned:
            with pytest.raises(AttributeError, match=r"ask for fused by return=.*,fused"):
                assert answer.fused is None


def test_a_picture_beside_confidence_and_what_cannot_come_as_arrays(client: httpx.Client) -> None:
    visible, infrared = frames()
    overlaid: dict[str, Any] = {"return": "overlay"}
    both: dict[str, Any] = {"return": "fused,overlay"}
    with Client(str(client.base_url)) as ours:
        answer = ours.fuse(visible, infrared, confidence=True, **overlaid)
        assert set(answer.pictures) == {"overlay", "confidence"}
        with pytest.raises(ServiceError, match="406"):
            ours.fuse(visible, infrared, **both)
        with pytest.raises(ValueError, match="the client gives arrays, which come raw"):
            ours.fuse(visible, infrared, picture="jpeg")


def test_shared_memory_must_be_allowed(client: httpx.Client) -> None:
    with (
        Client(str(client.base_url), shared_memory=True) as ours,
        pytest.raises(ServiceError, match="404"),
    ):
        ours.fuse(*frames())


def answering(*statuses: int) -> tuple[httpx.MockTransport, list[int]]:
    """A service that answers with these statuses in turn, and how many were asked for."""
    asked: list[int] = []
    good = RawAnswer(
        width=1,
        height=1,
        picture_format=RGB8,
        picture=b"abc",
        labels_format=Y8,
        labels=b"\0",
        report=b"{}",
    )

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(statuses[len(asked)])
        if asked[-1] == 200:
            return httpx.Response(200, content=good.to_bytes())
        headers = {"Retry-After": "0"} if asked[-1] == 503 else {}
        return httpx.Response(asked[-1], headers=headers, json={"detail": "busy"})

    return httpx.MockTransport(answer), asked


def test_a_busy_service_is_asked_again_when_it_says() -> None:
    transport, asked = answering(503, 503, 200)
    with Client(transport=transport) as ours:
        assert ours.fuse(*frames()).fused.tolist() == [[[97, 98, 99]]]
    assert asked == [503, 503, 200]


def test_it_gives_up_after_its_attempts_and_never_repeats_a_failure() -> None:
    transport, asked = answering(503, 503, 503)
    with Client(transport=transport) as ours, pytest.raises(ServiceError) as caught:
        ours.fuse(*frames())
    assert asked == [503, 503, 503] and caught.value.retry_after_s == 0
    transport, asked = answering(500)
    with Client(transport=transport) as ours, pytest.raises(ServiceError, match="500: busy"):
        ours.fuse(*frames())


@pytest.mark.anyio
async def test_shared_memory_for_asyncio(stand_in_weights: Path, serve: Serve) -> None:
    there = open_regions()
    settings = Settings(weights=stand_in_weights, shared_memory=True)
    with serve(settings, open_runtime(stand_in_weights, threads=1)) as http:
        async with AsyncClient(str(http.base_url), shared_memory=True) as ours:
            assert_right(await ours.fuse(*frames()), *frames())
            made = open_regions() - there
            assert len(made) == 1
    assert open_regions() == there and not any(each.exists() for each in made)


@pytest.mark.anyio
async def test_pairs_of_a_stream_say_when_they_were_taken(client: httpx.Client) -> None:
    async def pairs() -> AsyncIterator[StampedPair]:
        for late_ns in (1_000_000, 90_000_000):
            yield *frames(late_ns), 5, 5 + late_ns

    async with AsyncClient(str(client.base_url)) as ours:
        answers = [answer async for answer in ours.stream(pairs(), live="false")]
    for answer, skew in zip(answers, ("within", "beyond"), strict=True):
        assert isinstance(answer, Answer) and answer.visible_ns == 5
        assert answer.report["pair"]["skew"] == skew


@pytest.mark.anyio
async def test_streams_answer_every_pair_in_order_and_go_on_after_a_bad_one(
    client: httpx.Client,
) -> None:
    async def pairs() -> AsyncIterator[tuple[Bytes | bytes, Bytes]]:
        for seed in range(6):
            visible, infrared = frames(seed)
            yield (b"broken" if seed == 2 else visible), infrared

    async with AsyncClient(str(client.base_url)) as ours:
        assert_right(await ours.fuse(*frames(9)), *frames(9))
        answers = [answer async for answer in ours.stream(pairs(), live="false")]
    assert len(answers) == 6
    for seed, answer in enumerate(answers):
        if seed == 2:
            assert isinstance(answer, ServiceError)
        else:
            assert isinstance(answer, Answer) and answer.sequence == seed
            assert_right(answer, *frames(seed))


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (502, "text/html", b"<html>Bad Gateway</html>"),
        (200, "text/html; charset=utf-8", b"<html>Log in</html>"),
        (200, "application/json", b"{}"),
        (503, "application/problem+json", b"[]"),
        (301, "text/html", b""),
    ],
)
def test_what_a_proxy_answers_is_told_as_that(status: int, kind: str, body: bytes) -> None:
    def proxy(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers={"Content-Type": kind}, content=body)

    there = Client("http://rig.example", attempts=1, transport=httpx.MockTransport(proxy))
    with there as service, pytest.raises(ServiceError) as refused:
        service.fuse(*frames())
    assert refused.value.status == status
    assert "not the service's; perhaps a proxy's" in str(refused.value)
