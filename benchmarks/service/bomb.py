"""
Decompression bombs: time and memory until a PNG of 20000x20000 pixels is refused.

    python -m benchmarks.service.bomb --out benchmarks/results/service_bomb.json

Exits with 1 if a refusal takes 50 ms or more, or if memory rises by more than 4 times the bytes.
"""

import argparse
import struct
import sys
import time
import zlib
from pathlib import Path
from statistics import median

import httpx

from benchmarks.results_file import save
from benchmarks.service.servers import Server, our_service

SIDE, WARM, BOMBS = 20_000, 5, 50
MOST_MS = 50.0


def bomb() -> bytes:
    """A valid grey PNG of 400 megabytes of pixels, packed."""
    packer, row = zlib.compressobj(9), bytes(SIDE + 1)
    packed = b"".join(packer.compress(row) for _ in range(SIDE)) + packer.flush()
    head = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def peak_mib(service: Server) -> float:
    """The most memory that the service held since `forget_peak`."""
    status = Path(f"/proc/{service.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def forget_peak(service: Server) -> None:
    Path(f"/proc/{service.pid}/clear_refs").write_text("5")


def send_bombs(service: Server, files: dict[str, bytes]) -> dict[str, object]:
    """Sends two bombs as a pair, repeatedly; gives statuses, times and memory."""
    took_ms, statuses = [], set()
    with httpx.Client(base_url=service.url, timeout=60) as client:
        for number in range(WARM + BOMBS):
            if number == WARM:
                forget_peak(service)
                held = service.resident_mib()
            start = time.perf_counter()
            statuses.add(client.post("/fuse-segment", files=files).status_code)
            took_ms.append((time.perf_counter() - start) * 1000)
        risen = peak_mib(service) - held
    return {
        "statuses": sorted(statuses),
        "median_ms": median(took_ms[WARM:]),
        "most_ms": max(took_ms[WARM:]),
        "memory_rose_mib": risen,
        "bytes_of_both": sum(map(len, files.values())),
    }


def main() -> int:
    """Send the bombs and save the result."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    options.add_argument("--out", type=Path, help="JSON to write")
    chosen = options.parse_args()
    packed = bomb()
    with our_service() as service:
        found = send_bombs(service, {"visible": packed, "infrared": packed})
    most_mib = 4 * found["bytes_of_both"] / 2**20  # received, joined, and parted
    fine = found["statuses"] == [413] and found["most_ms"] < MOST_MS
    save(found, chosen.out)
    return 0 if fine and found["memory_rose_mib"] < most_mib else 1


if __name__ == "__main__":
    sys.exit(main())
