"""Servers to measure, each in its own process."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "service" / "web" / "samples" / "day"
READY_S, END_S = 120, 30


@dataclass(frozen=True)
class Server:
    """A process that listens."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        """CPU time of it and its children, to 10 ms."""
        return _cpu_seconds(self.pid)

    def files(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def resident_mib(self) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


@contextmanager
def serving(
    command: Sequence[str],
    probe: str = "/readyz",
    environment: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> Iterator[Server]:
    """Run `python COMMAND --port P` until the block ends; enters once `probe` is not 503."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    with log.open("wb") if log else nullcontext(subprocess.DEVNULL) as errors:
        process = subprocess.Popen(
            [sys.executable, *command, "--port", str(port)],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | (environment or {}),
            stderr=errors,
            start_new_session=True,  # so that the workers of a worker end with it
        )
    server = Server(port, process.pid)
    try:
        _wait_for(f"{server.url}{probe}", process)
        yield server
        if process.poll() is not None:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    finally:
        process.terminate()
        try:
            process.wait(END_S)
        finally:
            _kill_group(process.pid)


def our_service(
    *flags: str, environment: Mapping[str, str] | None = None, log: Path | None = None
) -> AbstractContextManager[Server]:
    """The service with one thread for its network, which leaves a core of two for the rest."""
    command = ["-m", "service", "serve", "--threads", "1", *flags]
    return serving(command, environment=environment, log=log)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + READY_S
    while True:
        with suppress(httpx.TransportError):
            if httpx.get(url).status_code != httpx.codes.SERVICE_UNAVAILABLE:
                return
        if process.poll() is not None or time.monotonic() > limit:
            raise RuntimeError(f"{url} did not come up within {READY_S} s, or its process ended")
        time.sleep(0.2)


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread or child that has ended
            for child in (task / "children").read_text().split():
                seconds += _cpu_seconds(int(child))
    return seconds
