"""All that settings name, opened: network, rig and reference."""

import math
from dataclasses import dataclass

from segmif.runtime import Runtime, open_runtime
from service.mounting import Mounting
from service.settings import Settings


@dataclass(frozen=True)
class Opened:
    """What the service works with."""

    settings: Settings
    runtime: Runtime
    mounting: Mounting | None = None  # None: frames come aligned
    reference: Runtime | None = None  # that the runtime must agree with

    def close(self) -> None:
        """Free the networks."""
        for runtime in (self.runtime, self.reference):
            if runtime:
                runtime.close()


def open_all(settings: Settings) -> Opened:
    """
    Open what settings name.

    Raises ManifestError, ArtefactError, DeviceError, OSError or ValueError.
    """
    if not settings.rig and settings.depth_m != math.inf:
        raise ValueError(f"depth_m is {settings.depth_m}, but there is no rig: give --rig as well")
    mounting = Mounting(settings.rig, settings.depth_m) if settings.rig else None
    runtime = open_runtime(settings.weights, settings.threads, settings.device, settings.plugin)
    reference = open_runtime(settings.reference) if settings.reference else None
    return Opened(settings, runtime, mounting, reference)
