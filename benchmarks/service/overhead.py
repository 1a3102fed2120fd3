"""
What a service costs beside its network: request time less engine time, ours and others in one run.

    python -m benchmarks.service.overhead --rounds 60 --out benchmarks/results/service_overhead.json

Every round asks every service once, in changing order, over one kept connection each, so that what
else the machine does hits all alike. All decode, run and encode with the same code and network.
"""

import argparse
import base64
import random
import struct
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median, quantiles

import httpx
import numpy as np

from benchmarks.results_file import save
from benchmarks.service.servers import ROOT, SAMPLE, Server, our_service, serving
from segmif.classes import TAXONOMIES
from segmif.frames import FramePair
from segmif.imaging import codecs
from segmif.runtime import open_runtime, predict

WARM_ROUNDS = 5
OCTETS = {"Content-Type": "application/octet-stream", "Accept": "application/octet-stream"}


@dataclass
class Pair:
    """The pair that all are asked for, in the forms in which they are asked."""

    visible: bytes  # PNG
    infrared: bytes
    weights: Path

    def __post_init__(self) -> None:
        self.colours = codecs.decode_visible(self.visible)
        self.heat = codecs.decode_infrared(self.infrared)
        with closing(open_runtime(self.weights)) as runtime:
            self.answer = predict(runtime, FramePair(self.colours, self.heat))
        self.files = {"visible": ("v.png", self.visible), "infrared": ("i.png", self.infrared)}
        self.coded = {
            "visible": base64.b64encode(self.visible).decode(),
            "infrared": base64.b64encode(self.infrared).decode(),
        }
        height, width = self.heat.shape
        head = struct.pack("<4sBBHBBH", b"SGMF", 1, 0, 64, 2, 5, 0)
        head += struct.pack("<IIII", width, height, 0, self.colours.nbytes)
        head += struct.pack("<IIII", width, height, 0, self.heat.nbytes)
        head += struct.pack("<IQQ", 0, 0, 0)
        self.raw = head + self.colours.tobytes() + self.heat.tobytes()

    def png_codec(self) -> None:
        """Both frames decoded, both pictures encoded, one after the other, nothing around it."""
        codecs.decode_visible(self.visible)
        codecs.decode_infrared(self.infrared)
        codecs.encode_png(self.answer.fused)
        codecs.encode_indexed_png(self.answer.labels, TAXONOMIES["mfnet"].palette)

    def raw_codec(self) -> None:
        """The same for pixels: taken from a body, and put into one."""
        frames = np.frombuffer(self.raw, np.uint8)[64:]
        frames[: self.colours.size].reshape(self.colours.shape)
        b"".join((self.raw[:64], self.answer.fused.tobytes(), self.answer.labels.tobytes()))


@dataclass
class Contestant:
    """One way to ask, and what it cost each time."""

    name: str
    ask: Callable[[], httpx.Response | None]
    server: Server | None = None
    overhead_ms: list[float] = field(default_factory=list)
    engine_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    def run(self) -> None:
        cpu, start = self.server.cpu_seconds() if self.server else 0.0, time.perf_counter()
        answer = self.ask()
        total_ms = (time.perf_counter() - start) * 1000
        engine = engine_ms(answer) if answer else 0.0
        self.cpu_ms.append((self.server.cpu_seconds() - cpu) * 1000 if self.server else 0.0)
        self.engine_ms.append(engine)
        self.overhead_ms.append(total_ms - engine)

    def told(self) -> dict[str, float]:
        lower, middle, upper = quantiles(self.overhead_ms[WARM_ROUNDS:], n=4)
        return {
            "overhead_ms": middle,
            "quarter_ms": lower,
            "three_quarters_ms": upper,
            "engine_ms": median(self.engine_ms[WARM_ROUNDS:]),
            # Of the server, engine included: what other programs on the machine do not disturb.
            "cpu_ms": fmean(self.cpu_ms[WARM_ROUNDS:]),
            "requests": len(self.overhead_ms) - WARM_ROUNDS,
        }


def engine_ms(answer: httpx.Response) -> float:
    answer.raise_for_status()
    for stage in answer.headers.get("server-timing", "").split(", "):
        if stage.startswith("infer;dur="):
            return float(stage.split("=")[1])
    return float(answer.headers["X-Engine-Ms"])


def contestants(servers: dict[str, Server], pair: Pair) -> list[Contestant]:
    def posting(name: str, server: str, path: str, **body: object) -> Contestant:
        client = httpx.Client(base_url=servers[server].url, timeout=60)
        return Contestant(name, lambda: client.post(path, **body), servers[server])  # type: ignore[arg-type]

    raw = {"content": pair.raw, "headers": OCTETS}
    return [
        posting("ours, raw", "ours", "/fuse-segment", **raw),
        posting("bare ASGI echo of the raw bytes", "bare", "/", content=pair.raw),
        Contestant("raw codec alone", lambda: pair.raw_codec()),
        posting("ours, form of PNG", "ours", "/fuse-segment", files=pair.files),
        posting("FastAPI, form of PNG", "plain", "/form", files=pair.files),
        posting("LitServe, form of PNG", "litserve", "/predict", files=pair.files),
        posting("FastAPI, base64 JSON of PNG", "plain", "/json", json=pair.coded),
        Contestant("PNG codec alone", lambda: pair.png_codec()),
    ]


def compare(weights: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Ask all in every round; what each cost, by name."""
    files = ((SAMPLE / f"{name}.png").read_bytes() for name in ("visible", "infrared"))
    pair = Pair(*files, weights)
    chance = random.Random(0)
    with ExitStack() as running:
        servers = {"ours": running.enter_context(our_service("--weights", str(weights)))}
        for peer in ("bare", "plain", "litserve"):
            command = ["-m", "benchmarks.service.peers", peer, "--weights", str(weights)]
            servers[peer] = running.enter_context(serving(command, "/health"))
        asked = contestants(servers, pair)
        for _ in range(rounds + WARM_ROUNDS):
            for contestant in chance.sample(asked, len(asked)):
                contestant.run()
    return {contestant.name: contestant.told() for contestant in asked}


def main() -> int:
    """Compare, and write it down."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    options.add_argument("--rounds", type=int, default=60)
    options.add_argument("--weights", type=Path, default=ROOT / "weights" / "nano.onnx")
    options.add_argument("--out", type=Path)
    chosen = options.parse_args()
    told = compare(chosen.weights, chosen.rounds)
    alone = sum(
        told[n]["overhead_ms"] for n in ("bare ASGI echo of the raw bytes", "raw codec alone")
    )
    ratio = told["ours, raw"]["overhead_ms"] / alone
    save({"contestants": told, "raw_over_echo_and_codec": ratio}, chosen.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
