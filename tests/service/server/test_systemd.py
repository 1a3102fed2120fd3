"""What systemd hears of a service that it starts."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.service.conftest import free_port

ROOT = Path(__file__).parents[3]
LIMIT_S = 60.0


@contextmanager
def heard_by_systemd(
    weights: Path, name: str, **variables: str
) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    """A service that knows of a socket like systemd's; `@` begins the name of an abstract one."""
    words = ["serve", "--weights", str(weights), "--port", str(free_port())]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name.replace("@", "\0"))
        systemd.settimeout(LIMIT_S)
        process = subprocess.Popen(
            [sys.executable, "-m", "service", *words],
            cwd=ROOT,
            env=os.environ | {"NOTIFY_SOCKET": name} | variables,
        )
        try:
            yield process, systemd
            assert process.wait(LIMIT_S) == -signal.SIGTERM
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_of_start_life_and_stop(
    abstract: bool, stand_in_weights: Path, tmp_path: Path
) -> None:
    name = f"@segmif-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with heard_by_systemd(stand_in_weights, name, WATCHDOG_USEC="300000") as (process, systemd):
        heard = [systemd.recv(100) for _ in range(4)]
        process.terminate()
        while heard[-1] != b"STOPPING=1":
            heard.append(systemd.recv(100))
    assert heard[:4] == [b"READY=1", *[b"WATCHDOG=1"] * 3]


def test_the_watchdog_of_another_process_is_left_to_it(
    stand_in_weights: Path, tmp_path: Path
) -> None:
    given = {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}
    with heard_by_systemd(stand_in_weights, str(tmp_path / "notify"), **given) as (process, door):
        first = door.recv(100)
        process.terminate()
        assert (first, door.recv(100)) == (b"READY=1", b"STOPPING=1")
