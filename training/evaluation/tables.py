"""The results of an evaluation as tables for people and as JSON for programs."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from segmif.classes import Taxonomy
from segmif.metrics import ConfusionMatrix, FusionMetrics

from .results import BOTH, FrameResult, SetResult

METRICS = tuple(field.name for field in fields(FusionMetrics))
CELL = 8  # characters


def as_text(results: Sequence[SetResult]) -> str:
    """The tables of every set, for a terminal."""
    names = [name for result in results for name in _row_names(result)]
    width = max(map(len, names))
    tables = [table for result in results for table in _tables(result, width)]
    return "\n\n".join("\n".join(lines) for lines in tables)


def as_json(results: Sequence[SetResult], frames: bool = False) -> dict[str, Any]:
    """
    The same for programs: an absent class, and what is unknown, is null.

    `fusion` and `masks` are those of the first set that has them, `sets` holds all, `notes` what
    there is to mind by set; `frames` adds each frame's numbers.
    """
    sets = [_set_as_json(result, frames) for result in results]
    tables: dict[str, Any] = {}
    for part in ("fusion", "masks"):
        of_sets = [entry[part] for entry in sets if part in entry]
        if of_sets:
            tables[part] = of_sets[0]
    tables["sets"] = sets
    if notes := {result.name: list(result.notes) for result in results if result.notes}:
        tables["notes"] = notes
    return tables


def _row_names(result: SetResult) -> list[str]:
    classes = result.taxonomy.names if result.taxonomy else ()
    sensors = result.sensors() if _has_drop(result) else ()
    return [*result.fusion(), *classes, *sensors]


def _has_drop(result: SetResult) -> bool:
    return len(result.sensors()) > 1


def _tables(result: SetResult, width: int) -> Iterable[list[str]]:
    if fusion := result.fusion():
        yield _fusion_table(result, fusion, width)
    if result.taxonomy:
        yield _mask_table(result, result.taxonomy, width)
    if _has_drop(result):
        yield _sensor_table(result, width)
    if result.notes:
        yield [f"Note on {result.name}: {note}." for note in result.notes]


def _fusion_table(result: SetResult, fusion: Mapping[str, FusionMetrics], width: int) -> list[str]:
    pairs = len(result.frames)
    lines = [f"fusion, luma, mean of {pairs} pairs of {result.name}, more is better"]
    lines.append(_row("", METRICS, width))
    for method, metrics in fusion.items():
        lines.append(_row(method, map(_number, asdict(metrics).values()), width))
    return lines


def _mask_table(result: SetResult, taxonomy: Taxonomy, width: int) -> list[str]:
    masks = result.masks()
    lines = [f"masks, intersection over union on {len(result.frames)} pairs of {result.name}"]
    lines.append(_row("", masks, width))
    for index, name in enumerate(taxonomy.names):
        shares = [_share(matrix.iou[index]) for matrix in masks.values()]
        lines.append(_row(name, shares, width))
    means = _row("mean", [_number(matrix.mean_iou) for matrix in masks.values()], width)
    return [*lines, f"{means}   over all {len(taxonomy.names)} ids, absent counts 0"]


def _sensor_table(result: SetResult, width: int) -> list[str]:
    lines = [
        f"masks with one sensor black, mean intersection over union on {result.name}",
        _row("", result.masks(), width),
    ]
    for sensors in result.sensors():
        means = [_number(matrix.mean_iou) for matrix in result.masks(sensors).values()]
        lines.append(_row(sensors, means, width))
    return lines


def _row(name: str, cells: Iterable[str], width: int) -> str:
    """One line of a table: the name in `width` characters, then the cells."""
    return f"{name:{width}}" + "".join(f"{cell:>{CELL}}" for cell in cells)


def _number(value: float) -> str:
    return f"{value:.3f}"


def _share(value: float) -> str:
    return "absent" if math.isnan(value) else f"{value:.3f}"


def _set_as_json(result: SetResult, frames: bool) -> dict[str, Any]:
    pairs = len(result.frames)
    found: dict[str, Any] = {"name": result.name, "pairs": pairs}
    if fusion := result.fusion():
        found["fusion"] = {"pairs": pairs, "rows": _rows(fusion)}
    if quality := result.quality():
        found["quality"] = _rows(quality)
    if result.taxonomy:
        found["masks"] = {"pairs": pairs, "light": _masks_by_light(result, result.taxonomy, BOTH)}
        found["drives"] = {
            drive: _mask(matrix, result.taxonomy)
            for drive, matrix in result.masks_by_drive().items()
        }
        found["sensors"] = {
            sensors: _with_sensors(result, result.taxonomy, sensors) for sensors in result.sensors()
        }
    if frames:
        found["frames"] = [_frame_as_json(frame, result.taxonomy) for frame in result.frames]
    return found


def _with_sensors(result: SetResult, taxonomy: Taxonomy, sensors: str) -> dict[str, Any]:
    """Masks and persons found if only `sensors` see something."""
    people = {light: asdict(counts) for light, counts in result.people(sensors).items()}
    return {"light": _masks_by_light(result, taxonomy, sensors), "people": people}


def _masks_by_light(result: SetResult, taxonomy: Taxonomy, sensors: str) -> dict[str, Any]:
    return {light: _mask(matrix, taxonomy) for light, matrix in result.masks(sensors).items()}


def _mask(matrix: ConfusionMatrix, taxonomy: Taxonomy) -> dict[str, Any]:
    """Intersection over union (0..1) by class and their mean; an absent class is null."""
    shares = map(_known, matrix.iou.tolist())
    return {"iou": dict(zip(taxonomy.names, shares, strict=True)), "mean_iou": matrix.mean_iou}


def _frame_as_json(frame: FrameResult, taxonomy: Taxonomy | None) -> dict[str, Any]:
    found: dict[str, Any] = {"name": frame.name, "light": frame.light}
    if frame.fusion:
        found["fusion"] = _rows(frame.fusion)
    if frame.quality:
        found["quality"] = _rows(frame.quality)
    if taxonomy:
        found["masks"] = {
            sensors: _mask(matrix, taxonomy) for sensors, matrix in frame.masks.items()
        }
        found["people"] = {sensors: asdict(people) for sensors, people in frame.people.items()}
    return found


def _rows(by_method: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """Dataclasses of numbers by method, as JSON knows them."""
    return {
        method: {name: _known(value) for name, value in asdict(numbers).items()}
        for method, numbers in by_method.items()
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
