"""All that settings name, opened: network, rig and reference."""

import math
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread

import numpy as np

from segmif.frames import FIXED_HUE, MULTIPLE, FramePair
from segmif.runtime import Runtime, open_runtime, predict

from ..pipeline.align import RigAligner
from ..pipeline.objects import ObjectRules
from ..settings import Settings
from .worker_threads import end_aside


@dataclass(frozen=True)
class LoadedModel:
    """What the service works with."""

    settings: Settings
    runtime: Runtime
    rig_aligner: RigAligner | None = None  # None: frames come aligned
    reference: Runtime | None = None  # that the runtime must agree with

    def close(self) -> None:
        """Free the networks."""
        for runtime in (self.runtime, self.reference):
            if runtime:
                runtime.close()


def load_model(settings: Settings) -> LoadedModel:
    """
    Open what settings name.

    Raises ManifestError, ArtefactError, DeviceError, OSError or ValueError.
    """
    if not settings.rig and settings.depth_m != math.inf:
        raise ValueError(f"depth_m is {settings.depth_m}, but there is no rig: give --rig as well")
    rig_aligner = RigAligner(settings.rig, settings.depth_m) if settings.rig else None
    runtime = open_runtime(settings.weights, settings.threads, settings.device, settings.plugin)
    if settings.tint is not None and runtime.default_tint is None:
        runtime.close()
        raise ValueError(
            f"tint is {settings.tint:g}, but {settings.weights.name} takes none: {FIXED_HUE}"
        )
    try:
        ObjectRules(settings.object_classes).ids(runtime.manifest.classes)
    except ValueError as error:
        runtime.close()
        raise ValueError(f"object_classes: {error}") from None
    reference = open_runtime(settings.reference) if settings.reference else None
    return LoadedModel(settings, runtime, rig_aligner, reference)


def hangs(runtime: Runtime, limit_s: float) -> bool:
    """Whether a network does not finish a small pair in time; it is closed then."""
    black = FramePair(
        np.zeros((MULTIPLE, MULTIPLE, 3), np.uint8), np.zeros((MULTIPLE,) * 2, np.uint8)
    )

    def try_it() -> None:
        with suppress(Exception):  # the first pair will show it
            predict(runtime, black)

    trial = Thread(target=try_it, daemon=True)
    trial.start()
    trial.join(limit_s)
    if trial.is_alive():
        end_aside(runtime.close)
        return True
    return False


def too_slow(limit_s: float) -> str:
    """The message about a network that did not finish a pair."""
    return (
        f"the golden pair did not come through within {limit_s:g} s (SEGMIF_SELF_TEST_S): the "
        "network hangs, or the machine is too slow for it"
    )
