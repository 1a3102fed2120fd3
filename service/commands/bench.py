"""
`python -m service bench`: how many pairs a second a running service takes, and how late.

Closed loop: each client sends its next pair once the last is answered. Open loop: pairs come at a
camera's rate, whatever becomes of those before. A number counts once three windows in a row agree.
"""

import argparse
import asyncio
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import httpx

from segmif import folders
from segmif.argument_types import FloatRange, IntegerRange
from segmif.client import AsyncClient, ServiceError
from segmif.files import TABLE_BYTES, read_frame, write_text
from segmif.machine import command, fingerprint
from segmif.parsing import parse_json

STEADY = 3  # windows in a row that must agree
AGREE = 0.1  # how far each of them may be from their mean
MOST = 12  # windows until it is called unsteady
PERCENTILES = (50, 95, 99)
LEAST = 1e-3  # pairs a second of a load, and seconds of a window

Pair = tuple[bytes, bytes]
Ask = Callable[[Pair], Awaitable["Asked"]]


@dataclass(frozen=True)
class Load:
    """The load of the service: `clients` in a closed loop, or `rate` pairs a second."""

    clients: int | None = None
    rate: float | None = None

    def __str__(self) -> str:
        return f"{self.clients} clients" if self.clients else f"{self.rate:g} pairs/s offered"


@dataclass(frozen=True)
class Asked:
    """One request: its outcome, its time, and those of its stages as the service reports them."""

    outcome: str  # answered, or the kind of problem
    ms: float
    stages_ms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Window:
    """Some seconds of a load."""

    pairs_a_second: float  # answered
    ms: dict[str, float]  # percentile -> of the answered
    stages_ms: dict[str, float]  # means; `send` is all that the service does not account for
    outcomes: dict[str, int]

    @classmethod
    def of(cls, asked: Sequence[Asked], seconds: float) -> "Window":
        """What the requests of a window come to."""
        answered = [each for each in asked if each.outcome == "answered"]
        times = sorted(each.ms for each in answered)
        stages = sorted({name for each in answered for name in each.stages_ms})
        means = {name: fmean(each.stages_ms.get(name, 0.0) for each in answered) for name in stages}
        if answered:
            means["send"] = fmean(times) - sum(means.values())
        return cls(
            len(answered) / seconds,
            {f"p{p}": times[math.ceil(len(times) * p / 100) - 1] for p in PERCENTILES if times},
            means,
            dict(Counter(each.outcome for each in asked)),
        )


def parser(prog: str) -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="of the service")
    parser.add_argument("--token", help="that the service wants")
    parser.add_argument("--visible", type=Path, required=True, help="folder of frames to send")
    parser.add_argument("--infrared", type=Path, required=True, help="those of the same names")
    folders.add_arguments(parser)
    loads = parser.add_mutually_exclusive_group()
    loads.add_argument(
        "--clients", type=IntegerRange(1), nargs="+", help="closed loop; several: one by one"
    )
    loads.add_argument(
        "--rate", type=FloatRange(LEAST), nargs="+", help="open loop, pairs/s; a ramp: several"
    )
    parser.add_argument(
        "--window-s", type=FloatRange(LEAST), default=5.0, help="seconds of a window (5)"
    )
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--against", type=Path, help="numbers of an earlier run to compare with")
    return parser


def main(arguments: Sequence[str], prog: str = "python -m service bench") -> int:
    """Measure; gives the exit code: 0 done, 1 a load never became steady, 2 nothing to measure."""
    args = parser(prog).parse_args(arguments)
    try:
        return bench(args)
    except (httpx.HTTPError, OSError, ValueError) as error:
        print(f"{args.url}: {error or type(error).__name__}", file=sys.stderr)
        return 2


def bench(args: argparse.Namespace) -> int:
    """Runs each load, prints and writes its results."""
    pairs = read_pairs(args.visible, args.infrared, folders.pairing_of(args))
    earlier = read_earlier(args.against) if args.against else {}
    if args.rate:
        loads = [Load(rate=rate) for rate in args.rate]
    else:
        loads = [Load(clients=clients) for clients in args.clients or (1, 4)]
    results = asyncio.run(measure_all(args.url, args.token, pairs, loads, args.window_s))
    for name, result in results.items():
        print(line(name, result, earlier.get(name)))
    if args.json:
        table = {"loads": results, "command": command(), "machine": fingerprint()}
        write_text(args.json, json.dumps(table, indent=2) + "\n")
    return 0 if all(result["steady"] for result in results.values()) else 1


