"""All that settings name, opened: network, rig and reference."""

import math
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import Thread

import numpy as np

from segmif.frames import FIXED_HUE, MULTIPLE, FramePair
from segmif.runtime import Runtime, is_exact, open_runtime, predict

from ..pipeline.align import RigAligner
from ..pipeline.objects import ObjectRules
from ..settings import Settings
from .worker_threads import end_aside, lowered


@dataclass(frozen=True)
class Candidate:
    """A network that is to see a share of the pairs, or why it does not."""

    share: float  # of the pairs
    runtime: Runtime | None = None
    refused: str | None = None


@dataclass(frozen=True)
class LoadedModel:
    """What the service works with."""

    settings: Settings
    runtime: Runtime
    rig_aligner: RigAligner | None = None  # None: frames come aligned
    reference: Runtime | None = None  # that the runtime must agree with
    candidate: Candidate | None = None  # of the shadow phase

    def close(self) -> None:
        """Free the networks."""
        shadow = self.candidate.runtime if self.candidate else None
        for runtime in (self.runtime, self.reference, shadow):
            if runtime:
                runtime.close()


def load_model(settings: Settings, *, with_candidate: bool = False) -> LoadedModel:
    """
    Open what settings name; the candidate only for a service, which alone has a shadow phase.

    Raises ManifestError, ArtefactError, DeviceError, OSError or ValueError.
    """
    if not settings.rig and settings.depth_m != math.inf:
        raise ValueError(f"depth_m is {settings.depth_m}, but there is no rig: give --rig as well")
    rig_aligner = RigAligner(settings.rig, settings.depth_m) if settings.rig else None
    opening = partial(
        open_runtime, settings.weights, settings.threads, settings.device, settings.plugin
    )
    # On a CPU the network brings threads of its own, whose priority is that of this one.
    runtime = opening() if settings.on_gpu else lowered(opening)
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
    reference = _open_reference(settings, runtime)
    candidate = open_candidate(settings, runtime) if with_candidate else None
    return LoadedModel(settings, runtime, rig_aligner, reference, candidate)


def open_candidate(settings: Settings, serving: Runtime) -> Candidate | None:
    """The network of the shadow phase, if settings name one; its fault never ends the service."""
    path = settings.shadow_weights
    if path is None:
        return None
    try:
        # One thread, so that all of its work has the lowest priority.
        runtime = open_runtime(path, 1, settings.device, settings.plugin)
    except (OSError, ValueError) as error:  # ours are among them
        return Candidate(settings.shadow_share, refused=str(error))
    if fault := unlike(runtime, serving):
        runtime.close()
        return Candidate(settings.shadow_share, refused=f"{path.name} {fault}")
    return Candidate(settings.shadow_share, runtime)


def unlike(candidate: Runtime, serving: Runtime) -> str:
    """Why a candidate could not take the place of the network in service; "" if it could."""
    classes, theirs = serving.manifest.classes, candidate.manifest.classes
    if candidate.manifest.sha256 == serving.manifest.sha256:
        return "is the network that answers already: name another one"
    if theirs.names != classes.names:
        return (
            f"has the classes {', '.join(theirs.names)}; those in service are "
            f"{', '.join(classes.names)}: masks of other classes cannot be compared, name it as "
            "weights to switch"
        )
    if candidate.default_tint is None and serving.default_tint is not None:
        return f"takes no tint, which the network in service does: {FIXED_HUE}"
    if missing := [name for name in serving.outputs if name not in candidate.outputs]:
        return f"gives no {missing[0]}, which the network in service does: export it again"
    return ""


def _open_reference(settings: Settings, runtime: Runtime) -> Runtime | None:
    """What the runtime must agree with: the one named, else ONNX Runtime beside OpenVINO."""
    path = settings.reference
    if not path and settings.weights.suffix == ".onnx" and not is_exact(runtime):
        path = settings.weights
    return open_runtime(path) if path else None


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
