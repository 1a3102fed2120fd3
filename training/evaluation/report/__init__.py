"""The results of judging as one HTML page that needs nothing but itself."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path

from segmif.manifest import Manifest

from ..fusion_quality import Predict
from ..results import INFRARED_BLACK
from . import showcase
from .markup import cell, grid, paragraph, picture, table
from .sections import about_set, meanings
from .showcase import REFERENCE, Judged, Panels, Shown

STYLE = Path(__file__).with_name("style.css")
NIGHTS = 4  # frames shown


@dataclass(frozen=True)
class Provenance:
    """Where the numbers of a page come from."""

    weights: str
    manifest: Manifest
    command: str
    runs_on: str
    machine: str
    date: str


def page(provenance: Provenance, judged: Judged, predict: Predict) -> str:
    """
    The whole page; `predict` is asked again about the few frames that it shows.

    Raises what reading those frames raises.
    """
    title = f"SegMiF evaluation: {provenance.weights}"
    sections = [
        f"<h1>{escape(title)}</h1>",
        _provenance(provenance),
        *(about_set(result) for _, result in judged),
        _night(judged, predict),
        _worst(judged, predict),
        meanings(),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE.read_text(encoding='utf-8')}</style></head>"
        f"<body>{''.join(sections)}</body></html>\n"
    )


def _provenance(provenance: Provenance) -> str:
    manifest = provenance.manifest
    training = ", ".join(
        f"{name} {value}" for name, value in manifest.training.items() if _is_plain(value)
    )
    facts = {
        "weights": f"{provenance.weights}, sha256 {manifest.sha256}",
        "made from": f"sha256 {manifest.source_sha256}" if manifest.source_sha256 else "",
        "network": f"{manifest.variant}, {manifest.precision}, classes of {manifest.taxonomy}",
        "written by": ", ".join(f"{name} {of}" for name, of in manifest.tools.items()),
        "training": training,
        "judged": provenance.date,
        "command": provenance.command,
        "machine": f"{provenance.machine}; {provenance.runs_on}",
    }
    return table((), ((name, [cell(fact)]) for name, fact in facts.items() if fact), "facts")


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float)


def _night(judged: Judged, predict: Predict) -> str:
    title = "<h2>Persons by night, with and without infrared</h2>"
    if not any(INFRARED_BLACK in result.sensors() for _, result in judged):
        return title + paragraph("Not measured: this run had no --sensor-drop on a labelled set.")
    nights, found = showcase.nights(judged), showcase.night_finds(judged)
    return (
        title
        + paragraph(
            f"In {len(found)} of {len(nights)} night frames with persons the network finds more "
            "of them with both sensors than the same network does when its infrared frame is "
            f"black; the first {NIGHTS}, by how many more. Green box: found; magenta box: missed. "
            "A network trained on visible alone may find more than this one without infrared.",
        )
        + _figures(found[:NIGHTS], predict, showcase.night_panels)
    )


def _worst(judged: Judged, predict: Predict) -> str:
    return (
        "<h2>Worst frames</h2>"
        + paragraph(
            "Lowest mean IoU over the classes that a frame shows or the network sees in it; lowest "
            f"person IoU among frames with at least {showcase.LEAST_PERSON_PIXELS} person pixels; "
            f"and for {', '.join(showcase.WORST_FUSION)} the frame furthest below the {REFERENCE}.",
            "note",
        )
        + _figures(showcase.worst(judged), predict, showcase.panels)
    )


def _figures(
    chosen: Iterable[Shown], predict: Predict, draw: Callable[[Shown, Predict], Panels]
) -> str:
    parts = []
    for shown in chosen:
        light = f" ({shown.result.light})" if shown.result.light else ""
        heading = f"{shown.frames.name} {shown.result.name}{light}: {'; '.join(shown.reasons)}"
        pictures = [picture(frame, caption) for caption, frame in draw(shown, predict).items()]
        parts.append(f"<h3>{escape(heading)}</h3>" + grid("pictures", pictures))
    return "".join(parts)
