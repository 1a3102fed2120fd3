"""What the report says of one set: fusion, picture quality, masks."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape

from segmif.classes import Taxonomy, overlay_palette
from segmif.metrics import ConfusionMatrix, FusionMetrics

from .. import fusion_quality
from ..frame_metrics import FOUND, LEAST_PERSON, PEOPLE
from ..results import BOTH, NETWORK, SetResult
from ..tables import METRICS
from .markup import cell, definitions, grid, histogram, paragraph, table
from .showcase import REFERENCE, frame_mean_iou

METRIC_MEANINGS = {
    "EN": "entropy of the grey levels [bit]",
    "SD": "standard deviation [levels]",
    "SF": "spatial frequency: root of the summed mean squares of both first differences [levels]",
    "AG": "average gradient: mean of sqrt((dx^2 + dy^2) / 2), central differences [levels/px]",
    "MI": "mutual information with visible plus that with infrared, 256 levels [nat]",
    "SCD": "correlation of (fused - visible) with infrared plus that of (fused - infrared) with "
    "visible",
    "VIF": "visual information fidelity, pixel domain, 4 scales, visible plus infrared",
    "Qabf": "share of the sources' Sobel edges that is kept in strength and angle",
    "SSIM": "structural similarity, 7x7 uniform window, visible plus infrared",
}
QUALITY_COLUMNS = {
    "halo_p95": "halo p95 [levels]",
    "halo_share": "halo area [%]",
    "noise_gain": "noise gain",
    "shift_change": "flicker, 1 px [levels]",
    "level_change": "flicker, 1 level [levels]",
    "relabelled": "mask flicker [%]",
}
PERCENT = ("halo_share", "relabelled")
COMPARED = (*PEOPLE, "car")  # classes in tables that have no room for all
MOST_DRIVES = 12  # a longer list is no table to read


def about_set(result: SetResult) -> str:
    """All that was measured on a set, under its name."""
    every, *lights = ((light, len(frames)) for light, frames in result.by_light().items())
    pairs = ", ".join([f"{every[1]} pairs", *(f"{count} by {light}" for light, count in lights)])
    parts = [f"<h2>{escape(result.name)}</h2>", paragraph(pairs)]
    parts += [paragraph(f"Note: {note}.", "note") for note in result.notes]
    if result.fusion():
        parts += [_fusion(result), _spread(result), _quality(result)]
    if result.taxonomy:
        parts += [_classes(result, result.taxonomy), _drives(result, result.taxonomy)]
        parts.append(_confusions(result, result.taxonomy))
    if result.taxonomy and len(result.sensors()) > 1:
        parts.append(_sensors(result, result.taxonomy))
    return "".join(parts)


def meanings() -> str:
    """One line on each number of the page."""
    lines = {QUALITY_COLUMNS[key]: line for key, line in fusion_quality.DEFINITIONS.items()}
    return "<h2>What the numbers mean</h2>" + definitions(METRIC_MEANINGS | lines)


def _fusion(result: SetResult) -> str:
    return (
        "<h3>Fusion</h3>"
        + _fusion_table(result.fusion())
        + paragraph(
            "Luma, mean over the pairs, more is better, the best of each column in bold. A row "
            "that copies one sensor is compared with itself in MI, VIF, Qabf and SSIM: being best "
            "there is no merit.",
            "note",
        )
        + _folded({light: _fusion_table(result.fusion(light)) for light in _lights(result)})
    )


def _fusion_table(methods: Mapping[str, FusionMetrics]) -> str:
    rows = {method: asdict(metrics) for method, metrics in methods.items()}
    best = {metric: max(row[metric] for row in rows.values()) for metric in METRICS}
    cells = (
        (method, [_graded(row[metric], row[metric] == best[metric]) for metric in METRICS])
        for method, row in rows.items()
    )
    return table(METRICS, cells)


def _graded(value: float, best: bool) -> str:
    return cell(f"{value:.3f}", css="best" if best else "")


def _spread(result: SetResult) -> str:
    """A histogram of each metric over the frames."""
    means = {method: asdict(metrics) for method, metrics in result.fusion().items()}
    charts = []
    for metric in METRICS:
        values = [getattr(frame.fusion[NETWORK], metric) for frame in result.frames]
        marks = {name: means[name][metric] for name in (NETWORK, REFERENCE) if name in means}
        charts.append(histogram(metric, values, marks))
    return (
        "<h3>Spread over the frames</h3>"
        + paragraph(
            "Bars: frames as the network fuses them. Line: their mean; dashed: mean of the "
            f"{REFERENCE}.",
            "note",
        )
        + grid("charts", charts)
    )


def _quality(result: SetResult) -> str:
    rows = {method: asdict(numbers) for method, numbers in result.quality().items()}
    if not rows:
        return ""
    cells = (
        (method, [_quality_cell(method, *number) for number in row.items()])
        for method, row in rows.items()
    )
    known = sum(not math.isnan(frame.quality[NETWORK].noise_gain) for frame in result.frames)
    note = f"Mean over the pairs, less is better; {known} of them have a dark flat region."
    return (
        "<h3>Picture quality</h3>"
        + table(tuple(QUALITY_COLUMNS.values()), cells)
        + paragraph(note, "note")
    )


def _quality_cell(method: str, name: str, value: float) -> str:
    if math.isnan(value) or (name == "relabelled" and method != NETWORK):
        return cell("-", css="faint")
    return cell(f"{100 * value:.2f}" if name in PERCENT else f"{value:.2f}")


def _classes(result: SetResult, taxonomy: Taxonomy) -> str:
    masks = result.masks()
    pixels = max(masks["all"].counts.sum(), 1)
    colours = overlay_palette(taxonomy).tolist()
    rows = []
    for id_, name in enumerate(taxonomy.names):
        shares = [_share(matrix.iou[id_]) for matrix in masks.values()]
        part = cell(f"{masks['all'].counts[id_].sum() / pixels:.2%}")
        rows.append((name, [_swatch(colours[id_]) if id_ else cell(""), *shares, part]))
    means = [_share(matrix.mean_iou) for matrix in masks.values()]
    rows.append(("mean", [cell(""), *means, cell("")]))
    per_frame = [frame_mean_iou(frame.masks[BOTH]) for frame in result.frames]
    known = [value for value in per_frame if not math.isnan(value)]
    return (
        "<h3>Masks: intersection over union</h3>"
        + table(("", *masks, "of the pixels"), rows)
        + paragraph(
            f"Over all pixels of the set; the mean is over all {len(taxonomy.names)} ids, an "
            "absent one counts 0.",
            "note",
        )
        + grid("charts", [histogram("mean IoU of a frame's classes", known, {})])
    )


def _drives(result: SetResult, taxonomy: Taxonomy) -> str:
    """How far drives differ: the uncertainty that more frames of the same drive do not lessen."""
    drives = result.by_drive()
    if not 1 < len(drives) <= MOST_DRIVES:
        return ""
    ids = _compared(taxonomy)
    rows = [
        (drive, [cell(str(len(drives[drive]))), *_mean_and(matrix, ids)])
        for drive, matrix in result.masks_by_drive().items()
    ]
    return "<h3>By drive</h3>" + table(
        ("pairs", "mean", *(taxonomy.names[id_] for id_ in ids)), rows
    )


def _confusions(result: SetResult, taxonomy: Taxonomy) -> str:
    masks = result.masks()
    return (
        "<h3>Confusion</h3>"
        + paragraph(
            "Rows: the true class; columns: what the network said; per cent of the row. The "
            "number of pixels shows when the pointer rests on a cell.",
            "note",
        )
        + _confusion(masks["all"], taxonomy)
        + _folded({light: _confusion(masks[light], taxonomy) for light in _lights(result)})
    )


def _confusion(matrix: ConfusionMatrix, taxonomy: Taxonomy) -> str:
    rows = [
        (name, [_heat(count, sum(counts)) for count in counts])
        for name, counts in zip(taxonomy.names, matrix.counts.tolist(), strict=True)
    ]
    return table(taxonomy.names, rows, "heat")


def _heat(count: int, of: int) -> str:
    share = count / of if of else 0.0
    return cell(
        f"{100 * share:.1f}" if count else "",
        title=f"{count:,} pixels",
        style=f"background: rgb(60 130 246 / {0.65 * share:.3f})",
    )


def _sensors(result: SetResult, taxonomy: Taxonomy) -> str:
    """What is left of the masks when a sensor is dead."""
    ids = _compared(taxonomy)
    rows = []
    for sensors in result.sensors():
        people = result.people(sensors)
        for light, matrix in result.masks(sensors).items():
            found = cell(f"{people[light].found} of {people[light].there}")
            rows.append((f"{sensors}, {light}", [*_mean_and(matrix, ids), found]))
    return (
        "<h3>With one sensor black</h3>"
        + table(("mean", *(taxonomy.names[id_] for id_ in ids), "persons found"), rows)
        + paragraph(
            "Intersection over union of the same network when one frame is all zeros. A person is "
            f"a group of touching person pixels, at least {LEAST_PERSON}; it is found when at "
            f"least {FOUND:.0%} of them are labelled so. The measure to hold this against, a "
            "network trained on one sensor alone, is not part of this page.",
            "note",
        )
    )


def _compared(taxonomy: Taxonomy) -> list[int]:
    return [id_ for id_, name in enumerate(taxonomy.names) if name in COMPARED]


def _mean_and(matrix: ConfusionMatrix, ids: list[int]) -> list[str]:
    return [_share(matrix.mean_iou), *(_share(matrix.iou[id_]) for id_ in ids)]


def _share(value: float) -> str:
    return cell("absent", css="faint") if math.isnan(value) else cell(f"{value:.3f}")


def _swatch(colour: Sequence[int]) -> str:
    red, green, blue = colour
    return cell("", style=f"background: rgb({red} {green} {blue})")


def _lights(result: SetResult) -> list[str]:
    """Day and night, if the set distinguishes them."""
    return [light for light in result.by_light() if light != "all"]


def _folded(parts: Mapping[str, str]) -> str:
    """Each part behind its name, until the reader opens it."""
    return "".join(
        f"<details><summary>{escape(name)}</summary>{part}</details>"
        for name, part in parts.items()
    )
