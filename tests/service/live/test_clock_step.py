"""`segmif run` on a machine whose clock is set while it runs."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.service.conftest import free_port

ROOT = Path(__file__).parents[3]
LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


@pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed: make servers")
def test_a_clock_that_is_set_stops_no_rig(stand_in_weights: Path, tmp_path: Path) -> None:
    (tmp_path / "clock").write_text("+0")
    faked = {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(tmp_path / "clock"),
        "FAKETIME_CACHE_DURATION": "1",  # [s] after which the file is read again
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    command = [sys.executable, "-m", "service", "run", "--weights", str(stand_in_weights)]
    sources = ["--visible", "synthetic:96x64@20", "--infrared", "synthetic:96x64@20"]
    lines = tmp_path / "lines.jsonl"
    with subprocess.Popen(
        [*command, *sources, "--out", str(lines), "--port", str(free_port())],
        env={**os.environ, "PYTHONPATH": str(ROOT)} | faked,
    ) as process:
        try:
            for clock in ("+0", "-3600", "+7200"):
                (tmp_path / "clock").write_text(clock)
                before = written(lines)
                until(lambda: written(lines) > before + 40, process)  # noqa: B023
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    stamps = [json.loads(line)["visible"]["stamp_ns"] for line in told(lines)]
    assert stamps == sorted(set(stamps))


def told(lines: Path) -> list[str]:
    return lines.read_text().splitlines() if lines.exists() else []


def written(lines: Path) -> int:
    return len(told(lines))


def until(reached: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + 60
    while not reached():
        assert process.poll() is None and time.monotonic() < limit
        time.sleep(0.1)
