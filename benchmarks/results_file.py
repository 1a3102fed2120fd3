"""What a benchmark found, with the machine, versions, command and date that it was measured by."""

import json
import shlex
import sys
from pathlib import Path

from segmif.machine import fingerprint

PACKAGES = ("fastapi", "numpy", "onnxruntime", "opencv-python-headless", "uvicorn")


def save(found: dict[str, object], out: Path | None) -> None:
    """Prints what was found and, if `out` is given, writes it there as JSON."""
    text = json.dumps(found | {"command": command(), "machine": fingerprint(PACKAGES)}, indent=2)
    print(text)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n")


def command() -> str:
    """What this process was started with."""
    return shlex.join(["python", *sys.orig_argv[1:]])
