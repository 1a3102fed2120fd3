"""
Minutes of mixed load with clients that crash: every wire form, hang-ups at every stage, bad JPEGs.

    make soak MINUTES=10

Exits with 1 on a 500 or a whole request without an answer. So it does if memory grows by more than
2 % after the first third, or if gauges and open files do not return to their start.
"""

import argparse
import asyncio
import random
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import httpx
from websockets.asyncio.client import connect

from benchmarks.results_file import save
from benchmarks.service.fuzz import damage
from benchmarks.service.request_forms import (
    ANSWER_S,
    INFRARED,
    VISIBLE,
    Form,
    ask,
    encoded,
    forms,
    get,
    multipart,
    raw_head,
    raw_pair,
    status_of,
)
from benchmarks.service.servers import SAMPLE, Server, our_service
from segmif.argument_types import FloatRange

PATIENT, CRASHING = 4, 6  # clients of each kind
SAMPLE_S, MEMORY_GROWTH = 5.0, 0.02
SETTLE_S = 20.0  # the service may take to notice what has gone: longer than its idle limit
SOCKET_PAIRS = 20
EXPECTED = {"200", "409", "429", "503"}  # for a whole request: an answer, or "not now"
FILES_LEFT = 20  # two for each region of a crashed client, up to eight, and kept connections
GAUGES = ("pending", "queue_depth", "buffered_bytes", "stream_sockets")


@dataclass
class Soak:
    """The outcomes of a soak, and its failures."""

    port: int
    until: float
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    memory_mib: list[float] = field(default_factory=list)
    livez_ms: list[float] = field(default_factory=list)

    def note(self, what: str, outcome: str, fine: bool) -> None:
        self.outcomes[f"{what}: {outcome}"] += 1
        if not fine:
            self.failures.append(f"{what}: {outcome}")

    async def repeat(self, step: Callable[[random.Random], Awaitable[None]], seed: int) -> None:
        chance = random.Random(seed)
        while time.monotonic() < self.until:
            await step(chance)
            await asyncio.sleep(chance.random() / 10)

    async def patient(self, chance: random.Random) -> None:
        """Send a whole request and wait for its answer."""
        name, form = chance.choice(list(FORMS.items()))
        try:
            outcome = status_of(await ask(self.port, form.request()))
        except TimeoutError:
            outcome = "hangs"
        self.note(name, outcome, outcome in EXPECTED)

    async def bad(self, chance: random.Random) -> None:
        """Send damaged frames in a valid form."""
        jpeg, png = damage(JPEG, chance, head=600), encoded(".png", INFRARED)
        request = FORMS["form jpeg"].request(multipart(jpeg, png))
        outcome = status_of(await ask(self.port, request))
        self.note("bad JPEG", outcome, outcome not in ("500", "closed"))

    async def crash(self, chance: random.Random) -> None:
        """Close in the head, in the body, before the answer or in it; by FIN or by a reset."""
        request = chance.choice(list(FORMS.values())).request()
        stage = chance.choice(("connect", "head", "body", "asked", "answer"))
        end = {"connect": 0, "head": chance.randrange(150), "body": chance.randrange(len(request))}
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request[: end.get(stage, len(request))])
        await asyncio.sleep(chance.random() / 5)
        if stage == "answer":
            await asyncio.wait_for(reader.read(64), ANSWER_S)
        if chance.random() < 0.5:  # a reset: what is on its way is thrown away
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()
        self.outcomes[f"crash at {stage}"] += 1

    async def live(self, chance: random.Random) -> None:
        """Stream pairs, some of them damaged, and close the socket or abort."""
        pair = raw_pair()
        async with connect(f"ws://127.0.0.1:{self.port}/stream", max_size=None) as stream:
            for _ in range(SOCKET_PAIRS):
                await stream.send(damage(pair, chance, head=64) if chance.random() < 0.2 else pair)
                await asyncio.sleep(chance.random() / 10)
            answer = await asyncio.wait_for(stream.recv(), ANSWER_S)
            status = str(struct.unpack_from("<H", answer, 10)[0])
            self.note("socket", status, status != "500")
            if chance.random() < 0.5:
                stream.transport.abort()

    async def shared(self, chance: random.Random) -> None:
        """Pass a pair in shared memory; a crashed client leaves its region behind."""
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}") as client:
            made = await client.post("/shared-memory", params={"bytes": 10**6})
            self.note("region", str(made.status_code), made.status_code in (201, 503))
            if made.status_code != httpx.codes.CREATED or chance.random() < 0.05:
                return
            put(made.json()["name"], VISIBLE.tobytes() + INFRARED.tobytes())
            path = f"/shared-memory/{made.json()['id']}"
            answer = await client.post(f"{path}/fuse-segment", content=raw_head(), timeout=ANSWER_S)
            status = str(answer.status_code)
            self.note("shared memory", status, status in EXPECTED)
            await client.delete(path)

    async def watch(self, service: Server) -> None:
        """Note memory and how long a probe takes."""
        while time.monotonic() < self.until:
            start = time.perf_counter()
            await ask(self.port, get("/livez"))
            self.livez_ms.append((time.perf_counter() - start) * 1000)
            self.memory_mib.append(service.resident_mib())
            await asyncio.sleep(SAMPLE_S)


