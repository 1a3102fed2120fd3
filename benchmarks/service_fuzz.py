"""
Throw damaged requests of every wire form at a service and see that it neither fails nor grows.

    python benchmarks/service_fuzz.py --cases 20000 --out benchmarks/results/service_fuzz.json

Exits with 1 on an answer of 500, a request without an answer, or memory that grew by more than 2 %.
"""

import argparse
import asyncio
import json
import os
import random
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from machine import fingerprint
from websockets.asyncio.client import connect

ROOT = Path(__file__).parents[1]
ANSWER_S = 30.0  # without an answer for so long, a request hangs
CLIENTS = 11  # coprime to the number of forms, so that each sends all
PATIENCE = {"SEGMIF_BODY_IDLE_S": "0.1", "SEGMIF_HEAD_TIMEOUT_S": "0.1"}  # so that it ends today
PARTS, WARM_PARTS = 10, 3  # of the cases; memory counts after the warm ones: pools fill first
MEMORY_GROWTH = 0.02

ramp = np.linspace(20, 220, 64 * 96).reshape(64, 96).astype(np.uint8)
VISIBLE, INFRARED = np.dstack([ramp, ramp[::-1], ramp[:, ::-1]]), ramp


def encoded(suffix: str, pixels: np.ndarray) -> bytes:
    return cv2.imencode(suffix, pixels)[1].tobytes()


def form(visible: bytes, infrared: bytes, meta: bytes = b"{}") -> bytes:
    parts = (("visible", visible), ("infrared", infrared), ("meta", meta))
    head = '--edge\r\nContent-Disposition: form-data; name="{}"; filename="f"\r\n\r\n'
    return b"".join(head.format(n).encode() + d + b"\r\n" for n, d in parts) + b"--edge--\r\n"


def raw() -> bytes:
    visible, infrared = VISIBLE.tobytes(), INFRARED.tobytes()
    head = struct.pack("<4sBBHBBH", b"SGMF", 1, 0, 64, 2, 5, 0)
    head += struct.pack("<IIII", 96, 64, 0, len(visible))
    head += struct.pack("<IIII", 96, 64, 0, len(infrared)) + struct.pack("<IQQ", 0, 1, 1)
    return head + visible + infrared


def tensors(binary: bool) -> tuple[bytes, int]:
    inputs = []
    for name, array in (("visible", VISIBLE), ("infrared", INFRARED)):
        entry = {"name": name, "datatype": "UINT8", "shape": [1, *array.shape]}
        entry |= (
            {"parameters": {"binary_data_size": array.nbytes}}
            if binary
            else {"data": array.ravel().tolist()}
        )
        inputs.append(entry)
    asked = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    head = json.dumps(asked).encode()
    return head + VISIBLE.tobytes() + INFRARED.tobytes() if binary else head, len(head)


