"""Clients share the service: who asks for little is answered, whatever others ask for."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from anyio import create_task_group
from websockets.sync.client import connect

from segmif.client import pack
from segmif.geometry.rig import write_rig
from segmif.runtime import Runtime, open_runtime
from segmif.wire.binary_pair import RawAnswer
from service.memory.budget import client_key
from service.pipeline.align import RigAligner
from service.settings import Settings
from tests.service.api.test_rig import two_cameras
from tests.service.scheduler.test_batching import HELD, Gate, Rig, number_of, pair
from tests.service.server.test_safety import unharmed

Serve = Callable[..., AbstractContextManager[httpx.Client]]
GREEDY, ASKED, BETWEEN = 8, 10, 14
RAMP = np.tile(np.arange(64, dtype=np.uint8), (64, 1))
FRAMES = np.dstack([RAMP + 20] * 3), RAMP


@asynccontextmanager
async def client_at(address: str, url: httpx.URL) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.AsyncHTTPTransport(local_address=address)
    async with httpx.AsyncClient(base_url=url, transport=transport, timeout=20) as client:
        yield client


@pytest.mark.anyio
async def test_greedy_clients_leave_a_polite_one_its_answers(
    serve: Serve, stand_in_weights: Path
) -> None:
    """Many addresses ask without a pause, and again at once if refused; one asks now and then."""
    settings = Settings(weights=stand_in_weights, max_pending=4)
    answered, enough = 0, asyncio.Event()
    told: list[int] = []

    async def ask_always(url: httpx.URL, number: int) -> None:
        nonlocal answered
        async with client_at(f"127.0.1.{number}", url) as client:
            while not enough.is_set():
                answer = await client.post("/fuse-segment?return=mask", files=pair(1))
                answered += answer.status_code == 200
                await asyncio.sleep(0.03)

    async def ask_sometimes(url: httpx.URL) -> None:
        async with client_at("127.0.0.2", url) as client:
            for _ in range(ASKED):
                until = answered + BETWEEN  # less than what its share would be
                while answered < until:  # noqa: ASYNC110  it is a number that others raise
                    await asyncio.sleep(0.01)
                answer = await client.post("/fuse-segment?return=mask", files=pair(1))
                told.append(answer.status_code)
        enough.set()

    with serve(settings, open_runtime(stand_in_weights, threads=1)) as client:
        url = client.base_url
        async with create_task_group() as tasks:
            for number in range(1, GREEDY + 1):
                tasks.start_soon(ask_always, url, number)
            tasks.start_soon(ask_sometimes, url)
        unharmed(client)
    assert told.count(200) >= 0.9 * ASKED, told


@pytest.fixture
def held(serve: Serve, stand_in_weights: Path) -> Any:
    @asynccontextmanager
    async def opened(**settings: int) -> AsyncIterator[tuple[Rig, httpx.AsyncClient]]:
        gate = Gate(open_runtime(stand_in_weights, threads=1), 1)
        chosen = Settings.model_validate({"weights": stand_in_weights} | settings)
        with serve(chosen, gate) as client:
            async with (
                client_at("127.0.0.1", client.base_url) as greedy,
                client_at("127.0.0.2", client.base_url) as polite,
            ):
                try:
                    yield Rig(gate, greedy), polite
                finally:
                    gate.opened.set()

    return opened


@pytest.mark.anyio
async def test_the_network_takes_one_pair_of_each_client_then_the_next(held: Any) -> None:
    async with held() as (it, polite):
        first = await it.hold()
        many = await it.queue(*range(6), stream="rig")
        few = await Rig(it.gate, polite).queue(50, 51)
        it.gate.opened.set()
        answers = await asyncio.gather(first, *many, *few)
        assert [number_of(answer) for answer in answers] == [HELD, *range(6), 50, 51]
    served = [number for batch in it.gate.batches for number in batch]
    assert served.index(50) <= 2 and served.index(51) <= 4, served
    assert [number for number in served if number < 6] == list(range(6))  # a stream's order


@pytest.mark.anyio
async def test_who_has_many_pairs_gives_way_if_the_line_is_full(held: Any) -> None:
    async with held(max_pending=4) as (it, polite):
        first = await it.hold()
        many = await it.queue(1, 2, 3)
        refused = await it.post(4)
        assert (refused.status_code, refused.json()["kind"]) == (503, "busy")
        other = Rig(it.gate, polite).post(50)
        gone = await many[2]
        assert (gone.status_code, gone.json()["kind"]) == (503, "busy")
        assert int(gone.headers["retry-after"]) >= 1
        it.gate.opened.set()
        answers = await asyncio.gather(first, *many[:2], other)
        assert [number_of(answer) for answer in answers] == [HELD, 1, 2, 50]
        await it.until("segmif_pending", 0)


@pytest.mark.anyio
async def test_a_flood_that_has_just_come_takes_no_place_of_a_client_with_one_pair(
    held: Any,
) -> None:
    async with held(max_pending=4) as (it, polite):
        await it.until("segmif_ready", 1)
        asked_before = [await Rig(it.gate, polite).post(number) for number in range(6)]
        assert {answer.status_code for answer in asked_before} == {200}
        first = await it.hold()
        many = await it.queue(1, 2, 3)
        asked = Rig(it.gate, polite).post(50)
        assert (await many[2]).status_code == 503
        assert (await it.post(4)).status_code == 503
        it.gate.opened.set()
        answers = await asyncio.gather(first, *many[:2], asked)
        assert [number_of(answer) for answer in answers] == [HELD, 1, 2, 50]


@pytest.mark.anyio
async def test_a_deadline_is_judged_by_the_pairs_that_come_before(held: Any) -> None:
    async with held(max_pending=20) as (it, polite):
        first = await it.hold()
        many = await it.queue(*range(14))  # at 100 ms for each, as long as nothing is known
        asked = Rig(it.gate, polite).post(50, deadline_ms=1400)
        await it.until("segmif_queue_depth", 15)
        refused = await it.post(51, deadline_ms=1400)
        assert (refused.status_code, refused.json()["kind"]) == (503, "cannot_finish")
        it.gate.opened.set()
        await asyncio.gather(first, *many, asked)


@contextmanager
def blocked(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[threading.Semaphore]:
    """Have a function of the service wait; the semaphore counts those that do."""
    module, attribute = name.rsplit(".", 1)
    usual = getattr(__import__(module, fromlist=[attribute]), attribute)
    open_again, begun = threading.Event(), threading.Semaphore(0)

    def wait(*arguments: Any, **named: Any) -> Any:
        begun.release()
        assert open_again.wait(20)
        return usual(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(name, wait)
        try:
            yield begun
        finally:
            open_again.set()


def ask_in_threads(
    client: httpx.Client, count: int, query: dict[str, Any]
) -> tuple[list[threading.Thread], list[int]]:
    told: list[int] = []

    def ask() -> None:
        told.append(client.post("/fuse-segment", files=pair(1, 64), params=query).status_code)

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, told


def test_pairs_that_order_much_work_keep_no_other_waiting(
    serve: Serve, stand_in_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(weights=stand_in_weights, max_heavy_pending=3, shared_memory=True)
    with serve(settings, open_runtime(stand_in_weights, threads=1)) as client:
        with blocked(monkeypatch, "service.pipeline.prepare.refine") as begun:
            threads, told = ask_in_threads(client, 3, {"refine": True})
            assert begun.acquire(timeout=20)
            while "segmif_heavy_pending 3.0" not in client.get("/metrics").text:
                pass
            for query, expected in (({}, (200, "ok")), ({"refine": True}, (503, "busy"))):
                for status, kind, retry in answers_of_all_entries(client, query):
                    assert (status, kind) == expected and retry == (status == 503)
        for thread in threads:
            thread.join(20)
        assert told == [200, 200, 200]


def answers_of_all_entries(
    client: httpx.Client, query: dict[str, Any]
) -> Iterator[tuple[int, str, bool]]:
    """Status, kind and whether it says when to come again: of every way to ask for a pair."""
    message = pack(*FRAMES)
    octets = {"Content-Type": "application/octet-stream"}
    made = client.post("/shared-memory", params={"bytes": 30_000}).json()
    region = f"/shared-memory/{made['id']}"
    Path("/dev/shm", made["name"]).write_bytes(message[64:])
    tensors = [
        triton.InferInput("visible", [1, 64, 64, 3], "UINT8"),
        triton.InferInput("infrared", [1, 64, 64], "UINT8"),
    ]
    for tensor, frame in zip(tensors, FRAMES, strict=True):
        tensor.set_data_from_numpy(frame[None])
    body, length = triton.InferenceServerClient.generate_request_body(tensors, parameters=query)
    model = client.get("/metrics").text.partition('variant="')[2].partition('"')[0]
    for answer in (
        client.post("/fuse-segment", files=pair(1, 64), params=query),
        client.post("/fuse-segment", content=message, headers=octets, params=query),
        client.post(f"{region}/fuse-segment", content=message[:64], params=query),
        client.post(
            f"/v2/models/{model}/infer",
            content=body,
            headers={"Inference-Header-Content-Length": str(length)},
        ),
    ):
        kind = answer.json()["kind"] if answer.status_code != 200 else "ok"
        yield answer.status_code, kind, "retry-after" in answer.headers
    client.delete(region)
    asked = "&".join(f"{name}={str(value).lower()}" for name, value in query.items())
    url = str(client.base_url).replace("http", "ws").rstrip("/") + f"/stream?{asked}"
    with connect(url) as socket:
        socket.send(message)
        told = socket.recv()
        assert isinstance(told, bytes)
        answered = RawAnswer.from_bytes(told)
        kind = "ok" if answered.status == 200 else json.loads(answered.report)["kind"]
        yield answered.status, kind, answered.status == 503


def test_depths_of_requests_keep_no_other_waiting(
    serve: Serve, stand_in_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rig(tmp_path / "rig.yaml", two_cameras())
    rig_aligner = RigAligner(tmp_path / "rig.yaml", np.inf)
    settings = Settings(weights=stand_in_weights, max_heavy_pending=2)
    visible = np.full((64, 96, 3), 90, np.uint8)
    visible[::2] = 110
    message = pack(visible, np.ascontiguousarray(RAMP[:32, :48] * 3))

    def ask(**query: float) -> int:
        octets = {"Content-Type": "application/octet-stream"}
        return client.post(
            "/fuse-segment", content=message, headers=octets, params=query
        ).status_code

    runtime: Runtime = open_runtime(stand_in_weights, threads=1)
    with serve(settings, runtime, rig_aligner) as client:
        assert ask(depth_m=5) == 200
        for depth_m in range(20, 26):  # they push nothing out that is in use
            assert ask(depth_m=depth_m) == 200
        with blocked(monkeypatch, "service.pipeline.align.align") as begun:
            threads = [threading.Thread(target=ask, kwargs={"depth_m": 7 + n}) for n in range(2)]
            for thread in threads:
                thread.start()
            assert begun.acquire(timeout=20)
            while "segmif_heavy_pending 2.0" not in client.get("/metrics").text:
                pass
            assert [ask(), ask(depth_m=5), ask(depth_m=8)] == [200, 200, 503]
        for thread in threads:
            thread.join(20)


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::9", "2001:db8:1:2::"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::"),
        ("unknown", "unknown"),
    ],
)
def test_a_client_is_an_address_or_its_network(address: str, key: str) -> None:
    assert client_key(address) == key
