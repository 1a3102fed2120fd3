"""
What N rigs on M replicas would see: a simulation of events, fed by measured times of the stages.

    python -m benchmarks.service.fleet --rigs 1 2 3 --before 17 --infer 43 --after 16

prints delays and refusals. A replica is one process of the service. Its codecs prepare pairs, its
one network takes them one by one or in batches, its codecs encode the answers. With `--shared` the
same cores do all of this, as on a CPU: then times are those of all cores together.

Not simulated: the network between machines, clients that come again after a refusal, other load.
"""

import argparse
import math
import random
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import simpy

from segmif.argument_types import FloatRange, IntegerRange

from ..results_file import save

WARM_SHARE = 0.1  # of the time, at the start, whose pairs do not count
JITTER = 0.1  # of a camera's period, one standard deviation: an estimate


@dataclass(frozen=True)
class Stages:
    """
    Times of one pair in milliseconds, each from as many values as were measured.

    Pairs take them in this order, round and round: a slow spell of a machine stays one.
    """

    before_ms: list[float]  # decode, check, align
    infer_ms: list[float]  # the network, of one pair
    after_ms: list[float]  # encode
    further: float = 1.0  # time of each further pair of a batch, as a share of the first


@dataclass(frozen=True)
class Fleet:
    """Rigs and replicas; the defaults are the service's."""

    rigs: int
    rate: float = 10.0  # pairs a second of each rig
    replicas: int = 1
    codecs: int = 2  # threads of a replica
    max_pending: int = 16  # pairs in work of a replica
    max_batch: int = 1
    deadline_ms: float = math.inf  # of a pair; one that would miss it is refused as it comes
    shared: bool = False  # codecs and network are the same cores
    spread_evenly: bool = False  # False: a rig's replica is drawn, as by the hash of its address
    poisson: bool = False  # arrivals without a period, for comparison with queueing theory


@dataclass
class Seen:
    """What the rigs saw."""

    delays_ms: list[float] = field(default_factory=list)
    refused: int = 0

    def summary(self) -> dict[str, float | None]:
        """Percentiles of the answered, and the share that was refused."""
        times = sorted(self.delays_ms)
        offered = len(times) + self.refused
        found: dict[str, float | None] = {
            f"p{p}_ms": times[math.ceil(len(times) * p / 100) - 1] if times else None
            for p in (50, 95, 99)
        }
        return found | {"refused": self.refused / offered if offered else None}


class Replica:
    """One process of the service."""

    def __init__(self, world: simpy.Environment, fleet: Fleet, stages: Stages, number: int):
        self.world, self.fleet, self.further = world, fleet, stages.further
        of = (stages.before_ms, stages.infer_ms, stages.after_ms)
        self.before_ms, self.infer_ms, self.after_ms = (
            _round_and_round(values, number / fleet.replicas) for values in of
        )
        self.pending = 0
        self.pair_ms = sum(map(statistics.fmean, of if fleet.shared else of[1:2]))
        self.cores = simpy.Resource(world, 1 if fleet.shared else fleet.codecs)
        self.waiting = simpy.Store(world)
        world.process(self.network())

    def pair(self, seen: Seen | None) -> Iterator[Any]:
        """One pair from its arrival to its answer; None: it does not count."""
        start = self.world.now
        late = (self.pending + 1) * self.pair_ms > self.fleet.deadline_ms
        if self.pending >= self.fleet.max_pending or late:
            if seen:
                seen.refused += 1
            return
        self.pending += 1
        yield from self.work(next(self.before_ms))
        done = self.world.event()
        yield self.waiting.put(done)
        yield done
        yield from self.work(next(self.after_ms))
        self.pending -= 1
        if seen:
            seen.delays_ms.append(self.world.now - start)

    def work(self, ms: float) -> Iterator[Any]:
        """Holds a thread of the codecs, or the cores, for so long."""
        with self.cores.request() as turn:
            yield turn
            yield self.world.timeout(ms)

    def network(self) -> Iterator[Any]:
        """Takes waiting pairs for ever, up to a batch at a time."""
        while True:
            batch = [(yield self.waiting.get())]
            while self.waiting.items and len(batch) < self.fleet.max_batch:
                batch.append((yield self.waiting.get()))
            ms = next(self.infer_ms)
            ms *= 1 + (len(batch) - 1) * self.further
            if self.fleet.shared:
                yield from self.work(ms)
            else:
                yield self.world.timeout(ms)
            for done in batch:
                done.succeed()


