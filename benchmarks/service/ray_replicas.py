"""
One process of the service beside two replicas on Ray, in one run: answers, delay, throughput.

    python -m benchmarks.service.ray_replicas --out benchmarks/results/service_ray.json

Each round asks both sides, in random order: one pair alone, then many pairs of several clients. So
other load of the machine affects both alike.
"""

import argparse
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

import httpx

from benchmarks.results_file import save
from benchmarks.service.servers import READY_S, SAMPLE, Server, our_service
from segmif.argument_types import IntegerRange

CLIENTS = 4
REPLICAS = 2


@dataclass
class Side:
    """One way to serve, and what was seen of it."""

    server: Server
    alone_ms: list[float] = field(default_factory=list)
    pairs_s: list[float] = field(default_factory=list)
    refused: int = 0
    answers: set[bytes] = field(default_factory=set)  # of the same pair: one, if all are equal

    def __post_init__(self) -> None:
        self._client = httpx.Client(base_url=self.server.url, timeout=60)
        self._files = {
            name: (SAMPLE / f"{name}.png").read_bytes() for name in ("visible", "infrared")
        }
        limit = time.monotonic() + READY_S
        while self._client.get("/readyz").status_code != httpx.codes.OK:
            assert time.monotonic() < limit, "it did not become ready"
            time.sleep(0.2)

    def ask(self) -> None:
        """Send the pair, again if it is refused."""
        headers = {"Accept": "image/png"}
        while True:
            given = self._client.post("/fuse-segment", files=self._files, headers=headers)
            if given.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            self.refused += 1
            time.sleep(float(given.headers["Retry-After"]))
        given.raise_for_status()
        self.answers.add(given.content)

    def round(self, pairs: int) -> None:
        """One pair alone, then many at a time."""
        start = time.perf_counter()
        self.ask()
        self.alone_ms.append((time.perf_counter() - start) * 1000)
        start = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as clients:
            for asked in [clients.submit(self.ask) for _ in range(pairs)]:
                asked.result()
        self.pairs_s.append(pairs / (time.perf_counter() - start))

    def summary(self) -> dict[str, object]:
        """Medians, and the quarters of what was alone."""
        return {
            "alone_ms": quantiles(self.alone_ms, n=4),
            "pairs_s": median(self.pairs_s),
            "pairs_s_least_and_most": [min(self.pairs_s), max(self.pairs_s)],
            "refused": self.refused,
        }


def main() -> None:
    """Measure."""
    args = parser().parse_args()
    on_ray = ("--ray", "--replicas", str(REPLICAS))
    with our_service() as one, our_service(*on_ray) as many:
        sides = {"one process": Side(one), f"{REPLICAS} replicas on Ray": Side(many)}
        for _ in range(args.rounds):
            for side in random.sample(list(sides.values()), len(sides)):
                side.round(args.pairs)
    first, second = sides.values()
    found: dict[str, object] = {name: side.summary() for name, side in sides.items()}
    added = [b - a for a, b in zip(first.alone_ms, second.alone_ms, strict=True)]
    ratios = [b / a for a, b in zip(first.pairs_s, second.pairs_s, strict=True)]
    found |= {
        "answers_equal": len(first.answers | second.answers) == 1,
        "added_ms": quantiles(added, n=4),
        "throughput_ratio": quantiles(ratios, n=4),
        "rounds": args.rounds,
        "pairs_a_round": args.pairs,
        "clients": CLIENTS,
    }
    save(found, args.out)


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=IntegerRange(2, 10_000), default=12)
    parser.add_argument("--pairs", type=IntegerRange(1, 10_000), default=12, help="in a round")
    parser.add_argument("--out", type=Path, help="file for the numbers")
    return parser


if __name__ == "__main__":
    main()
