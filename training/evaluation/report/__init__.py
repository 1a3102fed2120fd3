"""The results of an evaluation as one HTML page that needs nothing but itself."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from segmif.manifest import Manifest

from ..frame_metrics import FOUND, LEAST_PERSON
from ..fusion_quality import Predict
from ..results import INFRARED_BLACK
from . import showcase
from .markup import TEMPLATES, Cell, Table, picture
from .sections import QUALITY_MEANINGS, about_set
from .showcase import REFERENCE, Evaluated, Panels, Shown

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


def page(provenance: Provenance, evaluated: Evaluated, predict: Predict) -> str:
    """
    The whole page; `predict` runs again on the few frames that it shows.

    Raises what reading those frames raises.
    """
    return TEMPLATES.get_template("page.html").render(
        title=f"SegMiF evaluation: {provenance.weights}",
        provenance=_provenance(provenance),
        sets=[about_set(result) for _, result in evaluated],
        reference=REFERENCE,
        least_person=LEAST_PERSON,
        found_share=f"{FOUND:.0%}",
        night=_night(evaluated, predict),
        worst={
            "least_pixels": showcase.LEAST_PERSON_PIXELS,
            "metrics": showcase.WORST_FUSION,
            "figures": _figures(showcase.worst(evaluated), predict, showcase.panels),
        },
        quality_meanings=QUALITY_MEANINGS,
    )


def _provenance(provenance: Provenance) -> Table:
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
        "evaluated": provenance.date,
        "command": provenance.command,
        "machine": f"{provenance.machine}; {provenance.runs_on}",
    }
    return Table((), [(name, [Cell(fact)]) for name, fact in facts.items() if fact], "facts")


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float)


def _night(evaluated: Evaluated, predict: Predict) -> dict[str, Any] | None:
    """The night frames that infrared helps in; None if no set was evaluated without infrared."""
    if not any(INFRARED_BLACK in result.sensors() for _, result in evaluated):
        return None
    found = showcase.night_finds(evaluated)
    return {
        "found": len(found),
        "frames": len(showcase.nights(evaluated)),
        "shown": NIGHTS,
        "figures": _figures(found[:NIGHTS], predict, showcase.night_panels),
    }


def _figures(
    chosen: Iterable[Shown], predict: Predict, draw: Callable[[Shown, Predict], Panels]
) -> list[dict[str, Any]]:
    figures = []
    for shown in chosen:
        light = f" ({shown.result.light})" if shown.result.light else ""
        heading = f"{shown.frames.name} {shown.result.name}{light}: {'; '.join(shown.reasons)}"
        pictures = {caption: picture(frame) for caption, frame in draw(shown, predict).items()}
        figures.append({"heading": heading, "pictures": pictures})
    return figures
