"""The machine: processor, versions, and the cores that this process may use."""

import math
import os
import platform
import shlex
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# What the times of the service depend on.
PACKAGES = (
    "fastapi",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "opencv-python-headless",
    "openvino",
    "uvicorn",
)
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def processor() -> str:
    """The model name of the processor, or its architecture if the system has none."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    models = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def command() -> str:
    """What this process was started with, as a shell takes it: `segmif ...` or `python ...`."""
    words = sys.orig_argv[1:]
    script = words[:1] == sys.argv[:1] and not words[0].endswith(".py")
    return shlex.join([Path(words[0]).name, *words[1:]] if script else ["python", *words])


def fingerprint() -> dict[str, Any]:
    """Machine, processor, load, versions of Python and of `PACKAGES`, and time, for results."""
    return {
        "machine": platform.machine(),
        "cpu": processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),  # above the number of cores, timings are off
        "python": platform.python_version(),
        "versions": dict(_installed()),
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _installed() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        with suppress(PackageNotFoundError):  # one of the two builds of ONNX Runtime is here
            yield name, version(name)


def usable_cores() -> int:
    """
    The cores that this process may use, by its affinity and its container's CPU quota.

    A quota of one and a half cores counts as two.
    """
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        cores = len(os.sched_getaffinity(0))
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def cpu_quota(cgroups: Path = CGROUPS, own: Path = OWN_CGROUPS) -> float | None:
    """CPU quota [cores] of this process by its cgroups, version 2 or 1; None: no limit."""
    quotas = []
    with suppress(OSError):
        for line in own.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                quotas += _quotas(cgroups, path, ("cpu.max",))
            elif "cpu" in controllers.split(","):
                root = cgroups / "cpu"  # which is a link to cpu,cpuacct
                quotas += _quotas(root, path, ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
    return min(quotas, default=None)


def _quotas(root: Path, path: str, names: tuple[str, ...]) -> list[float]:
    """The quotas [cores] of a group and its parents; a container may see its own as the root."""
    group = root / path.strip("/")
    found = []
    while True:
        with suppress(OSError, ValueError, IndexError):  # the group has none, or is not shown
            words = " ".join((group / name).read_text(encoding="ascii") for name in names).split()
            quota, period = int(words[0]), int(words[1])  # `max` and -1: no limit
            if quota > 0 and period > 0:
                found.append(quota / period)
        if group == root or root not in group.parents:
            return found
        group = group.parent
