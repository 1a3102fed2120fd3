"""Ray, which the base install lacks: started on this machine, or joined."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segmif.cli import NotInstalled
from segmif.install import install_command
from segmif.machine import usable_cores

from ...settings import Settings

EXTRA = "ray"
ADDRESS = "RAY_ADDRESS"  # Ray's own variable: of a cluster to join

DEFAULTS = {  # of Ray's own variables
    "RAY_USAGE_STATS_ENABLED": "0",
    # Otherwise it empties CUDA_VISIBLE_DEVICES of processes without a GPU, and warns of the change.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # 15 would let everything else go before the network
    # A small machine needs more than 5 and 10 s to start a process, and would be given up.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
}


def import_ray() -> Any:
    """Ray's package, which then reports nothing to its makers; raises NotInstalled."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise NotInstalled(
            f"--ray needs Ray, which is not installed: {install_command(EXTRA)}"
        ) from None
    return ray


@contextmanager
def cluster(spare: float = 0) -> Iterator[Any]:
    """
    Ray, at work: the cluster of RAY_ADDRESS, else one on the cores of this machine alone.

    That one counts `spare` cores more.
    """
    ray = import_ray()
    address = os.environ.get(ADDRESS)
    mine: dict[str, Any] = {
        "num_cpus": usable_cores() + spare,
        "include_dashboard": False,
        "log_to_driver": False,
        "_node_ip_address": "127.0.0.1",  # nobody else reaches it
    }
    try:
        ray.init(
            address or "local",
            logging_level=logging.WARNING,
            **({} if address else mine),
        )
    except Exception as error:  # of many kinds, some without a class of their own
        raise OSError(
            f"Ray cannot be {'joined' if address else 'started'} ({error}): is the machine busy, "
            f"or {ADDRESS} wrong?"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def share_of(settings: Settings) -> dict[str, float]:
    """What one replica takes of a cluster: a GPU, or as many cores as the network has threads."""
    return (
        {"num_cpus": 1, "num_gpus": 1} if settings.on_gpu else {"num_cpus": settings.threads or 1}
    )


def replica_count(ray: Any, share: dict[str, float], spare: float = 0) -> int:
    """How many replicas a cluster has room for, `spare` cores left out; ValueError: none."""
    there = ray.cluster_resources()
    there["CPU"] = there.get("CPU", 0) - spare
    names = {"num_cpus": "CPU", "num_gpus": "GPU"}
    count = min(int(there.get(names[key], 0) // amount) for key, amount in share.items())
    if count < 1:
        wanted = ", ".join(f"{names[key]} {amount:g}" for key, amount in share.items())
        found = ", ".join(f"{name} {there.get(name, 0):g}" for name in names.values())
        raise ValueError(
            f"a replica takes {wanted}, and Ray has {found}: give less --threads, or more machines"
        )
    return count


def for_replicas(settings: Settings) -> Settings:
    """Settings of one replica among many: one thread, unless they state more; whole paths."""
    paths = {name: value.absolute() for name, value in settings if isinstance(value, Path)}
    threads = settings.threads if settings.on_gpu else settings.threads or 1
    return settings.model_copy(update={**paths, "threads": threads})
