"""What a number was measured on."""

import os
import platform
from datetime import datetime, timezone
from importlib.metadata import version

from segmif.machine import processor

PACKAGES = ("fastapi", "numpy", "onnxruntime", "opencv-python-headless", "uvicorn")


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
