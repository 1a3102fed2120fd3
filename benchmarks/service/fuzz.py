"""
Damaged requests of every wire form: the service must neither fail nor grow.

    python -m benchmarks.service.fuzz --cases 20000 --out benchmarks/results/service_fuzz.json

Exits with 1 on an answer of 500, a request without an answer, or memory that grew by more than 2 %.
"""

import argparse
import asyncio
import random
import struct
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from websockets.asyncio.client import connect

from benchmarks.results_file import save
from benchmarks.service.request_forms import ANSWER_S, Form, ask, forms, get, raw_pair, status_of
from benchmarks.service.servers import Server, our_service
from segmif.argument_types import IntegerRange

CLIENTS = 11  # coprime to the number of forms, so that each sends all
PATIENCE = {
    "SEGMIF_BODY_IDLE_S": "0.1",
    "SEGMIF_HEAD_TIMEOUT_S": "0.5",
}  # short, for speed
PARTS, WARM_PARTS = 10, 3  # of the cases; memory counts after the warm ones: pools fill first
MEMORY_GROWTH = 0.02
HEAD = "head"  # the form of which the head is damaged, not the body

EXTREMES = (b"\0", b"\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x80\0\0\0", b"\xff\xff\xff\x7f")
EXTREMES += (b"-1", b"1e999", b"NaN", b"null", b"[[", b'"', b"\r\n", b"--edge", b"\xff\xd8", b"%00")


def damage(body: bytes, chance: random.Random, head: int = 0) -> bytes:
    """Flip, cut, repeat, insert or break off, one to four times, mostly in the first bytes."""
    broken = bytearray(body)
    for _ in range(chance.randint(1, 4)):
        near = min(head or 300, len(broken))
        at = chance.randrange(near if chance.random() < 0.7 and near else max(len(broken), 1))
        length = chance.choice((1, 2, 4, 40, 400))
        match chance.randrange(6):
            case 0:
                broken[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del broken[at : at + length]
            case 2:
                broken[at:at] = broken[at : at + length]
            case 3:
                broken[at:at] = chance.choice(EXTREMES)
            case 4:
                value = chance.choice(EXTREMES)
                broken[at : at + len(value)] = value
            case 5 if chance.random() < 0.3:
                del broken[at:]
    return bytes(broken)


@dataclass
class Tally:
    """What came back."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest_livez_ms: float = 0.0

    def note(self, kind: str, outcome: str, sent: bytes) -> None:
        self.outcomes[f"{kind}: {outcome}"] += 1
        if outcome in ("500", "hangs"):
            self.failures.append(f"{kind} {outcome}: {sent[:400].hex()}")


def damaged(kind: str, whole: Form, chance: random.Random) -> bytes:
    """A request of a form, damaged in its body or its head."""
    if kind == HEAD:
        request = whole.request()
        return damage(request[:150], chance) + request[150:]
    return whole.request(damage(whole.body, chance, whole.head_bytes))


async def clients(port: int, cases: int, seed: int, tally: Tally) -> None:
    kinds = sorted(forms().items())
    kinds.append((HEAD, forms()["form png"]))

    async def one(first: int) -> None:
        for number in range(first, cases, CLIENTS):
            kind, whole = kinds[number % len(kinds)]
            request = damaged(kind, whole, random.Random(f"{seed}-{number}"))
            try:
                outcome = status_of(await ask(port, request))
            except TimeoutError:
                outcome = "hangs"
            tally.note(kind, outcome, request)

    await asyncio.gather(*(one(first) for first in range(CLIENTS)))


async def socket_messages(port: int, cases: int, seed: int, tally: Tally) -> None:
    chance = random.Random(seed)
    async with connect(f"ws://127.0.0.1:{port}/stream?live=false", max_size=None) as stream:
        for _ in range(cases):
            message = damage(raw_pair(), chance, head=64)
            await stream.send(message)
            try:
                async with asyncio.timeout(ANSWER_S):
                    answer = await stream.recv()
                status = str(struct.unpack_from("<H", answer, 10)[0])
            except TimeoutError:
                status = "hangs"
            tally.note("socket", status, message)


async def watch(port: int, tally: Tally) -> None:
    while True:
        start = time.perf_counter()
        await ask(port, get("/livez"))
        elapsed_ms = (time.perf_counter() - start) * 1000
        tally.slowest_livez_ms = max(tally.slowest_livez_ms, elapsed_ms)
        await asyncio.sleep(0.1)


async def storm(service: Server, cases: int, seed: int) -> dict[str, object]:
    """All cases, and the memory after each part of them."""
    tally, memory, port = Tally(), [], service.port
    watching = asyncio.create_task(watch(port, tally))
    over_socket = cases // PARTS // 9
    for part in range(PARTS):
        await asyncio.gather(
            clients(port, cases // PARTS - over_socket, seed * PARTS + part, tally),
            socket_messages(port, over_socket, seed * PARTS + part, tally),
        )
        memory.append(service.resident_mib())
    watching.cancel()
    return {
        "cases": sum(tally.outcomes.values()),
        "outcomes": dict(sorted(tally.outcomes.items())),
        "failures": tally.failures,
        "memory_mib": memory,
        "memory_growth": memory[-1] / memory[WARM_PARTS - 1] - 1,
        "slowest_livez_ms": tally.slowest_livez_ms,
    }


def main() -> int:
    """Start a service, send damaged requests and save the outcomes."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    options.add_argument("--cases", type=IntegerRange(1), default=20_000)
    options.add_argument("--seed", type=IntegerRange(0), default=0)
    options.add_argument("--weights", type=Path, help=".onnx with a manifest (nano)")
    options.add_argument("--out", type=Path, help="JSON to write")
    chosen = options.parse_args()
    weights = ["--weights", str(chosen.weights)] if chosen.weights else []
    start = time.monotonic()
    with our_service(*weights, environment=PATIENCE) as service:  # raises if it ended early
        found = asyncio.run(storm(service, chosen.cases, chosen.seed))
    found["seconds"] = time.monotonic() - start
    save(found, chosen.out)
    grown = found["memory_growth"] > MEMORY_GROWTH and chosen.cases >= 10_000
    return 1 if found["failures"] or grown else 0


if __name__ == "__main__":
    sys.exit(main())
