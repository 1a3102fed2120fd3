"""HTML in pieces: tables, pictures and histograms, with nothing to fetch from elsewhere."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from segmif.imaging.codecs import encode_jpeg, resize

PICTURE_WIDTH = 480  # [px] pictures wider than this are made smaller
JPEG_QUALITY = 80

BARS = 24
CHART_WIDTH, CHART_HEIGHT = 240, 80  # [px] of the drawing area


def cell(text: str, *, css: str = "", title: str = "", style: str = "") -> str:
    """One table cell; `title` shows when the pointer rests on it."""
    return f"<td{_attributes(css, title, style)}>{escape(text)}</td>"


def table(columns: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]], css: str = "") -> str:
    """A table of rows (name, cells as `cell` gives them); the first column has the names."""
    names = ("", *columns) if columns else ()
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>' for name, cells in rows
    )
    return (
        f'<div class="wide"><table{_attributes(css)}><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def definitions(lines: Mapping[str, str]) -> str:
    """Terms and what they mean, one line each."""
    entries = "".join(f"<dt>{escape(t)}</dt><dd>{escape(d)}</dd>" for t, d in lines.items())
    return f"<dl>{entries}</dl>"


def paragraph(text: str, css: str = "") -> str:
    """Plain text."""
    return f"<p{_attributes(css)}>{escape(text)}</p>"


def grid(css: str, parts: Iterable[str]) -> str:
    """Charts or pictures beside one another."""
    return f'<div class="{css}">{"".join(parts)}</div>'


def picture(frame: NDArray[np.uint8], caption: str) -> str:
    """A frame (H, W) or RGB (H, W, 3), held in the page itself."""
    height, width = frame.shape[:2]
    if width > PICTURE_WIDTH:
        frame = resize(frame, round(height * PICTURE_WIDTH / width), PICTURE_WIDTH)
    data = base64.b64encode(encode_jpeg(frame, JPEG_QUALITY)).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/jpeg;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def histogram(name: str, values: Sequence[float], marks: Mapping[str, float]) -> str:
    """How values spread, with a vertical line at each of `marks` (css class: value)."""
    shown = [*values, *marks.values()]
    if not shown:
        return ""
    lowest, highest = min(shown), max(shown)
    span = (highest - lowest) or 1.0
    counts, edges = np.histogram(values, BARS, (lowest, lowest + span))
    width = CHART_WIDTH / BARS
    bars = "".join(
        f'<rect x="{bar * width:.1f}" y="{CHART_HEIGHT * (1 - count / counts.max()):.1f}" '
        f'width="{width - 1:.1f}" height="{CHART_HEIGHT * count / counts.max():.1f}">'
        f"<title>{count} frames from {edges[bar]:.3f} to {edges[bar + 1]:.3f}</title></rect>"
        for bar, count in enumerate(counts.tolist())
    )
    lines = "".join(
        f'<line class="{escape(css)}" x1="{x:.1f}" x2="{x:.1f}" y1="-4" y2="{CHART_HEIGHT}">'
        f"<title>{escape(css)}: {value:.3f}</title></line>"
        for css, value in marks.items()
        for x in [(value - lowest) / span * CHART_WIDTH]
    )
    base = CHART_HEIGHT + 14
    return (
        f'<figure class="chart"><figcaption>{escape(name)}</figcaption>'
        f'<svg viewBox="-2 -6 {CHART_WIDTH + 4} {CHART_HEIGHT + 24}" role="img" '
        f'aria-label="{escape(name)} over {len(values)} frames">{bars}{lines}'
        f'<text x="0" y="{base}">{lowest:.2f}</text>'
        f'<text x="{CHART_WIDTH}" y="{base}" text-anchor="end">{highest:.2f}</text></svg></figure>'
    )


def _attributes(css: str = "", title: str = "", style: str = "") -> str:
    given = {"class": css, "title": title, "style": style}
    return "".join(f' {name}="{escape(value)}"' for name, value in given.items() if value)
