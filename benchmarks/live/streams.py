"""Real RTSP servers, each in its own process."""

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.service.servers import ROOT

GST_PYTHON = "/usr/bin/python3"  # has Debian's bindings of GStreamer


@contextmanager
def rtsp_server(
    port: int, files: Sequence[Path], log: Path, python: str = GST_PYTHON
) -> Iterator[subprocess.Popen[bytes]]:
    """Serve videos; `log` gets the times at which the frames of the first are sent."""
    program = str(ROOT / "benchmarks" / "live" / "rtsp_server.py")
    with (
        log.open("wb") as lines,
        subprocess.Popen([python, program, str(port), *map(str, files)], stdout=lines) as process,
    ):
        try:
            while b"ready" not in log.read_bytes():
                if process.poll() is not None:
                    raise RuntimeError("the RTSP server did not start: make servers")
                time.sleep(0.05)
            yield process
        finally:
            process.kill()
