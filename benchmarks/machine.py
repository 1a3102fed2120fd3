"""What a number was measured on."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("fastapi", "numpy", "onnxruntime", "opencv-python-headless", "uvicorn")


def fingerprint() -> dict[str, object]:
    """Processor, load, versions and time, as a result file holds them."""
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "load": os.getloadavg(),  # of other programs too: above the number of cores, times lie
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
