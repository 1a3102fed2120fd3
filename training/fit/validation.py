"""The frames kept out of training by which a run is evaluated on its way."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from segmif.classes import Taxonomy
from segmif.frames import FramePair
from segmif.metrics import ConfusionMatrix
from segmif.model.network import Network
from segmif.model.predict import predict_by

from ..data.datasets import FrameSet
from ..data.frames import Frames
from ..data.sources import Source, open_source
from .run_folder import Run

SHOW_EVERY = 10  # validation pairs


VALIDATION = Source(kind="mfnet", folder="mfnet", split="val")


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """The labelled frames that a run is evaluated on, and when."""

    validation: Source = VALIDATION
    validate_every: int = 600  # steps


def open_validation(
    config: ValidationConfig,
    root: Path,
    classes: Taxonomy,
    stop: int,
    view: Callable[[FrameSet], FrameSet] | None,
    *,
    of_same_set: bool = False,
) -> tuple[FrameSet | None, dict[str, str]]:
    """
    The frames on which a run to step `stop` is evaluated, seen through `view`, and their digests.

    None and none if it never is, or if there is no data at all. Every frame is read once, as
    those to train on are: ValueError now, not hours later, if one is broken, or if the labels
    are not of `classes`. `of_same_set`: they are of a set to train on, so another is no remedy.
    """
    if stop < config.validate_every or not root.is_dir():
        return None, {}
    try:
        frames = open_source(config.validation, root)
        frames = view(frames) if view else frames
        _refuse_other_classes(frames, classes)
        digests = Frames([frames], cache_gib=0).digests
    except (OSError, ValueError) as error:
        if of_same_set:
            raise ValueError(f"{_name_of(config.validation)}, held out: {error}") from error
        raise ValueError(
            f"[validation], {_name_of(config.validation)}: {error}\n"
            f"mend it, name another set, or set validate_every beyond {stop} to go without"
        ) from error
    return frames, digests


def _refuse_other_classes(frames: FrameSet, classes: Taxonomy) -> None:
    if frames.taxonomy is None:
        raise ValueError(f"{frames.name} has no labels to evaluate on")
    if frames.taxonomy != classes:
        raise ValueError(
            f"{frames.name} is labelled by {frames.taxonomy.name}, "
            f"the frames to train on by {classes.name}"
        )


def _name_of(source: Source) -> str:
    return f"{source.kind} in {source.folder}" + (f", {source.split}" if source.split else "")


def validate(network: Network, frames: FrameSet | None, run: Run, step: int) -> float:
    """
    mIoU of a network over all ids on the validation frames; NaN if there are none.

    Some of the pairs appear among the run's pictures.
    """
    if frames is None:
        return math.nan
    predict = predict_by(network.eval())
    classes = network.config.taxonomy
    confusion = ConfusionMatrix.empty(len(classes.names))
    for index in range(len(frames.names)):
        frame = frames.read(index)
        found = predict(FramePair(frame.visible, frame.infrared))
        confusion = confusion.add(found.labels, frame.labels)
        if index % SHOW_EVERY == 0:
            run.show(step, frame, found, classes)
    run.record(step, {"val_mean_iou": confusion.mean_iou})
    return confusion.mean_iou
