"""The result of a pair: the prediction, and the report on how it was made."""

from dataclasses import asdict, dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.frames import Prediction
from segmif.runtime import Runtime
from segmif.thermal.camera_profile import Cameras
from segmif.thermal.gain_control import GainRule, Levels

from ..schemas.answers import (
    CamerasUsed,
    ClassShare,
    FarObjects,
    Fitness,
    Gain,
    MemoryUsed,
    Refined,
    RegistrationUsed,
    Report,
    RigUse,
    Size,
)
from ..schemas.scene_objects import SceneObjects
from .pair_checks import Condition
from .prepare import PreparedPair
from .stage_times import StageTimes
from .temporal import MemoryUse, StreamMemory


@dataclass(frozen=True)
class Result:
    """A prediction, and all that is known of how it was made."""

    prediction: Prediction
    prepared: PreparedPair
    runtime: Runtime
    rule: GainRule
    times: StageTimes
    request_id: str
    stream: str | None
    memory: MemoryUse | None = None  # None: off
    objects: SceneObjects | None = None  # None: nobody asked for them


def steadied(result: Result, memory: StreamMemory, *, confidence: bool) -> Result:
    """The result with the part of the pairs before; `confidence`: whether to keep that."""
    with result.times.measure("steady"):
        prediction, use = memory.steady(
            result.prediction, result.prepared, result.runtime.manifest.sha256
        )
    if not confidence:
        prediction = replace(prediction, confidence=None)
    return replace(result, prediction=prediction, memory=use)


def describe(result: Result) -> Report:
    """Say how a result came about."""
    prepared, manifest = result.prepared, result.runtime.manifest
    names = manifest.classes.names
    covered = shares(result.prediction.labels, len(names))
    sure = mean_confidences(result.prediction, len(names))
    return Report(
        request_id=result.request_id,
        visible=_size(prepared.visible_shape),
        visible_grey=prepared.visible_grey,
        infrared=_size(prepared.infrared_shape),
        pair=_fitness(prepared.condition, result.stream),
        alignment=prepared.alignment,
        rig=RigUse(**asdict(prepared.rig_alignment)) if prepared.rig_alignment else None,
        refinement=_refinement(result),
        registration=_registration(result),
        gain=_gain(result),
        memory=MemoryUsed(**asdict(result.memory)) if result.memory else None,
        far_objects=_far_objects(prepared.levels),
        cameras=_cameras(prepared.cameras),
        tint=tint_used(prepared.tint, result.runtime),
        classes=[
            ClassShare(id=id, name=names[id], share=round(share, 6), confidence=sure[id])
            for id, share in enumerate(covered)
        ],
        objects=result.objects,
        batch=result.times.batch,
        times_ms={stage: round(ms, 2) for stage, ms in result.times.ms.items()},
        engine=result.runtime.name,
        variant=manifest.variant,
        precision=manifest.precision,
        weights_sha256=manifest.sha256,
        source_sha256=manifest.source_sha256,
    )


def tint_used(stated: float | None, runtime: Runtime) -> float | None:
    """The tint of a fused frame; None if the network's hue is fixed."""
    default = runtime.default_tint
    return default if stated is None or default is None else stated


def _fitness(condition: Condition, stream: str | None) -> Fitness:
    return Fitness(
        stream=stream,
        sensors=[*condition.sensors],
        skew_ms=condition.skew_ms,
        skew=condition.skew,
        flags=[*condition.flags],
    )


def _size(shape: tuple[int, int] | None) -> Size | None:
    return Size(width=shape[1], height=shape[0]) if shape else None


def _refinement(result: Result) -> Refined | None:
    found = result.prepared.refinement
    if found is None:
        return None
    residual, confidence = round(found.residual_px, 2), round(found.confidence, 3)
    return Refined(residual_px=residual, confidence=confidence, applied=found.sure)


def _registration(result: Result) -> RegistrationUsed | None:
    used = result.prepared.registration
    if used is None:
        return None
    found = used.found
    right, down = found.middle_px
    return RegistrationUsed(
        shift_px=(round(right, 2), round(down, 2)),
        displacement_px=round(found.displacement_px, 2),
        parallax_px=round(found.parallax_px, 2),
        confidence=round(found.confidence, 3),
        standing=found.standing,
        applied=found.applied,
        reset=used.reset,
    )


def _gain(result: Result) -> Gain | None:
    levels, rule = result.prepared.levels, result.rule
    if not levels or not levels.window:
        return None
    window = levels.window
    return Gain(
        method=rule.method,
        low=window.low,
        high=window.high,
        invalid_share=round(levels.invalid_share, 6),
        smoothing=rule.smoothing if result.stream else 0,
        clip_limit=rule.clip_limit if rule.method == "clahe" else None,
    )


def _far_objects(levels: Levels | None) -> FarObjects | None:
    window = levels.window if levels else None
    if window is None or not (window.hot or window.cold):
        return None
    return FarObjects(
        above=window.hot.near if window.hot else None,
        below=window.cold.near if window.cold else None,
    )


def _cameras(cameras: Cameras) -> CamerasUsed | None:
    visible, infrared = cameras.visible.stated(), cameras.infrared.stated()
    return CamerasUsed(visible=visible, infrared=infrared) if visible or infrared else None


def shares(labels: NDArray[np.uint8], classes: int) -> list[float]:
    """Share of the pixels (H, W), 0 to 1, that each class id covers."""
    # Neighbours have bins of their own: else each waits for the other if both are of one class.
    ids = 1 << (classes - 1).bit_length()
    apart = labels | _first_bins(labels.shape[1], ids)
    counted = cv2.calcHist([apart], [0], None, [256], [0, 256])
    covered = np.asarray(counted, np.float64).reshape(-1, ids).sum(axis=0)[:classes]
    return (covered / labels.size).tolist()  # type: ignore[no-any-return]


@lru_cache(8)
def _first_bins(width: int, ids: int) -> NDArray[np.uint8]:
    """The first of the bins of each column."""
    return (np.arange(width) % (256 // ids) * ids).astype(np.uint8)


def mean_confidences(prediction: Prediction, classes: int) -> list[float | None]:
    """Mean confidence (0 to 1) in the pixels of each class id; None for what has none."""
    if prediction.confidence is None:
        return [None] * classes
    # One histogram of both takes a quarter of the time of a weighted one.
    both = prediction.labels.astype(np.uint16) << 8 | prediction.confidence
    found = np.bincount(both.ravel(), minlength=classes << 8).reshape(-1, 256)
    return [
        round(float(row @ np.arange(256)) / (255 * count), 4) if (count := int(row.sum())) else None
        for row in found[:classes]
    ]
