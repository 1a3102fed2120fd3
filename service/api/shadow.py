"""The report of the shadow phase: where a candidate network differs from the one in service."""

from collections.abc import Iterator

import numpy as np
from fastapi import APIRouter
from numpy.typing import NDArray

from segmif.runtime import Runtime

from .. import errors
from ..pipeline.comparison import Comparison, Durations, differing_share
from ..scheduler.dispatcher import Dispatcher
from ..scheduler.shadow import Shadow
from ..schemas.shadow import (
    Change,
    ComparedClass,
    LargestDifference,
    Milliseconds,
    NetworkFacts,
    ShadowPairs,
    ShadowReport,
)
from .openapi import documented
from .status import DispatcherDep

MOST_CHANGES = 10

router = APIRouter()


@router.get("/shadow", responses=documented(errors.Unauthorized))
async def shadow(dispatcher: DispatcherDep) -> ShadowReport:
    """Say where the candidate of the shadow phase differs from the network that answers."""
    return report(dispatcher)


def report(dispatcher: Dispatcher) -> ShadowReport:
    """What the shadow phase has found."""
    phase = dispatcher.shadow
    candidate = phase.candidate.runtime if phase.candidate else None
    compared = phase.comparison if candidate else Comparison(0)
    names = candidate.manifest.classes.names if candidate else ()
    pairs = compared.pairs
    return ShadowReport(
        state="comparing" if candidate else "refused" if phase.refused else "off",
        reloads=dispatcher.reloads,
        refused=phase.refused,
        share=phase.candidate.share if phase.candidate else None,
        serving=_facts(dispatcher.runtime),
        candidate=_facts(candidate) if candidate else None,
        pairs=_pairs(phase, pairs),
        differing_share=round(differing_share(compared.pixels), 6) if pairs else None,
        fused_levels=round(compared.fused_levels / pairs, 3) if pairs else None,
        classes=list(_classes(compared.pixels, names)) if pairs else [],
        changes=list(_changes(compared.pixels, names)) if pairs else [],
        largest=[
            LargestDifference(
                request_id=each.request_id, at_s=each.at_s, differing_share=round(each.share, 6)
            )
            for each in sorted(compared.largest, reverse=True)
        ],
        serving_ms=_milliseconds(compared.serving_ms),
        candidate_ms=_milliseconds(compared.candidate_ms),
        last_error=phase.last_error if candidate else None,
    )


def _facts(runtime: Runtime) -> NetworkFacts:
    manifest = runtime.manifest
    return NetworkFacts(
        engine=runtime.name,
        variant=manifest.variant,
        precision=manifest.precision,
        weights_sha256=manifest.sha256,
        source_sha256=manifest.source_sha256,
    )


def _pairs(phase: Shadow, compared: int) -> ShadowPairs:
    if not phase.candidate:
        return ShadowPairs(compared=0, dropped=0, failed=0)
    return ShadowPairs(compared=compared, dropped=phase.dropped, failed=phase.failed)


def _classes(pixels: NDArray[np.int64], names: tuple[str, ...]) -> Iterator[ComparedClass]:
    total, serving, candidate = pixels.sum(), pixels.sum(1), pixels.sum(0)
    for id, name in enumerate(names):
        union = int(serving[id] + candidate[id] - pixels[id, id])
        yield ComparedClass(
            id=id,
            name=name,
            serving_share=round(float(serving[id] / total), 6),
            candidate_share=round(float(candidate[id] / total), 6),
            iou=round(float(pixels[id, id] / union), 4) if union else None,
        )


def _changes(pixels: NDArray[np.int64], names: tuple[str, ...]) -> Iterator[Change]:
    """The most frequent changes of class."""
    off = pixels * (1 - np.eye(len(pixels), dtype=np.int64))
    for place in np.argsort(off, axis=None)[::-1][:MOST_CHANGES]:
        row, column = np.unravel_index(place, off.shape)
        if off[row, column]:
            share = round(float(off[row, column] / pixels.sum()), 6)
            yield Change(serving=names[row], candidate=names[column], share=share)


def _milliseconds(durations: Durations) -> Milliseconds:
    mean = durations.mean
    worst = round(durations.worst, 2)
    return Milliseconds(mean=None if mean is None else round(mean, 2), worst=worst)
