"""Data of the report's tables and charts, and the templates that make HTML of them."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from segmif.imaging.codecs import encode_jpeg, resize

PICTURE_WIDTH = 480  # [px] pictures wider than this are made smaller
JPEG_QUALITY = 80

BARS = 24
CHART_WIDTH, CHART_HEIGHT = 240, 80  # [px] of the drawing area

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)


@dataclass(frozen=True)
class Cell:
    """A table cell; `title` shows when the pointer rests on it."""

    text: str = ""
    css: str | None = None
    title: str | None = None
    style: str | None = None


@dataclass(frozen=True)
class Table:
    """Rows (name, cells); the columns have no name for the first one, which holds the names."""

    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    css: str | None = None


def picture(frame: NDArray[np.uint8]) -> str:
    """A frame (H, W) or RGB (H, W, 3) as a URL that holds it."""
    height, width = frame.shape[:2]
    if width > PICTURE_WIDTH:
        frame = resize(frame, round(height * PICTURE_WIDTH / width), PICTURE_WIDTH)
    return f"data:image/jpeg;base64,{base64.b64encode(encode_jpeg(frame, JPEG_QUALITY)).decode()}"


def histogram(name: str, values: Sequence[float], marks: Mapping[str, float]) -> dict[str, Any]:
    """How values (one at least) spread, with a line at each of `marks` (css class: value)."""
    shown = [*values, *marks.values()]
    lowest, highest = min(shown), max(shown)
    span = (highest - lowest) or 1.0
    counts, edges = np.histogram(values, BARS, (lowest, lowest + span))
    step = CHART_WIDTH / BARS
    bars = [
        {
            "x": bar * step,
            "width": step - 1,
            "height": CHART_HEIGHT * count / counts.max(),
            "title": f"{count} frames from {edges[bar]:.3f} to {edges[bar + 1]:.3f}",
        }
        for bar, count in enumerate(counts.tolist())
    ]
    lines = [
        {"css": css, "x": (value - lowest) / span * CHART_WIDTH, "title": f"{css}: {value:.3f}"}
        for css, value in marks.items()
    ]
    scale = {"lowest": lowest, "highest": highest, "width": CHART_WIDTH, "height": CHART_HEIGHT}
    return {"name": name, "count": len(values), "bars": bars, "marks": lines, **scale}
