"""
A service at twice its sustainable rate: goodput, latency of answers, and refusals.

    python -m benchmarks.service.overload --out benchmarks/results/service_overload.json

First a closed loop of a few clients finds the sustainable rate. Then pairs with a deadline come at
a multiple of it, in an open loop. Probes come from another process, as they would wait for the
event loop of the load.
"""

import argparse
import asyncio
import multiprocessing
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import httpx

from benchmarks.results_file import save
from benchmarks.service.servers import SAMPLE, our_service
from segmif.argument_types import FloatRange

CLOSED_CLIENTS = 4
PROBE_EVERY_S = 0.1
FILES = {name: (SAMPLE / f"{name}.png").read_bytes() for name in ("visible", "infrared")}


@dataclass
class Seen:
    """How requests ended."""

    outcomes: Counter[str] = field(default_factory=Counter)
    answered_ms: list[float] = field(default_factory=list)
    refused_ms: list[float] = field(default_factory=list)
    without_retry_after: int = 0

    def note(self, answer: httpx.Response, ms: float) -> None:
        if answer.status_code == httpx.codes.OK:
            self.outcomes["answered"] += 1
            self.answered_ms.append(ms)
            return
        self.outcomes[str(answer.json().get("kind"))] += 1
        self.refused_ms.append(ms)
        self.without_retry_after += "retry-after" not in answer.headers


async def post(client: httpx.AsyncClient, deadline_ms: float | None, seen: Seen) -> None:
    headers = {} if deadline_ms is None else {"X-Deadline-Ms": f"{deadline_ms:.0f}"}
    start = time.perf_counter()
    answer = await client.post("/fuse-segment?return=mask", files=FILES, headers=headers)
    seen.note(answer, (time.perf_counter() - start) * 1000)


async def sustain(client: httpx.AsyncClient, seconds: float) -> float:
    """Pairs a second of a few clients that each send the next pair after an answer."""
    seen, until = Seen(), time.perf_counter() + seconds

    async def ask() -> None:
        while time.perf_counter() < until:
            await post(client, None, seen)

    await asyncio.gather(*(ask() for _ in range(CLOSED_CLIENTS)))
    return seen.outcomes["answered"] / seconds


async def overload(
    client: httpx.AsyncClient, rate: float, seconds: float, deadline_ms: float
) -> Seen:
    """Send `rate` pairs a second, whatever the answers."""
    seen, tasks, start = Seen(), [], time.perf_counter()
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(post(client, deadline_ms, seen)))
    await asyncio.gather(*tasks)
    return seen


def probe(url: str, pipe: Connection) -> None:
    """Probe `/livez` until a message comes through `pipe`; sends back the latencies in ms."""
    taken_ms = []
    with httpx.Client(base_url=url) as client:
        while not pipe.poll(PROBE_EVERY_S):
            start = time.perf_counter()
            client.get("/livez").raise_for_status()
            taken_ms.append((time.perf_counter() - start) * 1000)
    pipe.send(taken_ms)


def percentile(values: list[float], percent: float) -> float | None:
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * percent / 100))] if ranked else None


async def story(url: str, chosen: argparse.Namespace) -> dict[str, object]:
    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
        await sustain(client, 3)  # so that nothing is cold
        before = await sustain(client, chosen.seconds / 4)
        rate = chosen.times * before
        here, there = multiprocessing.Pipe()
        prober = multiprocessing.get_context("spawn").Process(target=probe, args=(url, there))
        prober.start()
        await asyncio.sleep(2)  # until it has begun
        seen = await overload(client, rate, chosen.seconds, chosen.deadline_ms)
        here.send("stop")
        livez_ms: list[float] = here.recv()
        prober.join()
        after = await sustain(client, chosen.seconds / 4)
    late = sum(ms > chosen.deadline_ms for ms in seen.answered_ms)
    goodput = (seen.outcomes["answered"] - late) / chosen.seconds
    return {
        "sustainable_before": before,
        "sustainable_after": after,
        "offered": rate,
        "goodput": goodput,
        "goodput_over_sustainable": goodput / max(before, after),
        "outcomes": dict(seen.outcomes),
        "deadline_ms": chosen.deadline_ms,
        "answered_ms": {p: percentile(seen.answered_ms, p) for p in (50, 90, 99, 100)},
        "answered_late": late,
        "refused_ms": {p: percentile(seen.refused_ms, p) for p in (50, 99)},
        "refused_without_retry_after": seen.without_retry_after,
        "livez_ms": {p: percentile(livez_ms, p) for p in (50, 99, 100)} | {"probes": len(livez_ms)},
    }


def main() -> int:
    """Start a service, overload it and save the result."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    options.add_argument("--seconds", type=FloatRange(1), default=60)
    options.add_argument(
        "--times", type=FloatRange(0.01), default=2.0, help="the sustainable rate (2)"
    )
    options.add_argument("--deadline-ms", type=FloatRange(1), default=1000)
    options.add_argument("--out", type=Path)
    chosen = options.parse_args()
    with our_service() as service:
        found = asyncio.run(story(service.url, chosen))
    save(found, chosen.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