def post(path: str, content_type: str, body: bytes, more: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\n{more}"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


def forms() -> dict[str, Callable[[random.Random], bytes]]:
    """For each wire form, a damaged request."""
    png = form(encoded(".png", VISIBLE), encoded(".png", INFRARED))
    jpeg = form(encoded(".jpg", VISIBLE), encoded(".png", INFRARED.astype(np.uint16) * 40))
    tiff = form(encoded(".tiff", VISIBLE), encoded(".tiff", INFRARED.astype(np.uint16) * 40))
    meta = (
        b'{"stream": "a", "visible_ns": 1, "infrared": {"format": "y8", "width": 96, "height": 64}}'
    )
    layout = form(encoded(".png", VISIBLE), INFRARED.tobytes(), meta)
    kinds: dict[str, Callable[[random.Random], bytes]] = {}
    for name, body in (("png", png), ("jpeg", jpeg), ("tiff", tiff), ("layout", layout)):
        kinds[f"form {name}"] = lambda chance, body=body: post(
            "/fuse-segment", "multipart/form-data; boundary=edge", damage(body, chance)
        )
    kinds["raw"] = lambda chance: post(
        "/fuse-segment", "application/octet-stream", damage(raw(), chance, head=64)
    )
    for binary in (True, False):
        body, length = tensors(binary)
        kinds[f"tensors binary={binary}"] = lambda chance, body=body, length=length: post(
            "/v2/models/nano/infer",
            "application/octet-stream",
            damage(body, chance, head=length),
            f"Inference-Header-Content-Length: {length}\r\n",
        )
    whole = post("/fuse-segment?return=mask&depth_m=3", "multipart/form-data; boundary=edge", png)
    kinds["head"] = lambda chance: damage(whole[:150], chance) + whole[150:]
    return kinds


EXTREMES = (b"\0", b"\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x80\0\0\0", b"\xff\xff\xff\x7f")
EXTREMES += (b"-1", b"1e999", b"NaN", b"null", b"[[", b'"', b"\r\n", b"--edge", b"\xff\xd8", b"%00")


def damage(body: bytes, chance: random.Random, head: int = 0) -> bytes:
    """Flip, cut, repeat, insert or break off, one to four times, mostly where structure is."""
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


async def ask(port: int, request: bytes) -> str:
    """Status of the answer; `closed` where the connection ended without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(ANSWER_S):
            answer = await reader.read()
        return answer[9:12].decode("ascii", "replace") if answer else "closed"
    except TimeoutError:
        return "hangs"
    except ConnectionError:
        return "closed"
    finally:
        writer.close()


async def clients(port: int, cases: int, seed: int, tally: Tally) -> None:
    kinds = sorted(forms().items())

    async def one(first: int) -> None:
        for number in range(first, cases, CLIENTS):
            kind, make = kinds[number % len(kinds)]
            request = make(random.Random(f"{seed}-{number}"))
            tally.note(kind, await ask(port, request), request)

    await asyncio.gather(*(one(first) for first in range(CLIENTS)))


async def socket_messages(port: int, cases: int, seed: int, tally: Tally) -> None:
    chance = random.Random(seed)
    async with connect(f"ws://127.0.0.1:{port}/stream?live=false", max_size=None) as stream:
        for _ in range(cases):
            message = damage(raw(), chance, head=64)
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
        await ask(port, b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        elapsed_ms = (time.perf_counter() - start) * 1000
        tally.slowest_livez_ms = max(tally.slowest_livez_ms, elapsed_ms)
        await asyncio.sleep(0.1)


def resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


async def storm(port: int, pid: int, cases: int, seed: int) -> dict[str, object]:
    """All cases, and the memory after each part of them."""
    tally, memory = Tally(), []
    watching = asyncio.create_task(watch(port, tally))
    over_socket = cases // PARTS // 9
    for part in range(PARTS):
        await asyncio.gather(
            clients(port, cases // PARTS - over_socket, seed * PARTS + part, tally),
            socket_messages(port, over_socket, seed * PARTS + part, tally),
        )
        memory.append(resident_mib(pid))
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
    """Start a service, damage requests, write down what came back."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    options.add_argument("--cases", type=int, default=20_000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--weights", type=Path, help=".onnx with a manifest (nano)")
    options.add_argument("--out", type=Path, help="JSON to write")
    chosen = options.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "service", "serve", "--port", str(port), "--threads", "1"]
    command += ["--weights", str(chosen.weights)] if chosen.weights else []
    with subprocess.Popen(
        command, cwd=ROOT, env=os.environ | PATIENCE, stderr=subprocess.DEVNULL
    ) as service:
        try:
            limit = time.monotonic() + 120
            ready = b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            while True:
                try:
                    if asyncio.run(ask(port, ready)) == "200":
                        break
                except ConnectionError:
                    pass
                if time.monotonic() > limit:
                    print("the service did not become ready", file=sys.stderr)
                    return 1
                time.sleep(0.2)
            start = time.monotonic()
            told = asyncio.run(storm(port, service.pid, chosen.cases, chosen.seed))
            told |= {"seconds": time.monotonic() - start, "alive": service.poll() is None}
        finally:
            service.terminate()
    told |= {"command": " ".join(sys.argv), "machine": fingerprint()}
    text = json.dumps(told, indent=2)
    if chosen.out:
        chosen.out.write_text(text + "\n")
    print(text)
    grown = told["memory_growth"] > MEMORY_GROWTH and chosen.cases >= 10_000
    return 1 if told["failures"] or grown or not told["alive"] else 0


if __name__ == "__main__":
    sys.exit(main())
