"""
The cost of attackers with one address and one core to probes, a good client, memory and the log.

    python -m benchmarks.service.attacks --seconds 60 --out benchmarks/results/service_attacks.json

Exits with 1 if the service ends, answers 500, logs a traceback or does not free memory. Times have
no limit, as they depend on the load of the machine.
"""

import argparse
import json
import multiprocessing
import os
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import asdict, dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from statistics import median, quantiles

import httpx

from benchmarks.results_file import save
from benchmarks.service.attackers import ATTACKS, form
from benchmarks.service.servers import Server, our_service
from segmif.argument_types import FloatRange, IntegerRange

GOOD = "127.0.0.2"  # another address than the attacker's
WARM_S, SETTLE_S, PROBE_S = 10.0, 60.0, 0.1
GROWTH = 0.05
SHARED = {"SEGMIF_SHARED_MEMORY": "true"}


@dataclass
class Seen:
    """Outcomes and times of probes and of a good client."""

    probes_ms: list[float] = field(default_factory=list)
    pairs_ms: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Verdict:
    """The cost of one attack."""

    probe_median_ms: float
    probe_max_ms: float
    pair_p90_ms: float | None  # None: none was answered
    outcomes: dict[str, int]  # of the good client's pairs and of the probes
    memory_before_mib: float  # before the first attack
    memory_peak_mib: float
    memory_after_mib: float
    faults: list[str]


def livez(port: int) -> int:
    """The status of a probe."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("GET", "/livez", headers={"Connection": "close"})
        return connection.getresponse().status


def watch(server: Server, end: threading.Event) -> Seen:
    """Probe like an orchestrator and send pairs like a good client, until the end."""
    seen = Seen()

    def probe() -> None:
        while not end.wait(PROBE_S):
            began = time.perf_counter()
            try:  # each over a connection of its own
                status = str(livez(server.port))
            except OSError as error:
                status = type(error).__name__
            seen.probes_ms.append((time.perf_counter() - began) * 1000)
            seen.outcomes[f"probe {status}"] += 1

    prober = threading.Thread(target=probe)
    prober.start()
    body, kind = form()
    transport = httpx.HTTPTransport(local_address=GOOD)
    with httpx.Client(base_url=server.url, transport=transport, timeout=60) as client:
        while not end.is_set():
            began = time.perf_counter()
            try:
                answer = client.post("/fuse-segment", content=body, headers={"Content-Type": kind})
                outcome = outcome_of(answer)
            except httpx.HTTPError as error:
                outcome = type(error).__name__
            if outcome == "200":
                seen.pairs_ms.append((time.perf_counter() - began) * 1000)
            seen.outcomes[f"pair {outcome}"] += 1
            end.wait(0.1)
    prober.join()
    return seen


def outcome_of(answer: httpx.Response) -> str:
    """The status, and the kind of a problem."""
    kind = "" if answer.is_success else f" {answer.json().get('kind')}"
    return f"{answer.status_code}{kind}"


def warm_up(server: Server, seconds: float) -> None:
    """Make all threads of the service work once, as each then keeps some memory."""
    for name in ("24 greedy clients", "refine"):
        ATTACKS[name](server.port, time.monotonic() + seconds)


def watch_for(server: Server, seconds: float) -> Seen:
    """Watch without an attack."""
    end = threading.Event()
    timer = threading.Timer(seconds, end.set)
    timer.start()
    seen = watch(server, end)
    timer.join()
    return seen


def attack(name: str, port: int, seconds: float, core: int) -> None:
    """Run an attack in this process, on one core."""
    os.sched_setaffinity(0, {core})
    ATTACKS[name](port, time.monotonic() + seconds)
    os._exit(0)  # threads that wait for an answer are not waited for


def run_attack(
    name: str, server: Server, log: Path, before: float, options: argparse.Namespace
) -> Verdict:
    """One attack: its effect on others, and what it leaves."""
    begin = log.stat().st_size
    made = multiprocessing.get_context("spawn").Process(
        target=attack, args=(name, server.port, options.seconds, options.core)
    )
    end, peak = threading.Event(), [before]

    def follow() -> None:
        made.start()
        while made.is_alive():
            peak.append(server.resident_mib())
            time.sleep(0.1)
        end.set()

    follower = threading.Thread(target=follow)
    follower.start()
    seen = watch(server, end)
    follower.join()
    if made.exitcode:
        raise RuntimeError(f"the attack {name!r} itself ended with {made.exitcode}")
    after = settled(server, before)
    faults = faults_in(log, begin)
    if after > before * (1 + GROWTH):
        faults.append(f"memory is {after:.0f} MiB, it was {before:.0f}")
    if any(kind.startswith("probe") and kind != "probe 200" for kind in seen.outcomes):
        faults.append("a probe was not answered with 200")
    return Verdict(
        median(seen.probes_ms),
        max(seen.probes_ms),
        p90(seen.pairs_ms),
        dict(seen.outcomes),
        before,
        max(peak),
        after,
        faults,
    )


def settled(server: Server, before: float) -> float:
    """Memory [MiB] once it has returned to `before`, or after a while."""
    limit = time.monotonic() + SETTLE_S
    while server.resident_mib() > before * (1 + GROWTH) and time.monotonic() < limit:
        time.sleep(0.5)
    return server.resident_mib()


def faults_in(log: Path, begin: int) -> list[str]:
    """Tracebacks and answers of 500 in the log, counted."""
    text = log.read_bytes()[begin:].decode(errors="replace")
    found = {
        "tracebacks": len(re.findall(r"^Traceback", text, re.MULTILINE)),
        "answers 500": len(re.findall(r"status=500|\b500 Internal", text)),
    }
    return [f"{count} {what}" for what, count in found.items() if count]


def p90(values: list[float]) -> float | None:
    """The 90th percentile."""
    if len(values) < 2:
        return values[0] if values else None
    return quantiles(values, n=10, method="inclusive")[-1]


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--seconds", type=FloatRange(1), default=60, help="of each attack (60)")
    flags.add_argument("--core", type=IntegerRange(0), default=0, help="of the attacker (0)")
    flags.add_argument("--attacks", nargs="+", choices=ATTACKS, default=list(ATTACKS))
    flags.add_argument("--out", type=Path, default=Path("benchmarks/results/service_attacks.json"))
    return flags


def main() -> int:
    """Try every attack on one service, one after the other."""
    options = parser().parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "service.log"
        with our_service(environment=SHARED, log=log) as server:
            warm_up(server, min(WARM_S, options.seconds))
            quiet = watch_for(server, min(WARM_S, options.seconds))
            verdicts = {}
            before = server.resident_mib()
            for name in options.attacks:
                verdicts[name] = run_attack(name, server, log, before, options)
                print(name, json.dumps(asdict(verdicts[name])), flush=True)
    found = {
        "seconds": options.seconds,
        "quiet": {
            "probe_median_ms": median(quiet.probes_ms),
            "probe_max_ms": max(quiet.probes_ms),
            "pair_p90_ms": p90(quiet.pairs_ms),
        },
        "attacks": {name: asdict(verdict) for name, verdict in verdicts.items()},
    }
    save(found, options.out)
    return 1 if any(verdict.faults for verdict in verdicts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