def read_pairs(visible: Path, infrared: Path, how: folders.Pairing) -> list[Pair]:
    """The pairs of two folders as they lie there; ValueError if there is none."""
    paired = folders.pair_files(visible, infrared, how)
    for sentence in (*paired.notes, *paired.complaints):
        print(sentence, file=sys.stderr)
    if not paired.pairs:
        raise ValueError(f"{visible} and {infrared} have no frame of the same name")
    return [(read_frame(pair.visible), read_frame(pair.infrared)) for pair in paired.pairs]


def read_earlier(path: Path) -> dict[str, dict[str, Any]]:
    """The loads of a file that --json wrote; ValueError if it is something else."""
    table = parse_json(path, TABLE_BYTES)
    if not isinstance(table, dict) or "loads" not in table:
        raise ValueError(f"{path} holds no loads: --against takes a file that --json wrote")
    loads: dict[str, dict[str, Any]] = table["loads"]
    return loads


async def measure_all(
    url: str, token: str | None, pairs: Sequence[Pair], loads: Sequence[Load], window_s: float
) -> dict[str, dict[str, Any]]:
    """One result a load, by its name."""
    async with AsyncClient(url, token, attempts=1) as client:

        async def ask(pair: Pair) -> Asked:
            start = time.perf_counter()
            try:
                answer = await client.fuse(*pair)
            except ServiceError as error:
                kind = str(error.problem.get("kind", error.status))
                return Asked(kind, 1e3 * (time.perf_counter() - start))
            return Asked("answered", 1e3 * (time.perf_counter() - start), answer.report["times_ms"])

        return {str(load): await measure(load, ask, pairs, window_s) for load in loads}


async def measure(load: Load, ask: Ask, pairs: Sequence[Pair], window_s: float) -> dict[str, Any]:
    """Windows of a load until the last three agree, or MOST of them did not."""
    run = closed_loop if load.clients else open_loop
    windows: list[Window] = []
    while len(windows) < MOST and not steady(windows):
        asked = await run(load, ask, pairs, window_s)
        windows.append(Window.of(asked, window_s))
    return {
        "steady": steady(windows),
        "last": asdict(windows[-1]),
        "windows": [asdict(window) for window in windows],
    }


def steady(windows: Sequence[Window]) -> bool:
    """Whether the last windows agree in rate and median."""
    last = windows[-STEADY:]
    if len(last) < STEADY or not all(window.ms for window in last):
        return False
    for values in ([w.pairs_a_second for w in last], [w.ms["p50"] for w in last]):
        if any(abs(value - fmean(values)) > AGREE * fmean(values) for value in values):
            return False
    return True


async def closed_loop(load: Load, ask: Ask, pairs: Sequence[Pair], seconds: float) -> list[Asked]:
    """Each client asks anew once it is answered."""
    until = time.perf_counter() + seconds
    asked: list[Asked] = []

    async def client(number: int) -> None:
        while time.perf_counter() < until:
            found = await ask(pairs[(number + len(asked)) % len(pairs)])
            if time.perf_counter() < until:  # else it belongs to no window
                asked.append(found)

    await asyncio.gather(*(client(number) for number in range(load.clients or 1)))
    return asked


async def open_loop(load: Load, ask: Ask, pairs: Sequence[Pair], seconds: float) -> list[Asked]:
    """Pairs leave at a fixed rate; their times count from when they were due."""
    rate, start = load.rate or 1.0, time.perf_counter()

    async def due(number: int) -> Asked:
        late_ms = 1e3 * (time.perf_counter() - start - number / rate)
        found = await ask(pairs[number % len(pairs)])
        return Asked(found.outcome, found.ms + late_ms, found.stages_ms)

    tasks = []
    for number in range(max(1, int(rate * seconds))):
        await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(due(number)))
    return list(await asyncio.gather(*tasks))


def line(name: str, result: dict[str, Any], earlier: dict[str, Any] | None) -> str:
    """A result in a line of text, with its ratio to an earlier one."""
    last = result["last"]
    times = ", ".join(f"{p} {ms:.1f} ms" for p, ms in last["ms"].items())
    refused = {kind: n for kind, n in last["outcomes"].items() if kind != "answered"}
    text = f"{name}: {last['pairs_a_second']:.1f} pairs/s, {times}"
    text += f", refused {refused}" if refused else ""
    text += "" if result["steady"] else "; NOT STEADY"
    if earlier and earlier["last"]["ms"] and last["ms"]:
        rate = last["pairs_a_second"] / earlier["last"]["pairs_a_second"]
        median = last["ms"]["p50"] / earlier["last"]["ms"]["p50"]
        text += f"; {rate:.2f}x the pairs/s and {median:.2f}x the median of the earlier run"
    return text