def _round_and_round(values: Sequence[float], begin: float) -> Iterator[float]:
    """The values in their order for ever, from a share `begin` of them on."""
    first = int(begin * len(values))
    return cycle([*values[first:], *values[:first]])


def simulate(fleet: Fleet, stages: Stages, seconds: float = 60.0, seed: int = 0) -> Seen:
    """Runs a fleet for so many seconds of its own time; the same seed gives the same result."""
    world, draw, seen = simpy.Environment(), random.Random(seed), Seen()
    replicas = [Replica(world, fleet, stages, number) for number in range(fleet.replicas)]
    for number in range(fleet.rigs):
        at = number % fleet.replicas if fleet.spread_evenly else draw.randrange(fleet.replicas)
        arriving = arrivals(fleet, number, seed)
        world.process(_rig(replicas[at], seen, arriving, WARM_SHARE * seconds * 1000))
    world.run(seconds * 1000)
    return seen


def _rig(
    replica: Replica, seen: Seen, arriving: Iterator[float], counted_from_ms: float
) -> Iterator[Any]:
    """Sends pairs for ever, whatever becomes of those before, as a camera does."""
    world = replica.world
    for at_ms in arriving:
        yield world.timeout(at_ms - world.now)
        world.process(replica.pair(seen if at_ms >= counted_from_ms else None))


def arrivals(fleet: Fleet, rig: int, seed: int) -> Iterator[float]:
    """When a rig sends its pairs, in milliseconds, for ever; the same numbers give the same."""
    draw, period = random.Random(f"{seed} {rig}"), 1000 / fleet.rate
    at_ms = draw.uniform(0, period)
    while True:
        yield at_ms
        gap = draw.expovariate(1 / period) if fleet.poisson else draw.gauss(period, JITTER * period)
        at_ms += max(0.0, gap)


def main() -> None:
    """Simulate each combination, print a line of it, and write all to the file of --out."""
    args = parser().parse_args()
    stages = Stages(args.before, args.infer, args.after, args.further)
    rows = []
    for replicas in args.replicas:
        for rigs in args.rigs:
            fleet = Fleet(
                rigs,
                args.rate,
                replicas,
                args.codecs,
                max_batch=args.batch,
                deadline_ms=args.deadline_ms,
                shared=args.shared,
                spread_evenly=args.evenly,
            )
            runs = [
                simulate(fleet, stages, args.seconds, seed).summary() for seed in range(args.seeds)
            ]
            rows.append({"rigs": rigs, "replicas": replicas, "runs": runs})
            print(f"{rigs} rigs, {replicas} replicas: {said(runs)}", file=sys.stderr)
    save({"rate": args.rate, "rows": rows}, args.out)


def said(runs: Sequence[dict[str, float | None]]) -> str:
    """Least, median and largest of each number over the seeds."""
    texts = []
    for name in runs[0]:
        values = sorted(value for run in runs if (value := run[name]) is not None)
        if values:
            of = [values[0], statistics.median(values), values[-1]]
            texts.append(f"{name} " + ", ".join(f"{each:.3g}" for each in of))
    return "; ".join(texts)


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rigs", type=IntegerRange(1, 100_000), nargs="+", required=True)
    parser.add_argument("--replicas", type=IntegerRange(1, 10_000), nargs="+", default=[1])
    for name in ("before", "infer", "after"):
        parser.add_argument(
            f"--{name}", type=FloatRange(0, 1e6), nargs="+", required=True, help="ms"
        )
    parser.add_argument("--rate", type=FloatRange(1e-3, 1000), default=10.0, help="of a rig")
    parser.add_argument("--codecs", type=IntegerRange(1, 256), default=2, help="threads")
    parser.add_argument("--batch", type=IntegerRange(1, 64), default=1)
    parser.add_argument("--further", type=FloatRange(0, 1), default=1.0, help="pair of a batch")
    parser.add_argument("--deadline-ms", type=FloatRange(1), default=math.inf)
    parser.add_argument("--shared", action="store_true", help="codecs and network share the cores")
    parser.add_argument("--evenly", action="store_true", help="each replica has as many rigs")
    parser.add_argument("--seconds", type=FloatRange(1, 1e5), default=60.0)
    parser.add_argument("--seeds", type=IntegerRange(1, 1000), default=3)
    parser.add_argument("--out", type=Path, help="file for the numbers")
    return parser


if __name__ == "__main__":
    main()
