"""
Request time less engine time of our service and of others, in one run.

    python -m benchmarks.service.overhead --rounds 60 --out benchmarks/results/service_overhead.json

Every round sends one request to every service, in random order, over one kept connection each. So
other load of the machine affects all alike. All use the same codecs and network.
"""

import argparse
import base64
import random
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
from benchmarks.service.request_forms import raw_pair
from benchmarks.service.servers import ROOT, SAMPLE, Server, our_service, serving
from segmif.argument_types import IntegerRange
from segmif.classes import TAXONOMIES
from segmif.frames import FramePair
from segmif.imaging import codecs
from segmif.runtime import open_runtime, predict

WARM_ROUNDS = 5
OCTETS = {"Content-Type": "application/octet-stream", "Accept": "application/octet-stream"}


@dataclass
class Pair:
    """The pair of all requests, in all their forms."""

    visible: bytes  # PNG
    infrared: bytes
    weights: Path

    def __post_init__(self) -> None:
        self.visible_pixels = codecs.decode_visible(self.visible)
        self.infrared_pixels = codecs.decode_infrared(self.infrared)
        with closing(open_runtime(self.weights)) as runtime:
            self.answer = predict(runtime, FramePair(self.visible_pixels, self.infrared_pixels))
        self.files = {"visible": ("v.png", self.visible), "infrared": ("i.png", self.infrared)}
        self.coded = {
            "visible": base64.b64encode(self.visible).decode(),
            "infrared": base64.b64encode(self.infrared).decode(),
        }
        self.raw = raw_pair(self.visible_pixels, self.infrared_pixels, stamp_ns=0)

    def png_codec(self) -> None:
        """Decode both frames and encode both pictures, one after the other."""
        codecs.decode_visible(self.visible)
        codecs.decode_infrared(self.infrared)
        codecs.encode_png(self.answer.fused)
        codecs.encode_indexed_png(self.answer.labels, TAXONOMIES["mfnet"].palette)

    def raw_codec(self) -> None:
        """Take raw pixels from a body and put them into another."""
        frames = np.frombuffer(self.raw, np.uint8)[64:]
        frames[: self.visible_pixels.size].reshape(self.visible_pixels.shape)
        b"".join((self.raw[:64], self.answer.fused.tobytes(), self.answer.labels.tobytes()))


@dataclass
class Contestant:
    """One way to request, and its costs."""

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

    def summary(self) -> dict[str, float]:
        lower, middle, upper = quantiles(self.overhead_ms[WARM_ROUNDS:], n=4)
        return {
            "overhead_ms": middle,
            "quarter_ms": lower,
            "three_quarters_ms": upper,
            "engine_ms": median(self.engine_ms[WARM_ROUNDS:]),
            # Of the server with the engine; other programs on the machine do not affect it.
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
    """Requests to all in every round; the costs by name."""
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
    return {contestant.name: contestant.summary() for contestant in asked}


def main() -> int:
    """Compare and save the result."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    options.add_argument("--rounds", type=IntegerRange(1), default=60)
    options.add_argument("--weights", type=Path, default=ROOT / "weights" / "nano.onnx")
    options.add_argument("--out", type=Path)
    chosen = options.parse_args()
    costs = compare(chosen.weights, chosen.rounds)
    alone = sum(
        costs[n]["overhead_ms"] for n in ("bare ASGI echo of the raw bytes", "raw codec alone")
    )
    ratio = costs["ours, raw"]["overhead_ms"] / alone
    save({"contestants": costs, "raw_over_echo_and_codec": ratio}, chosen.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
