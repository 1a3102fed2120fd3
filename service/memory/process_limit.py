"""How much memory the service may take: as set, else what its container or machine has."""

import asyncio
import gc
import logging
import os
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from ctypes import CDLL
from pathlib import Path
from typing import Protocol

from .budget import MemoryBudget

WORKING_MIB = 256  # below that even single pairs of a few megapixels find no room
OWN_SHARE = 0.9  # of what there is, unless a setting says otherwise
MIB = 2**20
TRIM_S, PEAK_MIB = 10.0, 16
STEADY_ROUNDS = 6  # of TRIM_S, while pairs come without a pause
M_ARENA_MAX = -8  # of glibc's mallopt

logger = logging.getLogger(__name__)


class PairCount(Protocol):
    """What is known of the pairs of a service."""

    entered: int  # since the start

    @property
    def pending(self) -> int:
        """Pairs in work or waiting."""


def bound_memory(mebibytes: int) -> None:
    """
    Limit the memory of this process; beyond it, allocations raise MemoryError.

    Raises ValueError if the process could not work within it; Linux only.
    """
    held = held_mib()
    if mebibytes < held + WORKING_MIB:
        raise ValueError(
            f"memory_mib is {mebibytes}; the service holds {held} before its first pair and wants "
            f"{WORKING_MIB} to work with"
        )
    _, hardest = resource.getrlimit(resource.RLIMIT_DATA)
    bound = mebibytes * MIB
    if hardest != resource.RLIM_INFINITY:
        bound = min(bound, hardest)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, hardest))


def bound_memory_by_machine() -> None:
    """
    Limit memory to nine tenths of what the container or the machine has, on Linux.

    If that is too little to work with, the log says so and the service takes what it needs.
    """
    if sys.platform != "linux":
        return
    there = available_mib()
    own, least = int(OWN_SHARE * there), held_mib() + WORKING_MIB
    if own < least:
        logger.warning(
            "this container or machine has %d MiB; the service wants %d: it may be ended by the "
            "system under load. Give it more, or set memory_mib",
            there,
            least,
        )
    bound_memory(max(own, least))


def use_one_arena() -> None:
    """
    Let all threads allocate from glibc's main arena, unless the environment says otherwise.

    What is free at the end of another arena is not returned by malloc_trim: up to 64 MiB for each.
    To be called before there are threads. Other C libraries are left alone.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        getattr(CDLL(None), "mallopt", lambda *_: 0)(M_ARENA_MAX, 1)


async def return_after_peaks(
    buffered: MemoryBudget, pairs: PairCount, trim_network: Callable[[], None]
) -> None:
    """
    Return what is free to the system, again and again.

    It does so when much less is held than before, or when no pair came for a while. Closed
    connections are cycles of objects, which Python frees late. glibc keeps blocks of up to 32 MiB,
    so a few large bodies would stay in memory for good. It takes some milliseconds, at most every
    10 s, and while pairs come steadily every minute: cameras never pause, and what each thread
    keeps free would add up. Other C libraries are left alone. `trim_network` is called every 10 s.
    """
    trim = getattr(CDLL(None), "malloc_trim", lambda _: 0)
    seen, worked, since = 0, False, 0
    while True:
        await asyncio.sleep(TRIM_S)
        with suppress(MemoryError, RuntimeError):  # no room for its thread: the next time
            await asyncio.to_thread(trim_network)
        after_peak = buffered.peak > PEAK_MIB * MIB and buffered.bytes < buffered.peak / 2
        idle = worked and pairs.entered == seen and not pairs.pending
        worked, seen = worked or pairs.entered != seen, pairs.entered
        since += 1
        if after_peak or idle or since >= STEADY_ROUNDS:
            since = 0
            buffered.peak, worked = buffered.bytes, False  # what is held yet is returned later
            gc.collect()
            with suppress(MemoryError, RuntimeError):
                await asyncio.to_thread(trim, 0)


def freeze() -> None:
    """Exclude all that lives as long as the process from garbage collection."""
    gc.collect()
    gc.freeze()


def held_mib() -> int:
    """Memory that the process holds, as the bound counts it."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmData:")[1].split()[0]) // 1024


def available_mib(root: Path = Path("/")) -> int:
    """Memory of the machine, or of the container if it has less."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *container_limits(root)]) // MIB


def container_limits(root: Path) -> list[int]:
    """The limits in bytes of the process's control groups, of both versions, and those above."""
    groups = root / "proc/self/cgroup"
    limits = []
    for line in groups.read_text().splitlines() if groups.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        mount, name = ("", "memory.max") if not controllers else ("memory", "memory.limit_in_bytes")
        base = root / "sys/fs/cgroup" / mount
        # In a container the path is that of the host, or /; its own limit then is at the base.
        inside = base / path.lstrip("/")
        for folder in (inside, *inside.parents):
            if not folder.is_relative_to(base):
                break
            file = folder / name
            if file.exists() and (stated := file.read_text().strip()).isdecimal():
                limits.append(int(stated))
    return limits
