"""The limits that container or shell set for this process: cores and file descriptors."""

import logging
import os
import resource

import cv2

from segmif.machine import usable_cores

from ..settings import Settings

# Descriptors that are no client's: what the process itself has open, the reserve for probes, files.
OWN_DESCRIPTORS = 48

logger = logging.getLogger(__name__)


def fitted(settings: Settings) -> Settings:
    """The settings with as many connections as there are descriptors for, which it may raise."""
    soft = raised_descriptors(settings.max_connections + OWN_DESCRIPTORS)
    most = max(1, soft - OWN_DESCRIPTORS)
    if settings.max_connections <= most:
        return settings
    logger.warning(
        "this process may have %d files open (ulimit -n): max_connections is %d instead of %d",
        soft,
        most,
        settings.max_connections,
    )
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    return Settings.model_validate(given | {"max_connections": most})


def raised_descriptors(wanted: int) -> int:
    """Raise the soft limit of open files towards `wanted`, as far as it goes; gives what it is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted if soft == resource.RLIM_INFINITY else soft
    raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if raised > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    return max(raised, soft)


def limit_threads() -> None:
    """Keep OpenCV to the cores that this process may use; ONNX Runtime does so by itself."""
    usable = usable_cores()
    if usable < cv2.getNumThreads():
        cv2.setNumThreads(usable)


def log_limits(settings: Settings) -> None:
    """Write down what this process works within."""
    logger.info(
        "%d of %d cores, %s threads of the network, %d connections",
        usable_cores(),
        os.cpu_count() or 1,
        settings.threads or "as many",
        settings.max_connections,
    )
