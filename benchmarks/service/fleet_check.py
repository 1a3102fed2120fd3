"""
The simulation of a fleet against real services at 30, 60 and 85 % of what they can bear.

    python -m benchmarks.service.fleet_check --out benchmarks/results/service_fleet.json

One service, then two, each on a core of its own with a network of one thread. A closed loop finds
what they bear. Then rigs send at the moments that the simulation draws. The simulation gets these
moments and the times of the stages, nothing else.

The times of the stages are those of the run's own answers, in their order. Times from before the
run will not do, as the speed of a shared host drifts (docs/scale.md has the numbers).

It needs a quiet machine of two cores for 12 minutes. What it says of a busy one means nothing.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import takewhile
from pathlib import Path
from statistics import fmean, median
from typing import Any

import httpx

from segmif.argument_types import FloatRange, IntegerRange
from segmif.client.http import pack
from segmif.imaging import codecs
from segmif.wire.binary_pair import RawAnswer
from segmif.wire.media_types import RAW

from ..results_file import save
from .fleet import WARM_SHARE, Fleet, Seen, Stages, arrivals, simulate
from .servers import SAMPLE, Server, our_service

LOADS = (0.30, 0.60, 0.85)  # of the capacity
RIGS = 4  # of each replica
CLOSED_CLIENTS = 4  # of each replica
WITHIN = {"p50_ms": 0.15, "p95_ms": 0.30}  # how far the simulation may be off
PATH = "/fuse-segment?return=mask"
BODY = pack(
    codecs.read_visible(SAMPLE / "visible.png"), codecs.read_infrared(SAMPLE / "infrared.png")
)
RAW_BOTH_WAYS = {"Content-Type": RAW, "Accept": RAW}


def main() -> None:
    """Measure, compare, print and write the numbers to the file of --out."""
    args = parser().parse_args()
    rows = [row for count in args.replicas for row in asyncio.run(compared(count, args))]
    for row in rows:
        print(said(row), file=sys.stderr)
    found = {"rigs": RIGS, "seconds": args.seconds, "rows": rows}
    save(found | {"all_within": all(row["within"] for row in rows)}, args.out)


async def compared(count: int, args: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each load on so many replicas."""
    with ExitStack() as opened:
        servers = [opened.enter_context(on_core(core)) for core in range(count)]
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(timeout=60, limits=limits) as client:
            await sustained(client, servers, 2)  # so that nothing is cold
            capacity = await sustained(client, servers, args.capacity_s)
            rows = []
            for load in LOADS:
                rate = load * capacity / (RIGS * count)
                fleet = Fleet(RIGS * count, rate, count, spread_evenly=True)
                runs = [
                    await both(client, servers, fleet, seed, args.seconds)
                    for seed in range(args.runs)
                ]
                rows.append(row_of(count, load, capacity, runs))
    return rows


@contextmanager
def on_core(core: int) -> Iterator[Server]:
    """A service that has this core of the machine alone, as far as services go."""
    mine = os.sched_getaffinity(0)
    cores = sorted(mine, reverse=True)  # the first core has the machine's interrupts
    os.sched_setaffinity(0, {cores[core % len(cores)]})
    with ExitStack() as opened:
        try:
            server = opened.enter_context(our_service())
        finally:
            os.sched_setaffinity(0, mine)
        yield server


async def ask(client: httpx.AsyncClient, server: Server) -> RawAnswer | None:
    """The answer to a raw pair; None if it was refused."""
    answer = await client.post(f"{server.url}{PATH}", content=BODY, headers=RAW_BOTH_WAYS)
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        return None
    return RawAnswer.from_bytes(answer.raise_for_status().content)


