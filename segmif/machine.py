"""What a number was measured on."""

import platform
from pathlib import Path


def processor() -> str:
    """The model of the processor in its maker's words, or its kind where the system has none."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.is_file() else []
    models = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())
