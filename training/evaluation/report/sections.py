"""What the report says of one set: fusion, picture quality, masks."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from segmif.classes import Taxonomy, overlay_palette
from segmif.metrics import ConfusionMatrix

from .. import fusion_quality
from ..frame_metrics import PEOPLE
from ..results import BOTH, NETWORK, SetResult
from ..tables import METRICS
from .markup import Cell, Table, histogram
from .showcase import REFERENCE, frame_mean_iou

QUALITY_COLUMNS = {
    "halo_p95": "halo p95 [levels]",
    "halo_share": "halo area [%]",
    "noise_gain": "noise gain",
    "shift_change": "flicker, 1 px [levels]",
    "level_change": "flicker, 1 level [levels]",
    "relabelled": "mask flicker [%]",
}
QUALITY_MEANINGS = {QUALITY_COLUMNS[key]: line for key, line in fusion_quality.DEFINITIONS.items()}
PERCENT = ("halo_share", "relabelled")
COMPARED = (*PEOPLE, "car")  # classes in tables that have no room for all
MOST_DRIVES = 12  # a longer list is no table to read


def about_set(result: SetResult) -> dict[str, Any]:
    """All that was measured on a set, as `page.html` takes it; None for what was not."""
    about: dict[str, Any] = {
        "name": result.name,
        "pairs": _pair_counts(result),
        "notes": result.notes,
        "fusion": None,
        "spread": _spread(result),
        "quality": None,
        "with_noise_gain": 0,
        "masks": None,
    }
    if result.fusion():
        about["fusion"] = _by_light(result, lambda light: _fusion(result, light))
    if result.quality():
        about["quality"] = _quality(result)
        gains = [frame.quality[NETWORK].noise_gain for frame in result.frames]
        about["with_noise_gain"] = sum(not math.isnan(gain) for gain in gains)
    if result.taxonomy:
        about["masks"] = _masks(result, result.taxonomy)
    return about


def _pair_counts(result: SetResult) -> str:
    """How many pairs there are: of all first, then by light."""
    counts = {light: len(frames) for light, frames in result.by_light().items()}
    total = counts.pop("all")
    return ", ".join(
        [f"{total} pairs", *(f"{count} by {light}" for light, count in counts.items())]
    )


def _by_light(result: SetResult, table: Callable[[str], Table]) -> dict[str, Any]:
    lights = [light for light in result.by_light() if light != "all"]
    return {"all": table("all"), "by_light": {light: table(light) for light in lights}}


def _fusion(result: SetResult, light: str) -> Table:
    rows = {method: asdict(metrics) for method, metrics in result.fusion(light).items()}
    best = {metric: max(row[metric] for row in rows.values()) for metric in METRICS}
    cells = []
    for method, row in rows.items():
        marks = ["best" if row[metric] == best[metric] else None for metric in METRICS]
        numbers = [f"{row[metric]:.3f}" for metric in METRICS]
        cells.append((method, [Cell(n, css=mark) for n, mark in zip(numbers, marks, strict=True)]))
    return Table(METRICS, cells)


def _spread(result: SetResult) -> list[dict[str, Any]]:
    """A histogram of each metric over the frames."""
    means = {method: asdict(metrics) for method, metrics in result.fusion().items()}
    charts = []
    for metric in METRICS if means else ():
        values = [getattr(frame.fusion[NETWORK], metric) for frame in result.frames]
        marks = {name: means[name][metric] for name in (NETWORK, REFERENCE) if name in means}
        charts.append(histogram(metric, values, marks))
    return charts


def _quality(result: SetResult) -> Table:
    rows = [
        (method, [_quality_cell(method, *number) for number in asdict(numbers).items()])
        for method, numbers in result.quality().items()
    ]
    return Table(tuple(QUALITY_COLUMNS.values()), rows)


def _quality_cell(method: str, name: str, value: float) -> Cell:
    if math.isnan(value) or (name == "relabelled" and method != NETWORK):
        return Cell("-", css="faint")
    return Cell(f"{100 * value:.2f}" if name in PERCENT else f"{value:.2f}")


def _masks(result: SetResult, taxonomy: Taxonomy) -> dict[str, Any]:
    matrices = result.masks()
    per_frame = [frame_mean_iou(frame.masks[BOTH]) for frame in result.frames]
    known = [value for value in per_frame if not math.isnan(value)]
    return {
        "classes": _classes(result, taxonomy),
        "ids": len(taxonomy.names),
        "spread": [histogram("mean IoU of a frame's classes", known, {})] if known else [],
        "drives": _drives(result, taxonomy),
        "confusion": _by_light(result, lambda light: _confusion(matrices[light], taxonomy)),
        "sensors": _sensors(result, taxonomy),
    }


def _classes(result: SetResult, taxonomy: Taxonomy) -> Table:
    masks = result.masks()
    pixels = max(masks["all"].counts.sum(), 1)
    colours = overlay_palette(taxonomy).tolist()
    rows = []
    for id_, name in enumerate(taxonomy.names):
        shares = [_share(matrix.iou[id_]) for matrix in masks.values()]
        part = Cell(f"{masks['all'].counts[id_].sum() / pixels:.2%}")
        rows.append((name, [_swatch(colours[id_]) if id_ else Cell(), *shares, part]))
    means = [_share(matrix.mean_iou) for matrix in masks.values()]
    rows.append(("mean", [Cell(), *means, Cell()]))
    return Table(("", *masks, "of the pixels"), rows)


def _drives(result: SetResult, taxonomy: Taxonomy) -> Table | None:
    """How far drives differ: the uncertainty that more frames of the same drive do not lessen."""
    drives = result.by_drive()
    if not 1 < len(drives) <= MOST_DRIVES:
        return None
    ids = _compared(taxonomy)
    rows = [
        (drive, [Cell(str(len(drives[drive]))), *_mean_and(matrix, ids)])
        for drive, matrix in result.masks_by_drive().items()
    ]
    return Table(("pairs", "mean", *(taxonomy.names[id_] for id_ in ids)), rows)


def _confusion(matrix: ConfusionMatrix, taxonomy: Taxonomy) -> Table:
    rows = [
        (name, [_heat(count, sum(counts)) for count in counts])
        for name, counts in zip(taxonomy.names, matrix.counts.tolist(), strict=True)
    ]
    return Table(taxonomy.names, rows, "heat")


def _heat(count: int, of: int) -> Cell:
    share = count / of if of else 0.0
    return Cell(
        f"{100 * share:.1f}" if count else "",
        title=f"{count:,} pixels",
        style=f"background: rgb(60 130 246 / {0.65 * share:.3f})",
    )


def _sensors(result: SetResult, taxonomy: Taxonomy) -> Table | None:
    """What is left of the masks when a sensor is dead."""
    if len(result.sensors()) == 1:
        return None
    ids = _compared(taxonomy)
    rows = []
    for sensors in result.sensors():
        people = result.people(sensors)
        for light, matrix in result.masks(sensors).items():
            found = Cell(f"{people[light].found} of {people[light].there}")
            rows.append((f"{sensors}, {light}", [*_mean_and(matrix, ids), found]))
    return Table(("mean", *(taxonomy.names[id_] for id_ in ids), "persons found"), rows)


def _compared(taxonomy: Taxonomy) -> list[int]:
    return [id_ for id_, name in enumerate(taxonomy.names) if name in COMPARED]


def _mean_and(matrix: ConfusionMatrix, ids: list[int]) -> list[Cell]:
    return [_share(matrix.mean_iou), *(_share(matrix.iou[id_]) for id_ in ids)]


def _share(value: float) -> Cell:
    return Cell("absent", css="faint") if math.isnan(value) else Cell(f"{value:.3f}")


def _swatch(colour: Sequence[int]) -> Cell:
    red, green, blue = colour
    return Cell(style=f"background: rgb({red} {green} {blue})")
