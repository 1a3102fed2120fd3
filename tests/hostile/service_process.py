"""A real service in a process of its own, and what can be seen of it from outside."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
START_S = 60


@dataclass(frozen=True)
class Service:
    """A service that runs: its port, its process and the file that its log goes to."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def send(self, data: bytes, timeout_s: float = 20) -> bytes:
        """Send bytes over a connection of their own; all that comes back until it is closed."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s) as wire:
            with suppress(BrokenPipeError, ConnectionResetError):  # refused before its end
                wire.sendall(data)
            received = b""
            with suppress(ConnectionResetError):
                while piece := wire.recv(65_536):
                    received += piece
        return received

    def family(self) -> list[int]:
        """The process and all that descend from it."""
        found = [self.process.pid]
        for pid in found:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                with suppress(OSError):
                    found += [int(word) for word in children.read_text().split()]
        return found

    def memory_mib(self, field: str) -> float:
        """A figure of /proc summed over the family: VmRSS now, VmHWM at most since `mark`."""
        return sum(_status_mib(pid, field) for pid in self.family())

    def mark(self) -> None:
        """Let the highest marks of memory start anew."""
        for pid in self.family():
            with suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status_mib(pid: int, field: str) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # it ended just now
        return 0.0
    found = re.search(rf"{field}:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


@contextmanager
def running(weights: Path, folder: Path, **settings: str) -> Iterator[Service]:
    """Start a service and wait until it is ready; end it afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    log = folder / "service.log"
    variables = {name: value for name, value in os.environ.items() if "SEGMIF_" not in name}
    command = [sys.executable, "-m", "service", "serve", "--port", str(port)]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--weights", str(weights)],
            cwd=ROOT,
            env=variables | settings,
            stderr=file,
            stdout=file,
        )
    service = Service(port, process, log)
    try:
        _wait(service)
        yield service
    finally:
        process.terminate()
        process.wait(30)


def _wait(service: Service) -> None:
    end = time.monotonic() + START_S
    request = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    while time.monotonic() < end:
        assert service.process.poll() is None, service.log.read_text()
        with suppress(OSError):
            if b" 200 " in service.send(request)[:20]:
                return
        time.sleep(0.05)
    raise AssertionError("not ready in time")
