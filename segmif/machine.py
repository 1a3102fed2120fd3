"""The machine: what a number was measured on, and what of it this process may use."""

import math
import os
import platform
from contextlib import suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def processor() -> str:
    """The model of the processor in its maker's words, or its kind where the system has none."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.is_file() else []
    models = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def usable_cores() -> int:
    """
    The cores that this process may keep busy: its affinity, and its container's quota of time.

    A quota of one and a half cores counts as two.
    """
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        cores = len(os.sched_getaffinity(0))
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def cpu_quota(cgroups: Path = CGROUPS, own: Path = OWN_CGROUPS) -> float | None:
    """Cores that the cgroups of this process, version 2 or 1, give it time on; None: no limit."""
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
    """The quotas of a group and of those around it; a container may see its own as the root."""
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