def put(region: str, data: bytes) -> None:
    with Path("/dev/shm", region).open("r+b") as memory:
        memory.write(data)


def large() -> Form:
    """A form of the size that cameras have."""
    files = [(SAMPLE / f"{name}.png").read_bytes() for name in ("visible", "infrared")]
    return Form("/fuse-segment", "multipart/form-data; boundary=edge", multipart(*files))


FORMS = forms() | {"form large": large()}
JPEG = encoded(".jpg", VISIBLE)


def gauges(port: int) -> dict[str, float]:
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(lines[f"segmif_{name}"]) for name in GAUGES}


def settled(service: Server) -> dict[str, float]:
    """The gauges once they are all 0, or as they are after a while."""
    limit = time.monotonic() + SETTLE_S
    while any((found := gauges(service.port)).values()) and time.monotonic() < limit:
        time.sleep(0.5)
    return found


async def soaked(service: Server, minutes: float) -> Soak:
    """Run all clients for so many minutes."""
    soak = Soak(service.port, time.monotonic() + minutes * 60)
    steps = [soak.patient] * PATIENT + [soak.crash] * CRASHING
    steps += [soak.bad, soak.live, soak.live, soak.shared]
    async with asyncio.TaskGroup() as group:
        for seed, step in enumerate(steps):
            group.create_task(soak.repeat(step, seed))
        group.create_task(soak.watch(service))
    return soak


def story(service: Server, minutes: float) -> dict[str, object]:
    """The results of a soak, and what was left at its end."""
    files = service.files()
    soak = asyncio.run(soaked(service, minutes))
    left = settled(service) | {"files": max(0, service.files() - files - FILES_LEFT)}
    third = len(soak.memory_mib) // 3
    early, late = soak.memory_mib[third : 2 * third], soak.memory_mib[2 * third :]
    growth = fmean(late) / fmean(early) - 1
    if growth > MEMORY_GROWTH:
        soak.failures.append(f"memory grew by {growth:.1%}")
    soak.failures += [f"{name} is left at {value:g}" for name, value in left.items() if value]
    return {
        "minutes": minutes,
        "outcomes": dict(sorted(soak.outcomes.items())),
        "failures": soak.failures,
        "memory_mib": soak.memory_mib,
        "memory_growth": growth,
        "left_at_the_end": left,
        "slowest_livez_ms": max(soak.livez_ms),
    }


def main() -> int:
    """Soak a service and save the result."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    options.add_argument("--minutes", type=FloatRange(0.1), default=10)
    options.add_argument("--out", type=Path)
    chosen = options.parse_args()
    with our_service(environment={"SEGMIF_SHARED_MEMORY": "1"}) as service:
        found = story(service, chosen.minutes)
    save(found, chosen.out)
    return 1 if found["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