async def sustained(client: httpx.AsyncClient, servers: Sequence[Server], seconds: float) -> float:
    """Pairs a second of a few clients of each that send the next pair after an answer."""
    answered, until = 0, time.perf_counter() + seconds

    async def keep_asking(server: Server) -> None:
        nonlocal answered
        while time.perf_counter() < until:
            answer = await ask(client, server)
            answered += answer is not None  # read after the wait: other clients count meanwhile

    start = time.perf_counter()
    await asyncio.gather(*(keep_asking(each) for each in servers for _ in range(CLOSED_CLIENTS)))
    return answered / (time.perf_counter() - start)


async def both(
    client: httpx.AsyncClient,
    servers: Sequence[Server],
    fleet: Fleet,
    seed: int,
    seconds: float,
) -> dict[str, dict[str, float | None]]:
    """The same moments for the services and for the simulation; means of the stages."""
    seen, stages, end_ms = Seen(), Stages([], [], []), seconds * 1000
    start = time.perf_counter()

    async def rig(number: int) -> None:
        server, sent = servers[number % len(servers)], []
        for at_ms in takewhile(lambda at: at < end_ms, arrivals(fleet, number, seed)):
            await asyncio.sleep(max(0.0, start + at_ms / 1000 - time.perf_counter()))
            sent.append(asyncio.create_task(pair(server, at_ms)))
        await asyncio.gather(*sent)

    async def pair(server: Server, at_ms: float) -> None:
        answer = await ask(client, server)
        delay_ms = (time.perf_counter() - start) * 1000 - at_ms
        counts = at_ms >= WARM_SHARE * end_ms
        if answer is None:
            seen.refused += counts
            return
        times = json.loads(answer.report)["times_ms"]
        stages.infer_ms.append(times["infer"])
        stages.after_ms.append(times["encode"])
        stages.before_ms.append(
            delay_ms - sum(times[name] for name in ("queue", "infer", "encode"))
        )
        if counts:
            seen.delays_ms.append(delay_ms)

    await asyncio.gather(*(rig(number) for number in range(fleet.rigs)))
    simulated = simulate(fleet, stages, seconds, seed)
    means = {name: fmean(values) for name, values in vars(stages).items() if name != "further"}
    return {"real": seen.summary(), "simulated": simulated.summary(), "stages": means}


def row_of(count: int, load: float, capacity: float, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of the runs, how far the simulation is off, and all runs."""
    row: dict[str, Any] = {
        "replicas": count,
        "load": load,
        "capacity": capacity,
        "within": True,
        "runs": runs,
    }
    if not all(run[side]["p50_ms"] for run in runs for side in ("real", "simulated")):
        raise SystemExit(f"a run has no answer at {capacity:.2g} pairs/s: give more --seconds")
    for name, bound in WITHIN.items():
        real, simulated = (
            median(run[side][name] for run in runs) for side in ("real", "simulated")
        )
        row[name] = {"real": real, "simulated": simulated, "off": simulated / real - 1}
        row["within"] &= abs(simulated / real - 1) <= bound
    return row


def said(row: dict[str, Any]) -> str:
    """A row in words: medians, and least and most of the real runs."""
    text = f"{row['replicas']} replicas, {row['load']:.0%} of {row['capacity']:.1f} pairs/s: "
    for name in WITHIN:
        real = [run["real"][name] for run in row["runs"]]
        text += (
            f"{name} {row[name]['real']:.0f} ({min(real):.0f} to {max(real):.0f}), simulated "
            f"{row[name]['simulated']:.0f} ({row[name]['off']:+.0%}); "
        )
    return text + ("within" if row["within"] else "MISSED")


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicas", type=IntegerRange(1, 256), nargs="+", default=[1, 2])
    parser.add_argument("--runs", type=IntegerRange(1, 1000), default=5, help="at each load")
    parser.add_argument("--seconds", type=FloatRange(2, 3600), default=18.0, help="of a run")
    parser.add_argument("--capacity-s", type=FloatRange(1, 3600), default=6.0)
    parser.add_argument("--out", type=Path, help="file for the numbers")
    return parser


if __name__ == "__main__":
    main()
