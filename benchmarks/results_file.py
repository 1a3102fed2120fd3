"""What a benchmark found, with the machine, versions, command and date that it was measured by."""

import json
import os
import platform
import shlex
import sys
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from segmif.machine import processor

PACKAGES = ("fastapi", "numpy", "onnxruntime", "opencv-python-headless", "uvicorn")


def save(found: dict[str, object], out: Path | None) -> None:
    """Prints what was found and, if `out` is given, writes it there as JSON."""
    text = json.dumps(found | {"command": command(), "machine": fingerprint()}, indent=2)
    print(text)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n")


def command() -> str:
    """What this process was started with."""
    return shlex.join(["python", *sys.orig_argv[1:]])


def fingerprint() -> dict[str, object]:
    """Processor, load, versions and time, as a result file holds them."""
    return {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),  # of other programs too: above the number of cores, times lie
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
